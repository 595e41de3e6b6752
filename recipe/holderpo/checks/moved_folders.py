"""Folders of an earlier run that get another name: nothing that the new run needs may lie there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from recipe.holderpo.checks.checkpoints import is_below
from recipe.holderpo.checks.data import data_files


def moved_folder_problems(config: DictConfig, folders: Sequence[Path]) -> Iterator[str]:
    """What would not be found any more once the folders have another name.

    Args:
        config: as composed.
        folders: that are to be moved aside.

    Yields:
        One line: field, value, fix.
    """
    why = "where an earlier run is that is to be kept under another name; give another run_dir"
    needed = [
        *data_files(config),
        ("actor_rollout_ref.model.path", str(config.actor_rollout_ref.model.path)),
    ]
    if config.trainer.resume_mode == "resume_path":
        needed.append(("trainer.resume_from_path", str(config.trainer.resume_from_path)))
    for folder in folders:
        if folder.resolve() == Path.cwd() or is_below(Path.cwd(), folder):
            yield (
                f"run_dir: {config.run_dir!r} is, or is above, the folder that the run is started "
                f"in, {why}"
            )
        for field, path in needed:
            place = Path(path).expanduser()
            if place.exists() and (place.samefile(folder) or is_below(place, folder)):
                yield f"{field}: {path} lies in {folder}, {why}"
