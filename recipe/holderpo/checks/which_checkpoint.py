"""Which checkpoint a run goes on from, by what lies in its folder."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from holderpo.studies.run_files import METRICS_FILE, read_rows
from recipe.holderpo.checks.checkpoints import (
    TRACKER,
    checkpoints_in,
    checkpoints_of,
    is_complete,
    needed_files,
    read_tracker,
    step_of,
)

# The fix that is always left.
ANEW = "start anew with trainer.resume_mode=disable"
# A checkpoint's folder, warnings, problems.
Found = tuple[Path | None, list[str], list[str]]


def find_checkpoint(config: DictConfig) -> Found:
    """Find the checkpoint that the run is to go on from.

    Args:
        config: with a valid ``trainer.resume_mode``, and a folder for checkpoints where it is auto.

    Returns:
        Its folder, None for a start with the first step; warnings; what is wrong, a line each.
    """
    if config.trainer.resume_mode == "resume_path":
        return _named_checkpoint(config)
    if config.trainer.resume_mode == "disable":
        return None, [], []
    folder = checkpoints_of(config)
    assert folder is not None, "refused before"
    found, needed = checkpoints_in(folder), needed_files(config)
    path = folder / TRACKER
    try:
        text = read_tracker(folder)
    except OSError as error:
        return None, [], [f"trainer.resume_mode: auto, but {path} cannot be read ({error}); {ANEW}"]
    if text:
        return _tracked_checkpoint(config, path, text)
    complete = [step for step, one in found.items() if is_complete(one, needed)]
    rows = {int(row["step"]) for row in read_rows(Path(config.run_dir) / METRICS_FILE, [])}
    # Cut off between the row of a step and the tracker file, or between its checkpoint and the row.
    with_row = [step for step in complete if step in rows]
    state = "is missing" if text is None else "is empty"
    if with_row or (complete and text is not None):
        step = (with_row or complete)[0]
        warning = f"{path} {state}: going on from the last complete checkpoint, step {step}"
        return found[step], [warning], []
    warnings = []
    if found and text is not None:
        warnings = [f"{path} {state}, and no checkpoint beside it is complete"]
    elif found:
        warnings = [f"no checkpoint in {folder} counts: {path.name} is missing"]
    return None, warnings, []


def _tracked_checkpoint(config: DictConfig, path: Path, text: str) -> Found:
    """The one that the tracker file names."""
    found, needed = checkpoints_in(path.parent), needed_files(config)
    step = int(text) if text.isascii() and text.isdigit() else None
    if step in found:
        return found[step], [], []
    complete = [str(s) for s, one in reversed(found.items()) if is_complete(one, needed)]
    fix = f"write the step of a checkpoint into it ({', '.join(complete)}), or " if complete else ""
    lacks = "which is no step" if step is None else f"and global_step_{step} is not beside it"
    return (
        None,
        [],
        [f"trainer.resume_mode: auto, but {path} says {text[:40]!r}, {lacks}; {fix}{ANEW}"],
    )


def _named_checkpoint(config: DictConfig) -> Found:
    """The one of ``trainer.resume_from_path``."""
    value = config.trainer.resume_from_path
    field = f"trainer.resume_from_path: {value!r}"
    if not isinstance(value, str) or not value:
        return None, [], [f"{field}; give the folder of a checkpoint, .../global_step_N"]
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        return None, [], [f"{field} is no folder; give that of a checkpoint, .../global_step_N"]
    if step_of(folder) is None:
        inside = checkpoints_in(folder) or checkpoints_in(folder / "checkpoints")
        newest = f", such as {next(iter(inside.values()))}" if inside else ""
        return None, [], [f"{field} is not named global_step_N; give a checkpoint's folder{newest}"]
    return folder, [], []
