"""p as a pure function of the training step; holderpo.studies.plot_order draws one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from holderpo.control.section import Section

WHOLE_RUN = "whole_run"


class Schedule(Protocol):
    """One interface for every kind, each a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def last_step(self) -> int:
        """Step from which on nothing changes; 0 for a constant."""

    def value(self, step: int) -> float:
        """The value at ``step`` completed rollout rounds, 0 in the first round."""


def _linear(share: float, exponent: float) -> float:
    return share


def _cosine(share: float, exponent: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2


def _power(share: float, exponent: float) -> float:
    return float(share**exponent)


def _cubic(share: float, exponent: float) -> float:
    return float((1 + (2 * share - 1) ** 3) / 2)


# How much of the way from start to end is behind at a share of the steps; 0 at 0 and 1 at 1.
SHAPES: Mapping[str, Callable[[float, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "power": _power,
    "cubic": _cubic,
}


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    p: float
    """The order."""

    @property
    def last_step(self) -> int:
        """A constant never changes."""
        return 0

    def value(self, step: int) -> float:
        """The value at ``step``."""
        return self.p


@dataclass(frozen=True)
class Annealing:
    """From start to end along a shape, up or down, after a warm-up and a hold.

    ``value = start + (end - start) * shape(s)`` with ``s = (step - first) / steps`` in [0, 1] and
    ``first = warm_up_steps + hold_steps``; ``shape(s)`` is ``s`` (linear),
    ``(1 - cos(pi s)) / 2`` (cosine), ``s ** exponent`` (power), ``(1 + (2 s - 1) ** 3) / 2``
    (cubic).

    **Source**: section 3.4 and Table 5. The released code writes each shape twice, for rising and
    falling p; with ``mid``, ``amp`` the middle and half the width of the range these are the same
    functions: ``mid -+ amp cos(pi s) = start + (end - start)(1 - cos(pi s)) / 2`` (its sin and
    cos), ``mid +- amp (2 s - 1) ** 3 = start + (end - start)(1 + (2 s - 1) ** 3) / 2`` (cubic and
    cubic_dec); linear and quad, with exponent 2, are written this way already.
    """

    shape: str
    """A key of ``SHAPES``."""
    start: float
    """Value until the annealing begins."""
    end: float
    """Value at ``last_step``."""
    steps: int
    """Rounds from start to end, >= 0; 0 is at the end at once."""
    exponent: float = 2.0
    """Of the shape ``power``, > 0: above 1 slow at first, below 1 fast at first."""
    warm_up_steps: int = 0
    """Rounds in which the value goes in a straight line from ``warm_up_from`` to ``start``."""
    warm_up_from: float = 0.0
    """Value in the first round of a warm-up."""
    hold_steps: int = 0
    """Rounds at ``start`` before the annealing begins."""
    after: float | None = None
    """Value in the rounds after ``last_step``; None for ``end``."""

    @property
    def last_step(self) -> int:
        """First step at which the end value is reached."""
        return self.warm_up_steps + self.hold_steps + self.steps

    def value(self, step: int) -> float:
        """The value at ``step``."""
        if step > self.last_step and self.after is not None:
            return self.after
        if step >= self.last_step:
            return self.end
        if step < self.warm_up_steps:
            share = step / self.warm_up_steps
            return self.warm_up_from + (self.start - self.warm_up_from) * share
        first = self.warm_up_steps + self.hold_steps
        share = max(step - first, 0) / self.steps if self.steps else 0.0
        return self.start + (self.end - self.start) * SHAPES[self.shape](share, self.exponent)


_ANNEALED = ("start", "end", "steps")
_OPTIONAL = ("warm_up_steps", "warm_up_from", "hold_steps", "after")
# Kind: fields it needs, fields it may have.
FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "linear": (_ANNEALED, _OPTIONAL),
    "cosine": (_ANNEALED, _OPTIONAL),
    "power": (_ANNEALED, ("exponent", *_OPTIONAL)),
    "cubic": (_ANNEALED, _OPTIONAL),
}


def build_schedule(settings: Mapping[str, Any], *, num_rounds: int, field: str = "p") -> Schedule:
    """Build a schedule from ``{kind: ..., <its fields>}``; a field set to null counts as not set.

    ``steps: whole_run`` stands for the rounds after the first that warm-up and hold leave: the
    first round then has exactly ``start`` (``warm_up_from`` with a warm-up) and the last exactly
    ``end``. A run of a single round has ``end``.

    Args:
        settings: ``kind`` and the fields of that kind, named as in :class:`Annealing`.
        num_rounds: rollout rounds of the whole run.
        field: where the settings stand in the configuration, for the errors.

    Returns:
        The schedule.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    section = Section(settings, field)
    kind = section.choice("kind", FIELDS)
    section.require_fields(*FIELDS[kind])
    if kind == "constant":
        return Constant(section.number("value"))
    warm_up_steps = section.count("warm_up_steps", 0)
    if warm_up_steps:
        warm_up_from = section.number("warm_up_from")
    elif "warm_up_from" in section.values:
        raise ValueError(
            f"{field}.warm_up_from: {section.values['warm_up_from']!r} has no effect without a "
            f"warm-up; set {field}.warm_up_steps, or this to null"
        )
    else:
        warm_up_from = 0.0
    hold_steps = section.count("hold_steps", 0)
    return Annealing(
        shape=kind,
        start=section.number("start"),
        end=section.number("end"),
        steps=_steps(section, num_rounds, warm_up_steps + hold_steps),
        exponent=section.number("exponent", 2.0, above=0),
        warm_up_steps=warm_up_steps,
        warm_up_from=warm_up_from,
        hold_steps=hold_steps,
        after=section.number("after") if "after" in section.values else None,
    )


def _steps(section: Section, num_rounds: int, before: int) -> int:
    value = section.values["steps"]
    if value == WHOLE_RUN:
        steps = num_rounds - 1 - before
        if before and steps < 1:
            raise ValueError(
                f"{section.name}.steps: {WHOLE_RUN!r} leaves no round to anneal in: warm_up_steps "
                f"and hold_steps take {before} of {num_rounds} rounds; lower them"
            )
        return max(steps, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{section.name}.steps: {value!r}; give a whole number of rounds above 0 or "
            f"'{WHOLE_RUN}'"
        )
    return value
