"""What happens in environment workers, counted, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_KINDS = ("step", "reset")


def _zeros() -> dict[str, float]:
    return dict.fromkeys(_KINDS, 0.0)


@dataclass
class Counts:
    """Of one worker, or of several together."""

    num: Counter[str] = field(default_factory=Counter)
    """Steps and resets done, processes lost by cause, and workers brought back."""
    waited_seconds: dict[str, float] = field(default_factory=_zeros)
    """In the worker's queue, summed by kind."""
    took_seconds: dict[str, float] = field(default_factory=_zeros)
    """In the engine process, summed by kind."""
    longest_seconds: dict[str, float] = field(default_factory=_zeros)
    """In the engine process, by kind."""
    resident_bytes: int = 0
    """Memory of the engine process, the largest of several."""

    def done(self, kind: str, *, waited: float, took: float) -> None:
        """Count a step or reset.

        Args:
            kind: ``step`` or ``reset``.
            waited: seconds in the queue.
            took: seconds in the engine process.
        """
        self.num[kind] += 1
        self.waited_seconds[kind] += waited
        self.took_seconds[kind] += took
        self.longest_seconds[kind] = max(self.longest_seconds[kind], took)

    def lost(self, cause: str) -> None:
        """Count an engine process, or an episode that finds its process replaced.

        Args:
            cause: of :class:`~holderpo.alfworld.engine_process.EngineLostError`.
        """
        self.num[cause] += 1


def add_up(counts: Iterable[Counts]) -> Counts:
    """The counts of several workers as one."""
    total = Counts()
    for one in counts:
        total.num += one.num
        total.resident_bytes = max(total.resident_bytes, one.resident_bytes)
        for kind in _KINDS:
            total.waited_seconds[kind] += one.waited_seconds[kind]
            total.took_seconds[kind] += one.took_seconds[kind]
            longest = max(total.longest_seconds[kind], one.longest_seconds[kind])
            total.longest_seconds[kind] = longest
    return total


def to_metrics(counts: Counts) -> dict[str, float]:
    """Counts under the names of :mod:`holderpo.metrics`.

    Args:
        counts: of all workers.

    Returns:
        Values by name; means only of what happened.
    """
    metrics: dict[str, float] = {
        "env/step_timeout_count": counts.num["step_timeout"],
        "env/reset_timeout_count": counts.num["reset_timeout"],
        "env/worker_death_count": counts.num["brought_back"],
        "env/process_death_count": counts.num["died"] + counts.num["not_started"],
        "env/resident_mb_max": counts.resident_bytes / 2**20,
    }
    for kind in _KINDS:
        num = counts.num[kind]
        metrics[f"env/{kind}_count"] = num
        if num:
            metrics[f"env/{kind}_seconds_mean"] = counts.took_seconds[kind] / num
            metrics[f"env/{kind}_seconds_max"] = counts.longest_seconds[kind]
            metrics[f"env/{kind}_wait_seconds_mean"] = counts.waited_seconds[kind] / num
    return metrics
