"""Means over a part of a run: all steps, the first few, the last few."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

# What the steps have; None where a step has no finite value.
Values = Sequence[float | None]


class Window(NamedTuple):
    """Which steps of a run a mean is taken over."""

    kind: Literal["all", "first", "last"]
    """All steps, or those at one end."""
    size: int = 0
    """Steps in it; 0 for all."""

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return self.kind if self.kind == "all" else f"{self.kind}:{self.size}"

    @property
    def heading(self) -> str:
        """As it stands above a column; the mean over all steps is the area under the curve."""
        return "AUC" if self.kind == "all" else f"{self.kind} {self.size}"


ALL = Window("all")
FIRST_8 = Window("first", 8)
LAST_8 = Window("last", 8)


def parse_window(text: str) -> Window:
    """A window from the command line.

    Args:
        text: ``all``, ``first:8`` or ``last:8``, with any positive number.

    Returns:
        The window.

    Raises:
        ValueError: if it is none of them.
    """
    if text == "all":
        return ALL
    found = re.fullmatch(r"(first|last):([1-9][0-9]*)", text)
    if not found:
        raise ValueError(f"--steps: {text!r}; give all, first:<n> or last:<n>, joined by commas")
    return Window("first" if found[1] == "first" else "last", int(found[2]))


def window_mean(values: Values, window: Window) -> float | None:
    """Mean over the steps of a window.

    Args:
        values: one per step, in order.
        window: which steps; a shorter run gives what it has.

    Returns:
        The mean over the steps that have a value; None if none has.
    """
    if window.kind == "first":
        values = values[: window.size]
    elif window.kind == "last":
        values = values[-window.size :]
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def best_before_last(values: Values, size: int) -> float | None:
    """Best mean over consecutive steps, all of them before the last ``size`` steps.

    Args:
        values: one per step, in order.
        size: consecutive steps, also those kept back at the end.

    Returns:
        The best mean; None for a run of fewer than twice ``size`` steps.
    """
    starts = range(len(values) - 2 * size + 1)
    means = [window_mean(values[start : start + size], ALL) for start in starts]
    return max((mean for mean in means if mean is not None), default=None)
