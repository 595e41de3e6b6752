"""The state of the controller of p, noted in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holderpo.whole_files import write_whole
from recipe.holderpo.checks.checkpoints import CONTROLLER_FILE, step_of


def write_controller_state(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Note a controller's state in a checkpoint, in one go.

    Args:
        folder: of the checkpoint; made if it is not there.
        step: of the checkpoint.
        state: of the controller.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"global_steps": step, "controller": state}, indent=2)
    write_whole(folder / CONTROLLER_FILE, text + "\n")


def read_controller_state(folder: Path) -> Mapping[str, Any]:
    """What :func:`write_controller_state` has noted.

    Args:
        folder: of a checkpoint.

    Returns:
        The controller's state.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of another step.
    """
    path = folder / CONTROLLER_FILE
    another = "resume from another checkpoint (trainer.resume_mode=resume_path)"
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        state, step = noted["controller"], noted["global_steps"]
        if not isinstance(state, dict):
            raise TypeError(f"the controller's state is {state!r}")
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: damaged ({reason}); {another}") from error
    if step != step_of(folder):
        raise ValueError(f"{path}: of step {step!r}, in {folder.name}; {another}")
    return state
