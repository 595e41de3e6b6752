"""What an agent sees of a game, and how an episode ends."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Turn:
    """The game after a reset or a step."""

    observation: str
    """The engine's text, unchanged."""
    admissible: tuple[str, ...]
    """Commands that do something now, sorted, as the engine lists them (``help`` included)."""
    won: bool
    """Whether the goal holds."""
    done: bool
    """Whether the episode is over: won, or at its limit of steps."""
    expert_action: str | None = None
    """What the expert would do, if it was asked to watch and the episode goes on."""

    def to_json(self) -> dict[str, Any]:
        """As a mapping of JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, mapping: dict[str, Any]) -> Turn:
        """The turn that :meth:`to_json` made the mapping of."""
        return cls(**{**mapping, "admissible": tuple(mapping["admissible"])})


class Outcome(enum.StrEnum):
    """How an episode ended."""

    WON = "won"
    """The goal held."""
    STEP_LIMIT = "step_limit"
    """It met its limit of steps."""
    LENGTH = "length"
    """No room was left for the next turn in the model's context."""
    FAILED = "failed"
    """The environment failed for good; the episode says nothing about the agent."""
