"""The section ``agent``: how episodes of ALFWorld are played in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from holderpo.alfworld.actions import ActionSettings
from holderpo.alfworld.engine_process import EngineSettings
from holderpo.alfworld.episode_reward import RewardSettings
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from holderpo.number_kinds import is_number, is_whole
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.sections import plain

DROP, ZERO = "drop", "zero"
# Fields that are sections of their own, by the class that holds them.
_SECTIONS: Mapping[str, type] = {
    "prompt": TurnPromptSettings,
    "actions": ActionSettings,
    "reward": RewardSettings,
    "environment": EnvironmentSettings,
    "engine": EngineSettings,
}


@dataclass(frozen=True)
class AgentSettings:
    """How episodes are played."""

    max_steps: int = 50
    """Commands after which an episode is over."""
    failed_episodes: str = DROP
    """What becomes of an episode whose environment fails or that does not end: ``drop`` leaves it
    out of everything, ``zero`` counts it as one of return 0."""
    episode_seconds: float = 1200.0
    """In which an episode must end; one that does not has failed."""
    prompt: TurnPromptSettings = field(default_factory=TurnPromptSettings)
    """What the agent is told in each turn."""
    actions: ActionSettings = field(default_factory=ActionSettings)
    """How its responses are read."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    """What an episode and its turns are worth."""
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    """The environment workers."""

    def __post_init__(self) -> None:
        """Check the fields that are no sections.

        Raises:
            ValueError: naming each wrong field with its fix, one line each.
        """
        problems = []
        steps, seconds = self.max_steps, self.episode_seconds
        if not is_whole(steps, at_least=1):
            problems.append(f"max_steps: {steps!r}; give a number of commands, 1 or more")
        if self.failed_episodes not in (DROP, ZERO):
            problems.append(f"failed_episodes: {self.failed_episodes!r}; give {DROP} or {ZERO}")
        if not is_number(seconds) or seconds <= 0:
            problems.append(f"episode_seconds: {seconds!r}; give seconds above 0")
        if problems:
            raise ValueError("\n".join(problems))


def has_agent(config: DictConfig) -> bool:
    """Whether a run plays episodes of several turns."""
    return config.get("agent") is not None


def agent_settings(config: DictConfig) -> AgentSettings:
    """The section ``agent`` of a run that has one.

    Args:
        config: of the run.

    Returns:
        The settings.

    Raises:
        ValueError: naming each wrong field with its fix, one line each.
    """
    section = config.agent
    section = plain(section) if OmegaConf.is_config(section) else section
    settings = _built(AgentSettings, section, "agent")
    assert isinstance(settings, AgentSettings)
    return settings


def _built(kind: type, section: Any, name: str) -> Any:
    """A dataclass from a section, with those within it."""
    if not isinstance(section, Mapping):
        raise ValueError(f"{name}: {section!r}; give settings, or leave it out")
    known = {one.name: one for one in fields(kind)}
    problems = [
        f"{name}.{key}: unknown; give one of {', '.join(known)}"
        for key in section
        if key not in known
    ]
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in known:
            continue
        try:
            inner = _SECTIONS.get(key)
            values[key] = _built(inner, value, f"{name}.{key}") if inner else value
        except ValueError as error:
            problems += str(error).splitlines()
    if problems:
        raise ValueError("\n".join(problems))
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        lines = str(error).splitlines()
        raise ValueError("\n".join(f"{name}.{line}" for line in lines)) from error
