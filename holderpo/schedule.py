"""p as a pure function of the training step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

WHOLE_RUN = "whole_run"


class Schedule(Protocol):
    """One interface for every shape, each a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def last_step(self) -> int:
        """First step at which the end value is reached; 0 for a constant."""

    def value(self, step: int) -> float:
        """The order at ``step`` completed rollout rounds, 0 in the first round."""


@dataclass(frozen=True)
class Constant:
    """The same order throughout."""

    p: float
    """The order."""

    @property
    def last_step(self) -> int:
        """A constant is at its end from the start."""
        return 0

    def value(self, step: int) -> float:
        """The order at ``step``."""
        return self.p


@dataclass(frozen=True)
class Linear:
    """Straight line from start to end, the end value afterwards.

    ``p(step) = start + (end - start) * min(1, step / steps)``

    **Source**: section 3.4, the default "Linear Des" of Table 5.
    """

    start: float
    """Order in the first round."""
    end: float
    """Order from step ``steps`` on."""
    steps: int
    """Number of rounds after which the end is reached, >= 0."""

    @property
    def last_step(self) -> int:
        """First step at which the end value is reached."""
        return self.steps

    def value(self, step: int) -> float:
        """The order at ``step``."""
        if step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * step / self.steps


FIELDS: Mapping[str, tuple[str, ...]] = {
    "constant": ("value",),
    "linear": ("start", "end", "steps"),
}


def build_schedule(settings: Mapping[str, Any], *, num_rounds: int) -> Schedule:
    """Build a schedule from ``{kind: ..., <its fields>}``.

    ``steps: whole_run`` stands for ``num_rounds - 1``: the first round then has exactly ``start``
    and the last exactly ``end``. A run of a single round has ``end``.

    Args:
        settings: ``kind`` and the fields of that kind.
        num_rounds: rollout rounds of the whole run.

    Returns:
        The schedule.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    kind: Any = settings.get("kind")
    if kind not in FIELDS:
        raise ValueError(f"p.kind: {kind!r}; give one of {sorted(FIELDS)}")
    unused = sorted(set(settings) - {"kind", *FIELDS[kind]})
    missing = [name for name in FIELDS[kind] if settings.get(name) is None]
    if unused:
        raise ValueError(f"p.{unused[0]}: not a field of kind {kind!r}; it has {FIELDS[kind]}")
    if missing:
        raise ValueError(f"p.{missing[0]}: missing; kind {kind!r} needs {FIELDS[kind]}")
    if kind == "constant":
        return Constant(_finite("value", settings["value"]))
    return Linear(
        start=_finite("start", settings["start"]),
        end=_finite("end", settings["end"]),
        steps=_steps(settings["steps"], num_rounds),
    )


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"p.{name}: {value!r}; give a finite number")
    return float(value)


def _steps(value: Any, num_rounds: int) -> int:
    if value == WHOLE_RUN:
        return max(num_rounds - 1, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"p.steps: {value!r}; give a whole number of rounds or '{WHOLE_RUN}'")
    return value
