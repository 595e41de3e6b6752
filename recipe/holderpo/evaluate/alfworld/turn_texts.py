"""What a model is told in an evaluation, and how its answers are read.

A model plays best as it was trained: of a run its own settings are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holderpo.alfworld.actions import ActionSettings
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from holderpo.studies.run_files import CONFIG_FILE, read_yaml
from recipe.holderpo.evaluate.weights import Model

_OPTION = "--turn-prompt"
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TurnTexts:
    """How a model and the environment talk."""

    prompts: TurnPromptSettings
    """What the model is told."""
    actions: ActionSettings
    """How its answers are read."""
    source: Path | None
    """File that they come from; None for the defaults."""


def turn_texts(arguments: argparse.Namespace, model: Model) -> TurnTexts:
    """The texts of a file, of the model's run, or the defaults.

    Args:
        arguments: of the command line: ``turn_prompt``, ``history_length``, ``strictness``, each
            None if it was not given.
        model: that plays.

    Returns:
        Them; ``history_length`` and ``strictness`` over the file.

    Raises:
        ValueError: naming each wrong field with its fix, one line each.
    """
    source = arguments.turn_prompt or _configuration_of_run(model)
    prompts, actions = ({}, {}) if source is None else _sections(source)
    if arguments.history_length is not None:
        prompts["history_length"] = arguments.history_length
    if arguments.strictness is not None:
        actions["strictness"] = arguments.strictness
    try:
        return TurnTexts(TurnPromptSettings(**prompts), ActionSettings(**actions), source)
    except (TypeError, ValueError) as error:
        field = _OPTION if source is None else f"{_OPTION}: {source}"
        raise ValueError(
            "\n".join(f"{field}: {line}" for line in str(error).splitlines())
        ) from error


def _configuration_of_run(model: Model) -> Path | None:
    """That of the run whose checkpoint the model is, if it played ALFWorld."""
    for folder in Path(model.path).parents:
        file = folder.parent / CONFIG_FILE
        if folder.name == _CHECKPOINTS and file.exists():
            return file if _agent(read_yaml(file, [])) else None
    return None


def _agent(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    agent = settings.get("agent")
    return agent if isinstance(agent, Mapping) else None


def _sections(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prompts and actions of a run's configuration, or the prompts of a file of their own."""
    notes: list[str] = []
    settings = read_yaml(file, notes)
    if notes:
        raise ValueError(f"{_OPTION}: {notes[0]}; give a file of configs/turn_prompt, or a run's")
    agent = _agent(settings)
    if agent is None:
        return dict(settings), {}
    return tuple(dict(agent.get(name) or {}) for name in ("prompt", "actions"))  # type: ignore[return-value]
