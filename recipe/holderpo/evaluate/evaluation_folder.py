"""What the commands share around an evaluation: its folder, its lock, its exit status."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recipe.holderpo.run.console import Console

LOG_FILE = "run.log"
REPORT_FILE = "report.md"
SUMMARY_FILE = "summary.json"


class PlanError(ValueError):
    """An evaluation that cannot be run."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the problems.

        Args:
            problems: a sentence each.
        """
        super().__init__("; ".join(problems))
        self.problems = problems


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One evaluation at a time writes into a folder.

    Args:
        folder: made if it is not there.

    Yields:
        Nothing.

    Raises:
        PlanError: if it cannot be made, or another evaluation writes there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        why = f"{folder} cannot be used ({error.strerror}); give another folder"
        raise PlanError([f"--out: {why}"]) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlanError([f"--out: another evaluation writes to {folder} now"]) from None
        yield
    finally:
        os.close(descriptor)


def out_problems(out: Path) -> Iterator[str]:
    """What is wrong with ``--out``.

    Args:
        out: as given.

    Yields:
        A sentence, if anything is.
    """
    if out.exists() and not out.is_dir():
        yield f"--out: {out} is a file; give a folder"


def progress_bar(console: Console, total: int, unit: str) -> Any:
    """A bar on the screen, and none where that is no terminal.

    Args:
        console: of the evaluation.
        total: how many there will be.
        unit: of what.

    Returns:
        tqdm's bar.
    """
    return tqdm(
        total=total,
        unit=unit,
        file=console.screen,
        dynamic_ncols=True,
        disable=not console.screen.isatty(),
    )


def told_on(console: Console, work: Callable[[], int]) -> int:
    """Do what takes long, and say on the console why it ended early.

    Args:
        console: of the evaluation.
        work: returns the exit status.

    Returns:
        That, or 1 after a failure, 130 after an interrupt.
    """
    try:
        return work()
    except KeyboardInterrupt:
        console.fail("interrupted; the same command goes on from here")
        return 130
    except Exception as error:
        console.fail_with(error)
        return 1


def exit_status(evaluation: Callable[[], int]) -> int:
    """Run an evaluation, and say in a few lines why it ended early.

    Args:
        evaluation: returns its own exit status.

    Returns:
        That, or 1 after a failure, 2 for bad input, 130 after an interrupt.
    """
    try:
        return evaluation()
    except PlanError as error:
        print("The evaluation cannot be run:", file=sys.stderr)
        print("\n".join(f"  {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    except (RuntimeError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evaluate: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
