"""Confidence intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

# Two-sided 95 % quantile of the normal distribution.
_Z_95 = 1.959963984540054


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""


def wilson_interval(num_correct: float, num_total: int) -> Interval:
    """95 % interval of a share, from the number of successes.

    **Source**: Wilson (1927), the score interval; it stays inside [0, 1] and holds near both ends.

    Of trials that succeed in part the interval is on the safe side: their spread is no larger.

    Args:
        num_correct: successes, 0 to ``num_total``; parts of them add up.
        num_total: trials, above 0.

    Returns:
        The interval.

    Raises:
        ValueError: if the counts do not fit.
    """
    if not 0 <= num_correct <= num_total or num_total == 0:
        raise ValueError(f"num_correct: {num_correct} of {num_total}; give 0 to num_total > 0")
    share = num_correct / num_total
    square = _Z_95**2 / num_total
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))
