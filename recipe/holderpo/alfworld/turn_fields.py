"""What a training row of ALFWorld carries in verl's ``extra_fields``: its turn and its episode.

Under the names of :mod:`recipe.holderpo.turn_rows`, which reads them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TurnFields:
    """Of a row's turn."""

    anchor: str
    """The engine's raw text that the turn answers."""
    reward: float
    """Of the environment, for this turn alone."""
    penalty: float
    """Taken off for the turn's action; 0 or more."""
    kind: str
    """Of the action: ``valid``, ``malformed`` or ``inadmissible``; empty without a turn."""
    truncated: bool
    """Whether the response was cut off."""

    def to_dict(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)


@dataclass(frozen=True)
class EpisodeFields:
    """Of a row's episode, the same in all its rows."""

    game: str
    """Path of the game, as in the manifest."""
    task_type: str
    """A short name of ``TASK_TYPES``."""
    outcome: str
    """Of :class:`~holderpo.alfworld.turns.Outcome`."""
    episode_return: float
    """Rewards less penalties of all turns; ``return`` as it travels."""
    num_turns: int
    """Rows of the episode that are trained on."""
    num_restarts: int
    """How often its environment was replaced."""

    def to_dict(self) -> dict[str, Any]:
        """As it travels."""
        fields = asdict(self)
        return {"return": fields.pop("episode_return")} | fields
