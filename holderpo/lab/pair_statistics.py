"""Numbers about differences of pairs: how easily chance makes them, how often they are gains."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch

from holderpo.intervals import Interval, wilson_interval

_MOST_EXACT = 20
_NUM_DRAWS = 100_000


class Improvement(NamedTuple):
    """In how many pairs an arm is better; equal ones count half."""

    share: float
    interval: Interval
    """95 %, Wilson's."""


def sign_flip_p_value(differences: Sequence[float], *, seed: int = 0) -> float:
    """How often a mean at least as far from 0 comes of random signs.

    If an arm makes no difference, which run of a pair has which name is chance, and each
    difference could as well have the other sign. Two-sided.

    **Source**: Fisher (1935), section 21: the randomisation test of paired values.

    Args:
        differences: one per pair.
        seed: of the draws, which only more than 20 pairs need.

    Returns:
        The share of all choices of signs; of 100,000 drawn ones, those as measured among them, for
        more than 20 pairs.
    """
    values = torch.tensor(differences, dtype=torch.float64)
    # Equal sums may differ by rounding.
    least = values.sum().abs() - 1e-9 * values.abs().sum()
    if len(values) <= _MOST_EXACT:
        sums = torch.zeros(1, dtype=torch.float64)
        for value in values:
            sums = torch.cat([sums + value, sums - value])
        return (sums.abs() >= least).double().mean().item()
    generator = torch.Generator().manual_seed(seed)
    num_as_far = 1
    for _ in range(100):
        signs = torch.randint(2, (_NUM_DRAWS // 100, len(values)), generator=generator) * 2.0 - 1
        num_as_far += int(((signs.double() @ values).abs() >= least).sum())
    return num_as_far / (_NUM_DRAWS + 1)


def smallest_p_value(num_pairs: int) -> float:
    """What the p-value is if an arm is the better one in every pair.

    Args:
        num_pairs: at least one.
    """
    return max(2.0 ** (1 - num_pairs), 1 / (_NUM_DRAWS + 1) if num_pairs > _MOST_EXACT else 0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number: below 0.05, none of those is likely to be chance.

    **Source**: Holm (1979): the k-th smallest of m times m - k + 1, at least the one before.

    Args:
        p_values: of all comparisons.

    Returns:
        Corrected ones in the same order, at most 1.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: a quarter of the values, rounded down, is left out at each end.

    **Source**: Agarwal et al. (2021), section 4.3.

    Args:
        values: at least one.
    """
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def improvement(differences: Sequence[float]) -> Improvement:
    """Share of the pairs in which an arm is better.

    Args:
        differences: at least one, an improvement being positive.
    """
    better = sum(1.0 if value > 0 else 0.5 if value == 0 else 0.0 for value in differences)
    return Improvement(better / len(differences), wilson_interval(better, len(differences)))
