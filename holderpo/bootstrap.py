"""Bootstrap over groups: responses to the same prompt are not independent, prompts are.

Shapes: ``G`` groups, ``R`` resamples with the groups as they are in front, ``O`` anything.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.intervals import Interval, wilson_interval

WILSON = "Wilson"
BOOTSTRAP = "bootstrap"
NUM_RESAMPLES = 4000


class Estimate(NamedTuple):
    """A number with its bootstrap interval."""

    value: float
    """From all groups."""
    interval: Interval
    """95 %, percentiles of the resamples."""


def resample_counts(num_groups: int, num_resamples: int, seed: int) -> Tensor:
    """How often each group is drawn.

    Args:
        num_groups: G.
        num_resamples: R.
        seed: of the draws.

    Returns:
        (1 + R, G) float64; the first row is 1 throughout, each of the others sums to G.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn_RG = torch.randint(num_groups, (num_resamples, num_groups), generator=generator)
    counts_RG = torch.zeros(num_resamples, num_groups, dtype=torch.float64)
    counts_RG.scatter_add_(1, drawn_RG, torch.ones_like(drawn_RG, dtype=torch.float64))
    return torch.cat([torch.ones(1, num_groups, dtype=torch.float64), counts_RG])


def mean_over_pairs(values_OGG: Tensor, counts_RG: Tensor) -> Tensor:
    """Mean over ordered pairs of different groups.

    A group drawn twice makes no pair with itself: the resamples then centre on the value of the
    first row, where no group is paired with itself either.

    Args:
        values_OGG: (O, G, G) float64, a value for each pair.
        counts_RG: of :func:`resample_counts`.

    Returns:
        (1 + R, O).
    """
    total_RO = torch.einsum("rg,ogk,rk->ro", counts_RG, values_OGG, counts_RG)
    same_RO = counts_RG.square() @ values_OGG.diagonal(dim1=-2, dim2=-1).T
    num_pairs_R = counts_RG.sum(-1).square() - counts_RG.square().sum(-1)
    return (total_RO - same_RO) / num_pairs_R.unsqueeze(-1)


def estimate(values_R: Tensor) -> Estimate:
    """The first value, with the percentiles of the others.

    Args:
        values_R: (1 + R,); may have inf.

    Returns:
        Value and 95 % interval.
    """
    low, high = torch.quantile(
        values_R[1:],
        torch.tensor([0.025, 0.975], dtype=values_R.dtype),
        interpolation="nearest",  # Between infinities there is nothing to interpolate.
    ).tolist()
    return Estimate(values_R[0].item(), Interval(low, high))


def resample_means(values_G: Tensor, seed: int) -> Tensor:
    """Means over resampled groups.

    Args:
        values_G: (G,) float64.
        seed: of the draws.

    Returns:
        (1 + R,); the first is of the groups as they are.
    """
    num_groups = len(values_G)
    return resample_counts(num_groups, NUM_RESAMPLES, seed) @ values_G / num_groups


def interval_of_mean(
    values_G: Tensor, *, several_tries: bool, seed: int = 0
) -> tuple[Interval, str]:
    """95 % interval of the mean over groups of tries, each a success or not.

    Args:
        values_G: (G,) float64: share of successes of each group, or another number from 0 to 1.
        several_tries: whether groups have more than one try.
        seed: of the draws.

    Returns:
        Interval and its kind. Percentiles of resampled groups for several tries; Wilson's for one,
        and for groups that are all alike, whose resamples would have no spread.
    """
    if several_tries and len(set(values_G.tolist())) > 1:
        return estimate(resample_means(values_G, seed)).interval, BOOTSTRAP
    return wilson_interval(values_G.sum().item(), len(values_G)), WILSON
