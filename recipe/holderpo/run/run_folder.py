"""A run's folder as it begins: what an earlier run has left there is kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from holderpo.studies.run_files import CONFIG_FILE
from holderpo.whole_files import write_whole
from recipe.holderpo.checks.checkpoints import (
    TRACKER,
    checkpoints_of,
    is_in,
    read_tracker,
    write_tracker,
)

# Set by a sweep for the runs whose folders it holds itself.
HELD_BY_SWEEP = "HOLDERPO_HELD_BY_SWEEP"

if TYPE_CHECKING:
    from recipe.holderpo.checks.resume import Start


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder: two runs in one would spoil both.

    Nothing is done for a folder that is not there, or that the sweep which started this run holds.

    Args:
        run_dir: of the run.

    Raises:
        BlockingIOError: if another process has it.
    """
    if os.environ.get(HELD_BY_SWEEP) or not run_dir.is_dir():
        yield
        return
    descriptor = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def prepare_run_folder(config: DictConfig, start: Start) -> None:
    """Move aside what the run must not write over, and note its configuration.

    Cut off anywhere, the same start decides and does the same once more.

    Args:
        config: as composed.
        start: as planned.

    Raises:
        OSError: if a folder cannot be moved or written to.
    """
    run_dir, checkpoints = Path(config.run_dir), checkpoints_of(config)
    if start.checkpoint is not None and start.is_own and checkpoints is not None:
        if not is_in(start.checkpoint, checkpoints):
            (checkpoints / TRACKER).unlink(missing_ok=True)
        elif read_tracker(checkpoints) != str(start.step):
            # Before newer checkpoints go, so that it always names one that is there.
            write_tracker(checkpoints, start.step)
    for folder in start.moved_aside:
        print(f"earlier    kept aside, as {move_aside(folder)}", flush=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG_FILE
    until = run_dir / f"config_to_step_{start.step}.yaml"
    # One that is there did these steps: the change after it may have come to none.
    if start.is_changed and start.is_own and path.exists() and not until.exists():
        write_whole(until, path.read_text(encoding="utf-8"))
    write_whole(path, OmegaConf.to_yaml(config))


def aside_of(folder: Path) -> Path:
    """A name beside a folder's that is free: with .1, .2, and so on."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return aside


def move_aside(folder: Path) -> Path:
    """Give a folder another name, so that nothing in it is written over; returns its new path."""
    return folder.rename(aside_of(folder))
