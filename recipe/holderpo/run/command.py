"""Commands that a user can copy: this run again, with something changed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from recipe.holderpo.checks.checkpoints import TRACKER, checkpoints_of

_OF_RESUMING = ("trainer.resume_mode=", "trainer.resume_from_path=")


def same_command(arguments: Sequence[str], *, without: tuple[str, ...], plus: Sequence[str]) -> str:
    """The command of this process with other overrides.

    Args:
        arguments: of this process.
        without: beginnings of those to leave out.
        plus: to put behind them.

    Returns:
        One line for a shell.
    """
    kept = [text for text in arguments if not text.lstrip("+~").startswith(without)]
    python = os.path.relpath(sys.executable)
    program = python if not python.startswith("..") else sys.executable
    return shlex.join([program, "-m", "recipe.holderpo.main", *kept, *plus])


def how_to_go_on(config: DictConfig, arguments: Sequence[str]) -> str:
    """What a user does after this run has ended before its time.

    Args:
        config: of the run.
        arguments: of its command line.

    Returns:
        The end of a line.
    """
    try:
        checkpoints = checkpoints_of(config)
        is_saved = checkpoints is not None and (checkpoints / TRACKER).exists()
    except OSError:
        # A disk that is away for a while: this command also begins a run without a checkpoint.
        is_saved = True
    if is_saved:
        resume = ["trainer.resume_mode=auto"]
        return "resume with: " + same_command(arguments, without=_OF_RESUMING, plus=resume)
    again = same_command(arguments, without=(), plus=())
    return f"no checkpoint was saved, start again with: {again}"
