"""How many rows and updates a round has, where an episode gives a row for each of its turns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from recipe.holderpo.alfworld.agent_settings import agent_settings


@dataclass(frozen=True)
class TurnBudget:
    """Sizes of a round whose number of rows is not known before it is played."""

    num_episodes: int
    """Of a round."""
    max_steps: int
    """Most turns of an episode."""
    rows_per_update: int
    """Turns that an optimiser step takes; verl fills a round up to a multiple with empty rows."""
    num_epochs: int
    """Passes over the rows of a round."""

    @property
    def assumed_turns(self) -> float:
        """Turns of an episode that expectations are stated for: half of the limit, at least one.

        A policy that wins nothing takes all of them, and alfworld's own expert a third.
        """
        return max(1.0, self.max_steps / 2)

    def rows(self, turns: float) -> int:
        """Rows of a round.

        Args:
            turns: of an episode, on average.

        Returns:
            One for each turn.
        """
        return math.ceil(self.num_episodes * turns)

    def updates(self, turns: float) -> int:
        """Optimiser steps of a round.

        Args:
            turns: of an episode, on average.

        Returns:
            As verl makes them, which fills rows up to whole mini-batches.
        """
        return math.ceil(self.rows(turns) / self.rows_per_update) * self.num_epochs

    def lines(self) -> Iterator[str]:
        """What the plan says of it."""
        turns, most = self.assumed_turns, self.max_steps
        at = f"at {turns:g} turns an episode"
        half = f" (half of agent.max_steps, {most})" if most > 1 else ""
        yield (
            f"rows       one per turn: {self.rows(1):,} to {self.rows(most):,} in a round, "
            f"{self.rows(turns):,} {at}{half}"
        )
        yield (
            f"updates    {self.updates(1):,} to {self.updates(most):,} per round, "
            f"{self.updates(turns):,} {at}, {self.rows_per_update:,} rows each"
        )

    def warnings(self) -> Iterator[str]:
        """Rounds too small for their updates."""
        field = "actor_rollout_ref.actor.ppo_mini_batch_size"
        few = "with one update per round every ratio is 1, and p has no effect"
        if self.updates(self.max_steps) == self.num_epochs == 1:
            yield (
                f"a round has at most {self.rows(self.max_steps):,} turns and an update takes "
                f"{self.rows_per_update:,}: {few} (lower {field})"
            )
        elif self.updates(self.assumed_turns) == self.num_epochs == 1:
            yield (
                f"rounds of up to {self.rows_per_update:,} turns have one update; "
                f"{few} in them (lower {field})"
            )


def turn_budget(config: DictConfig) -> TurnBudget:
    """The sizes of a run's rounds.

    Args:
        config: of a run with an agent.

    Returns:
        Its budget.
    """
    actor, n = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout.n
    return TurnBudget(
        num_episodes=int(config.data.train_batch_size * n),
        max_steps=agent_settings(config).max_steps,
        rows_per_update=int(actor.ppo_mini_batch_size * n),
        num_epochs=int(actor.ppo_epochs),
    )
