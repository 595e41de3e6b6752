"""Whether a run can go on from a checkpoint, and what the controller of p had noted there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

RESUME_MODES = ("auto", "disable", "resume_path")
CONTROLLER_FILE = "holderpo.json"


def resume_problems(config: DictConfig) -> Iterator[str]:
    """A way to resume that does not exist.

    Args:
        config: as composed.

    Yields:
        One line: field, value, fix.
    """
    if config.trainer.resume_mode not in RESUME_MODES:
        yield (
            f"trainer.resume_mode: {config.trainer.resume_mode!r}; "
            f"give one of {', '.join(RESUME_MODES)}"
        )


def check_steps_left(step: int, total_steps: int) -> None:
    """Refuse a checkpoint after which nothing is left to train.

    Args:
        step: of the checkpoint.
        total_steps: of the run.

    Raises:
        ValueError: naming the field and the fix.
    """
    if step >= total_steps:
        raise ValueError(
            f"trainer.total_training_steps: {total_steps}, but the checkpoint is at step {step}: "
            "nothing is left to train; raise it, or start anew with trainer.resume_mode=disable"
        )


def write_controller_state(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Note a controller's state in a checkpoint, in one go.

    Args:
        folder: of the checkpoint; made if it is not there.
        step: of the checkpoint.
        state: of the controller.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / (CONTROLLER_FILE + ".tmp")
    text = json.dumps({"global_steps": step, "controller": state}, indent=2)
    unfinished.write_text(text + "\n")
    os.replace(unfinished, folder / CONTROLLER_FILE)


def read_controller_state(folder: Path) -> Mapping[str, Any]:
    """What :func:`write_controller_state` has noted.

    Args:
        folder: of a checkpoint.

    Returns:
        The controller's state.

    Raises:
        ValueError: if there is none.
    """
    path = folder / CONTROLLER_FILE
    if not path.exists():
        raise ValueError(
            f"{path} is missing: the checkpoint was not written by this trainer; "
            "start anew with trainer.resume_mode=disable"
        )
    try:
        state = json.loads(path.read_text(encoding="utf-8"))["controller"]
        if not isinstance(state, dict):
            raise TypeError(f"the controller's state is {state!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); resume from an earlier "
            "checkpoint (trainer.resume_mode=resume_path)"
        ) from error
    return state
