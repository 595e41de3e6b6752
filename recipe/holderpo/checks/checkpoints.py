"""A folder of checkpoints: which steps it has, what each of them lacks, and which one counts.

The tracker file names the checkpoint that counts. It is written last, after everything in the
checkpoint and after its step's row of metrics, and only then are older checkpoints removed.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

from omegaconf import DictConfig

from holderpo.whole_files import write_whole

TRACKER = "latest_checkpointed_iteration.txt"
CONTROLLER_FILE = "holderpo.json"
DATA_FILE = "data.pt"
# The folder of prompts and responses under way, with asynchronous rollouts; TransferQueue writes it
# under the other name first.
UNDER_WAY, _UNDER_WAY_CUT_OFF = "transfer_queue", "transfer_queue.tmp"
_FSDP_FILE = "actor/fsdp_config.json"
_FOLDER = re.compile(r"global_step_([0-9]+)")
# verl's names of what a checkpoint has, and of the file of each rank.
OF_A_RANK = {"model": "model", "optimizer": "optim", "extra": "extra_state"}
CONTENTS = (*OF_A_RANK, "hf_model")


def world_size(config: DictConfig) -> int:
    """Ranks of the actor."""
    return int(config.trainer.nnodes * config.trainer.n_gpus_per_node)


def needed_files(config: DictConfig) -> tuple[str, ...]:
    """Files without which the run cannot go on from a checkpoint, relative to its folder.

    Those of the ranks only on one machine: with several, each may keep its own on its own disk.
    verl writes the data position after them, so that they are there if it is, and last the prompts
    under way, which :func:`find_faults` looks at by itself.
    """
    of_ranks = []
    if config.trainer.nnodes == 1:
        ranks = world_size(config)
        contents = config.actor_rollout_ref.actor.checkpoint.load_contents
        contents = list(OF_A_RANK) if contents is None else contents
        of_ranks = [
            f"actor/{name}_world_size_{ranks}_rank_{rank}.pt"
            for content, name in OF_A_RANK.items()
            if content in contents
            for rank in range(ranks)
        ]
    return (CONTROLLER_FILE, DATA_FILE, *of_ranks)


def find_faults(folder: Path, needed: tuple[str, ...]) -> list[str]:
    """What keeps a checkpoint from being complete.

    Args:
        folder: of the checkpoint.
        needed: of :func:`needed_files`.

    Returns:
        A few words for each missing or cut off file.
    """
    faults = []
    for name in needed:
        if not (folder / name).is_file():
            faults.append(f"{name} is missing")
        # torch writes zip archives, which have their table of contents at the end.
        elif name.endswith(".pt") and not zipfile.is_zipfile(folder / name):
            faults.append(f"{name} is cut off")
    if (folder / _UNDER_WAY_CUT_OFF).exists():
        faults.append(f"{UNDER_WAY} is cut off")
    return faults


def remove_under_way(folder: Path) -> None:
    """Remove prompts under way from a checkpoint that is written anew, whole or cut off."""
    for name in (UNDER_WAY, _UNDER_WAY_CUT_OFF):
        shutil.rmtree(folder / name, ignore_errors=True)


def is_complete(folder: Path, needed: tuple[str, ...]) -> bool:
    """Whether a run can go on from a checkpoint."""
    return not find_faults(folder, needed)


def written_by_ranks(folder: Path) -> int | None:
    """How many ranks a checkpoint is of; None if it does not say."""
    try:
        return int(json.loads((folder / _FSDP_FILE).read_text(encoding="utf-8"))["world_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checkpoints_of(config: DictConfig) -> Path | None:
    """The folder of a run's checkpoints."""
    folder = config.trainer.default_local_dir
    return Path(folder).absolute() if folder else None


def is_in(path: Path, folder: Path | None) -> bool:
    """Whether a path lies directly in a folder, by whatever links it is named."""
    return folder is not None and path.parent.resolve() == folder.resolve()


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path lies anywhere below a folder, by whatever links it is named."""
    return folder.resolve() in path.resolve().parents


def step_of(folder: Path) -> int | None:
    """The step that a checkpoint's folder is named after; None for any other folder."""
    match = _FOLDER.fullmatch(folder.name)
    return int(match[1]) if match else None


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Folders of checkpoints by step, newest first, complete or not."""
    found = {step_of(path): path for path in folder.glob("global_step_*") if path.is_dir()}
    return {step: found[step] for step in sorted((s for s in found if s is not None), reverse=True)}


def read_tracker(folder: Path) -> str | None:
    """What the tracker file says.

    Args:
        folder: of the checkpoints.

    Returns:
        Its text, empty where nothing but blanks and zero bytes is left of it; None if there is no
        such file.
    """
    path = folder / TRACKER
    if not path.exists():
        return None
    return path.read_bytes().decode(errors="replace").replace("\0", " ").strip()


def write_tracker(folder: Path, step: int) -> None:
    """Let the checkpoint of ``step`` count."""
    write_whole(folder / TRACKER, str(step))


def num_kept(config: DictConfig) -> int | None:
    """How many checkpoints are kept; None for all."""
    if config.trainer.get("remove_previous_ckpt_in_save"):
        return 1
    limit: int | None = config.trainer.get("max_actor_ckpt_to_keep")
    return limit


def remove_older(folder: Path, step: int, limit: int | None, needed: tuple[str, ...]) -> None:
    """Remove checkpoints older than the one that counts, as the limit says.

    Incomplete ones do not take the place of others, and go as well.

    Args:
        folder: of the checkpoints.
        step: of the checkpoint that counts.
        limit: how many are kept, this one included; None for all.
        needed: of :func:`needed_files`.
    """
    if limit is None:
        return
    older = [path for number, path in checkpoints_in(folder).items() if number < step]
    kept = [path for path in older if is_complete(path, needed)][: limit - 1]
    for path in older:
        if path in kept:
            continue
        try:
            # First what makes it complete: cut off in between, it is not taken for one.
            (path / CONTROLLER_FILE).unlink(missing_ok=True)
            shutil.rmtree(path)
            print(f"checkpoint removed: {path}")
        except OSError as error:
            # A full disk is trouble for later; the run itself goes on.
            print(f"checkpoint not removed: {error}")
