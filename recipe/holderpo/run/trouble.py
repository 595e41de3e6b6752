"""What in a step's metrics is trouble, in words for the screen."""

from __future__ import annotations

from collections.abc import Mapping

from holderpo.metrics import NONFINITE_FRAC, SATURATED_FRAC, SKIPPED_UPDATES

# Trouble that stays is named when it begins, and again after so many steps.
REPEAT_AFTER_STEPS = 20

# Metrics that are 0 in a healthy run: format of the value, and what another one means.
_ABOVE_ZERO = {
    SATURATED_FRAC: (
        "{:.3g}",
        "of the responses have a ratio that is held at exp(20), updates are far too large; lower "
        "actor_rollout_ref.actor.optim.lr",
    ),
    NONFINITE_FRAC: (
        "{:.3g}",
        "of the responses have a log-ratio or a loss that is NaN or infinite; updates with them "
        "are skipped",
    ),
    SKIPPED_UPDATES: (
        "{:.0f}",
        "of the step's updates were skipped, their gradients were not finite; the run ends after "
        "stop_after_skipped_rounds such steps in a row",
    ),
}


def trouble(metrics: Mapping[str, float]) -> list[str]:
    """Lines about what is wrong with a step.

    Args:
        metrics: of the step.

    Returns:
        One line per trouble, its metric first: ``metric: value what it means``.
    """
    return [
        f"{name}: {form.format(metrics[name])} {meaning}"
        for name, (form, meaning) in _ABOVE_ZERO.items()
        # Written so that NaN is trouble too.
        if not metrics.get(name, 0.0) <= 0
    ]


class Reminder:
    """Lets each trouble be said when it begins, and rarely after."""

    def __init__(self) -> None:
        """Nothing has been said."""
        self._last_said: dict[str, int] = {}

    def due(self, step: int, lines: list[str]) -> list[str]:
        """Those of a step's lines that are to be said.

        Args:
            step: of the lines.
            lines: as :func:`trouble` gives them.
        """
        due = []
        for line in lines:
            metric = line.partition(":")[0]
            last = self._last_said.get(metric)
            if last is None or step - last >= REPEAT_AFTER_STEPS:
                self._last_said[metric] = step
                due.append(line)
        return due
