"""Optimiser steps that verl skips because a gradient is not finite: counted, and not for long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from holderpo.metrics import SKIPPED_UPDATES


class SkippedUpdatesError(RuntimeError):
    """The actor skips updates round after round."""


class SkippedUpdates:
    """Counts them round by round, and ends a run that goes on skipping.

    verl's engine leaves the weights as they are where the norm of the gradient is not finite, and
    prints a line; the mean of the norms over a round does not tell how often.
    """

    def __init__(self, stop_after_rounds: int | None) -> None:
        """No round has ended yet.

        Args:
            stop_after_rounds: end the run after so many rounds in a row with skipped updates; None
                for never.
        """
        self.stop_after_rounds = stop_after_rounds
        self._norms: list[float] = []
        self._rounds_in_a_row = 0

    def watched(self, update_actor: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same ``update_actor``, whose gradient norms are noted before they are averaged."""

        def update(batch: Any) -> Any:
            output = update_actor(batch)
            self._norms = gradient_norms(output["metrics"])
            return output

        return update

    def finish_round(self, step: int) -> dict[str, float]:
        """Count what the last call of ``update_actor`` has skipped.

        Args:
            step: verl's number of the round, for the error.

        Returns:
            The count under the name of its metric.

        Raises:
            SkippedUpdatesError: if this was one round in a row too many.
        """
        skipped = sum(not math.isfinite(norm) for norm in self._norms)
        self._rounds_in_a_row = self._rounds_in_a_row + 1 if skipped else 0
        if self.stop_after_rounds is not None and self._rounds_in_a_row >= self.stop_after_rounds:
            raise SkippedUpdatesError(
                f"{SKIPPED_UPDATES}: {skipped} of {len(self._norms)} in step {step}, and some in "
                f"each of the last {self._rounds_in_a_row} (stop_after_skipped_rounds: "
                f"{self.stop_after_rounds}): gradients are not finite; lower "
                "actor_rollout_ref.actor.optim.lr, or look at the responses of these steps"
            )
        return {SKIPPED_UPDATES: float(skipped)}


def gradient_norms(metrics: Mapping[str, Any]) -> list[float]:
    """Norm of the gradient of every update of a round.

    Args:
        metrics: as ``update_actor`` returns them: a list with one entry per update.

    Raises:
        RuntimeError: if they have none.
    """
    if not (norms := metrics.get("grad_norm")):
        raise RuntimeError("actor: it reported no grad_norm; verl's engine has changed")
    return [float(norm) for norm in norms]
