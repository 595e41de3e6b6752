"""p as a pure function of the training step; holderpo.studies.plot_order draws one.

A schedule of one's own is a frozen dataclass with ``at`` and ``last_step``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from holderpo.control.fields import check_count, check_number
from holderpo.number_kinds import is_number

WHOLE_RUN = "whole_run"


class Schedule(Protocol):
    """A value that depends on the step alone."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def last_step(self) -> int:
        """Step from which on nothing changes; 0 for a constant."""

    def at(self, step: int) -> float:
        """The value at ``step`` completed rollout rounds, 0 in the first round."""


def is_schedule(candidate: Any) -> bool:
    """Whether an object has what a schedule has."""
    names = {*dir(type(candidate)), *getattr(candidate, "__dataclass_fields__", ())}
    return "last_step" in names and callable(getattr(candidate, "at", None))


def check_values(schedule: Schedule, num_rounds: int) -> None:
    """Refuse a schedule that has no number in some round.

    Args:
        schedule: any.
        num_rounds: rollout rounds of the run.

    Raises:
        ValueError: naming the method, the value and the round.
    """
    for step in range(num_rounds):
        value = schedule.at(step)
        if not is_number(value):
            raise ValueError(f"at({step}): {value!r}; give a finite number for every round")


def check_schedule(settings: Any, field: str) -> None:
    """Refuse a field that is no schedule.

    Raises:
        ValueError: naming field, value and fix.
    """
    value = getattr(settings, field)
    if not is_schedule(value):
        raise ValueError(
            f"{field}: {value!r}; give a schedule, for example p@p.{field}=constant and "
            f"p.{field}.value"
        )


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

    value: float
    """The order."""

    def __post_init__(self) -> None:
        """The value must be a finite number."""
        check_number(self, "value")

    @property
    def last_step(self) -> int:
        """A constant never changes."""
        return 0

    def at(self, step: int) -> float:
        """The value at ``step``."""
        return self.value


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

    start: float
    """Value until the annealing begins."""
    end: float
    """Value at ``last_step``."""
    steps: int | str = WHOLE_RUN
    """Rounds from start to end, above 0; ``whole_run`` until :meth:`for_run` knows how many."""
    shape: str = "linear"
    """A key of ``SHAPES``."""
    exponent: float | None = None
    """Of the shape ``power``, > 0: above 1 slow at first, below 1 fast at first."""
    warm_up_steps: int = 0
    """Rounds in which the value goes in a straight line from ``warm_up_from`` to ``start``."""
    warm_up_from: float | None = None
    """Value in the first round of a warm-up; None without one."""
    hold_steps: int = 0
    """Rounds at ``start`` before the annealing begins."""
    after: float | None = None
    """Value in the rounds after ``last_step``; None for ``end``."""

    def __post_init__(self) -> None:
        """Check the fields together."""
        check_number(self, "start")
        check_number(self, "end")
        if self.steps != WHOLE_RUN:
            check_count(self, "steps", at_least=1, otherwise=WHOLE_RUN)
        if not isinstance(self.shape, str) or self.shape not in SHAPES:
            raise ValueError(f"shape: {self.shape!r}; give one of {', '.join(SHAPES)}")
        if self.shape == "power":
            check_number(self, "exponent", above=0)
        elif self.exponent is not None:
            raise ValueError(
                f"exponent: {self.exponent!r} has no effect on the shape {self.shape!r}; set it to "
                "null, or shape to power"
            )
        check_count(self, "warm_up_steps")
        check_count(self, "hold_steps")
        if self.warm_up_steps:
            check_number(self, "warm_up_from")
        elif self.warm_up_from is not None:
            raise ValueError(
                f"warm_up_from: {self.warm_up_from!r} has no effect without a warm-up; set "
                "warm_up_steps, or this to null"
            )
        if self.after is not None:
            check_number(self, "after")

    def for_run(self, num_rounds: int) -> Annealing | Constant:
        """The schedule in a run of ``num_rounds`` rounds.

        ``whole_run`` stands for the rounds after the first that warm-up and hold leave: the first
        round then has exactly ``start`` (``warm_up_from`` with a warm-up) and the last exactly
        ``end``. A run of a single round has ``end``.

        Raises:
            ValueError: if warm-up and hold leave no round to anneal in.
        """
        if self.steps != WHOLE_RUN:
            return self
        before = self.warm_up_steps + self.hold_steps
        steps = num_rounds - 1 - before
        if before and steps < 1:
            raise ValueError(
                f"steps: {WHOLE_RUN!r} leaves no round to anneal in: warm_up_steps and hold_steps "
                f"take {before} of {num_rounds} rounds; lower them"
            )
        return replace(self, steps=steps) if steps > 0 else Constant(self.end)

    @property
    def last_step(self) -> int:
        """First step at which the end value is reached."""
        return self.warm_up_steps + self.hold_steps + self._num_steps

    @property
    def _num_steps(self) -> int:
        assert isinstance(self.steps, int), "for_run() has said how many"
        return self.steps

    def at(self, step: int) -> float:
        """The value at ``step``."""
        if step > self.last_step and self.after is not None:
            return self.after
        if step >= self.last_step:
            return self.end
        if self.warm_up_from is not None and step < self.warm_up_steps:
            share = step / self.warm_up_steps
            return self.warm_up_from + (self.start - self.warm_up_from) * share
        first = self.warm_up_steps + self.hold_steps
        share = max(step - first, 0) / self._num_steps
        shape = SHAPES[self.shape](share, self.exponent or 1.0)
        return self.start + (self.end - self.start) * shape
