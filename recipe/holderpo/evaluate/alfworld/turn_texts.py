"""What a model is told in an evaluation, and how its answers are read.

A model plays best as it was trained: of a run's checkpoint the run's own settings are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from holderpo.alfworld.actions import ActionSettings
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from holderpo.studies.run_files import CONFIG_FILE, METRICS_FILE, read_yaml
from recipe.holderpo.evaluate.weights import Model

_OPTION = "--turn-prompt"
_FIX = "give a file of configs/turn_prompt, or a run's config.yaml"
# Of a run: what the model is told, how it is read, and what its chat template is given besides.
_OF_RUN = ("agent.prompt", "agent.actions", "data.apply_chat_template_kwargs")


@dataclass(frozen=True)
class TurnTexts:
    """How a model and the environment talk."""

    prompts: TurnPromptSettings
    """What the model is told."""
    actions: ActionSettings
    """How its answers are read."""
    chat_template: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is given besides the message."""
    source: Path | None = None
    """File that they come from; None for the reference's."""


def turn_texts(arguments: argparse.Namespace, model: Model) -> TurnTexts:
    """The texts of a file, of the model's run, or the reference's.

    Args:
        arguments: of the command line: ``turn_prompt``, ``history_length``, ``strictness``, each
            None if it was not given.
        model: that plays.

    Returns:
        Them; ``history_length`` and ``strictness`` over the file.

    Raises:
        ValueError: naming each wrong field with its fix, one line each.
    """
    source, option = arguments.turn_prompt, _OPTION
    if source is None:
        source, option = _configuration_of_run(model), "--policy"
    sections = _Sections() if source is None else _read(source, option)
    prompts, actions = dict(sections.prompt), dict(sections.actions)
    if arguments.history_length is not None:
        prompts["history_length"] = arguments.history_length
    if arguments.strictness is not None:
        actions["strictness"] = arguments.strictness
    try:
        return TurnTexts(
            TurnPromptSettings(**prompts),
            ActionSettings(**actions),
            sections.chat_template,
            source,
        )
    except (TypeError, ValueError) as error:
        where = option if source is None else f"{option}: {source}"
        lines = [f"{where}: {line}" for line in str(error).splitlines()]
        raise ValueError("\n".join(lines)) from error


@dataclass(frozen=True)
class _Sections:
    """As a file holds them."""

    prompt: Mapping[str, Any] = field(default_factory=dict)
    actions: Mapping[str, Any] = field(default_factory=dict)
    chat_template: Mapping[str, Any] = field(default_factory=dict)


def _configuration_of_run(model: Model) -> Path | None:
    """That of the run whose checkpoint the model is, if it played ALFWorld."""
    if model.on_hub:
        return None
    for folder in Path(model.path).resolve().parents:
        file = folder / CONFIG_FILE
        if file.exists() and (folder / METRICS_FILE).exists():
            return file if _load(file, "--policy").get("agent") is not None else None
    return None


def _read(file: Path, option: str) -> _Sections:
    """The sections of a run's configuration, or the prompts of a file of their own."""
    settings = _load(file, option)
    if not settings or "defaults" in settings:
        raise ValueError(f"{option}: {file} holds no messages itself; {_FIX}")
    if not {"agent", "model_engine"} & settings.keys():
        return _Sections(prompt=settings)
    try:
        config = OmegaConf.create(settings)
        return _Sections(*(_section(config, name) for name in _OF_RUN))
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{option}: {file}: {str(error).splitlines()[0]}; {_FIX}") from error


def _section(config: DictConfig, name: str) -> Mapping[str, Any]:
    """A section, references to other settings resolved; one that is missing is empty."""
    found = OmegaConf.select(config, name)
    if found is None and name == _OF_RUN[0]:
        raise ValueError(f"{name} is missing")
    if found is not None and not OmegaConf.is_dict(found):
        raise ValueError(f"{name} is {found!r}, not a section")
    return {} if found is None else OmegaConf.to_container(found, resolve=True)  # type: ignore[return-value]


def _load(file: Path, option: str) -> dict[str, Any]:
    notes: list[str] = []
    try:
        settings = read_yaml(file, notes)
    except OSError as error:
        raise ValueError(f"{option}: {file}: {error.strerror}; {_FIX}") from error
    if notes:
        raise ValueError(f"{option}: {notes[0]}; {_FIX}")
    return settings
