"""One run of a sweep: its folder, its note there, and the process that does it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holderpo.studies.run_files import (
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    SWEEP_FILE,
    lookup,
    read_rows,
    read_yaml,
)
from holderpo.whole_files import write_whole
from recipe.holderpo.checks.checkpoints import read_tracker

# What ending Ray and its processes may take.
_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class PlannedRun:
    """One run of the sweep."""

    config: str
    """The experiment, a file of configs/."""
    arm: str
    """What is compared: runs of one arm differ in their seed only."""
    method: str
    """Name of the file in configs/method, or of the arm where it was given by hand."""
    p: float | None
    """Order, where --orders set it."""
    seed: int
    """Of the run."""
    overrides: tuple[str, ...]
    """Hydra overrides that make the arm, and those of the whole sweep."""

    def folder(self, out: Path) -> Path:
        """Where the run leaves everything."""
        return out / self.arm / f"seed_{self.seed}"


def check_note(run: PlannedRun, folder: Path) -> None:
    """Refuse a folder that holds a run with other settings.

    Raises:
        ValueError: naming what differs.
    """
    path = folder / SWEEP_FILE
    if not path.exists() or not (folder / CONFIG_FILE).exists():
        return  # No run, or one that was refused before it began.
    try:
        old = json.loads(path.read_text())
    except ValueError:
        old = None
    if not isinstance(old, dict):
        raise ValueError(f"{path}: cannot be read; move {folder} away")
    new = _note(run)
    different = [name for name in new if old.get(name) != new[name]]
    if different:
        was, now = ({name: note.get(name) for name in different} for note in (old, new))
        raise ValueError(
            f"{folder}: holds a run with other settings than this sweep's ({was} instead of "
            f"{now}); give another --out, or move that folder away"
        )


def write_note(run: PlannedRun, folder: Path, commit: str | None) -> None:
    """Say in the folder which run is in it, and what code does it."""
    text = json.dumps(_note(run) | {"commit": commit}, indent=2)
    write_whole(folder / SWEEP_FILE, text + "\n")


def _note(run: PlannedRun) -> dict[str, Any]:
    note = asdict(run)
    return note | {"overrides": list(run.overrides)}


def is_finished(folder: Path) -> bool:
    """Whether the run has been done."""
    return (folder / SUMMARY_FILE).exists()


@contextmanager
def locked(folder: Path) -> Iterator[int | None]:
    """One process at a time does a run, also one that has outlived its sweep.

    Args:
        folder: of the run.

    Yields:
        A descriptor that holds the lock for as long as any process has it open; None if another
        process does. It is of the folder, so that no file is left behind.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def finish_what_was_trained(folder: Path) -> bool:
    """A run cut off between its last checkpoint and its report has nothing left to train.

    If its last step was logged, the report alone is missing, and is written.

    Args:
        folder: of a run that is not finished.

    Returns:
        Whether the run is finished now or can go on; False if its last step is in the checkpoint
        and not in the metrics: what it was like is lost, the run has to start anew.
    """
    config = read_yaml(folder / CONFIG_FILE, [])
    planned = lookup(config, "trainer.total_training_steps")
    if not isinstance(planned, int):
        return True
    rows = read_rows(folder / METRICS_FILE, [])
    if rows and rows[-1]["step"] >= planned:
        from recipe.holderpo.run.summary import write_summary

        write_summary(folder)
        return True
    latest = read_tracker(Path(str(lookup(config, "trainer.default_local_dir"))))
    # What is no step is for the run itself to refuse.
    return latest is None or not latest.isdecimal() or int(latest) < planned


def run_command(run: PlannedRun, folder: Path) -> list[str]:
    """The command line of one run."""
    return [
        *[sys.executable, "-m", "recipe.holderpo.main", f"--config-name={run.config}"],
        *run_overrides(run, folder),
    ]


def run_overrides(run: PlannedRun, folder: Path) -> list[str]:
    """What sets the run apart from its experiment."""
    return [
        *run.overrides,
        f"seed={run.seed}",
        f"run_dir={folder}",
        f"trainer.experiment_name={run.arm}",
        "trainer.resume_mode=auto",
    ]


def run_to_its_end(command: Sequence[str], environment: Mapping[str, str], lock: int) -> int:
    """Run a command; an interrupt is handed on, and what it leaves running is waited for.

    Args:
        command: to run.
        environment: of its process.
        lock: descriptor that it keeps open.

    Returns:
        Its exit status.
    """
    # A session of its own: Ctrl-C reaches it once, from here, and it ends Ray before it ends.
    process = subprocess.Popen(command, env=environment, pass_fds=(lock,), start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # Not SIGINT, which a shell has its background processes ignore, and theirs with them.
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
