"""What an episode and its turns are worth."""

from __future__ import annotations

from dataclasses import dataclass

from holderpo.alfworld.actions import ActionKind
from holderpo.number_kinds import is_number


@dataclass(frozen=True)
class RewardSettings:
    """**Source**: the defaults are those of verl-agent's recipe for ALFWorld."""

    success: float = 10.0
    """Reward of an episode whose goal holds."""
    failure: float = 0.0
    """Reward of any other, one at its limit of steps included."""
    malformed_penalty: float = 0.1
    """Taken from a turn whose response is malformed; 0 takes nothing."""
    inadmissible_penalty: float = 0.0
    """Taken from a turn whose response is well-formed, but whose command is not admissible."""

    def __post_init__(self) -> None:
        """Success must be worth more than failure, and a penalty takes something away.

        Raises:
            ValueError: naming all wrong fields with their fixes.
        """
        problems = [
            f"{name}: {value!r}; give a finite number"
            for name, value in vars(self).items()
            if not is_number(value)
        ]
        if not problems:
            problems += [
                f"{name}: {value!r}; give 0 or more, it is taken away"
                for name, value in vars(self).items()
                if name.endswith("_penalty") and value < 0
            ]
            if self.success <= self.failure:
                problems.append(
                    f"success: {self.success!r}; give more than failure, {self.failure!r}"
                )
        if problems:
            raise ValueError("\n".join(problems))

    def episode_reward(self, won: bool) -> float:
        """The reward of an episode.

        Args:
            won: whether the goal held at its end. That it is over says nothing.

        Returns:
            ``success`` or ``failure``.
        """
        return self.success if won else self.failure

    def turn_penalty(self, kind: ActionKind) -> float:
        """What a turn loses of its reward.

        Args:
            kind: of the turn's action.

        Returns:
            0 or more, to be subtracted.
        """
        penalties = {
            ActionKind.VALID: 0.0,
            ActionKind.MALFORMED: self.malformed_penalty,
            ActionKind.INADMISSIBLE: self.inadmissible_penalty,
        }
        return penalties[kind]
