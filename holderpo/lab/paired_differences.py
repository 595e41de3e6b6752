"""Differences between arms over pairs of runs, and how easily chance makes them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from holderpo.intervals import Interval, wilson_interval
from holderpo.lab.planned_runs import LabArm, RegimeRuns
from holderpo.studies.arms import Bootstrap, Difference, Spread, subtract
from holderpo.studies.windows import ALL

BEST_STATIC = "the best static order"
TOKEN_CLIPPED = "token-clipped GRPO"

# The outcome by which the best is chosen, and whose differences have p-values.
MAIN = ALL.heading
_MOST_EXACT = 20
_NUM_DRAWS = 100_000


class ReferenceArm(NamedTuple):
    """An arm that others are compared with."""

    kind: str
    """``BEST_STATIC`` or ``TOKEN_CLIPPED``."""
    arm: LabArm
    num_pairs: int
    """That the choice was made over."""


class Comparison(NamedTuple):
    """An arm minus a reference, pair by pair."""

    regime: str
    arm: LabArm
    reference: ReferenceArm
    difference: Difference
    """By heading; unpaired runs are listed in it and left out."""
    by_model: Mapping[int, float]
    """Mean difference in the main outcome for each model that was started from."""
    p_value: float | None
    """Of the main outcome; None for fewer than two pairs."""
    corrected: float | None
    """For all comparisons of the part."""

    @property
    def main(self) -> Spread | None:
        """Of the main outcome; None without a pair."""
        return self.difference.spreads.get(MAIN)


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


def references(runs: RegimeRuns, clip: str) -> list[ReferenceArm]:
    """What the arms of a clip range are compared with.

    The best static order is the one of the highest mean AUC over the pairs that all static orders
    have which have any run. That the same runs choose and compare favours it.

    Args:
        runs: of a regime.
        clip: range, as in the names.

    Returns:
        Those that can be told.
    """
    own = [arm for arm in runs.at(clip) if arm.results]
    found = []
    best, num_pairs = best_of([arm for arm in own if arm.is_static])
    if best is not None:
        found.append(ReferenceArm(BEST_STATIC, best, num_pairs))
    for arm in own:
        if arm.is_token_clipped_grpo:
            found.append(ReferenceArm(TOKEN_CLIPPED, arm, len(arm.results)))
    return found


def best_of(arms: Sequence[LabArm]) -> tuple[LabArm | None, int]:
    """The arm of the highest mean AUC over the pairs that all have.

    Args:
        arms: each with a run.

    Returns:
        It, None if there is no such pair; and the number of those pairs.
    """
    if not arms:
        return None, 0
    common = set.intersection(*(set(arm.results) for arm in arms))
    if not common:
        return None, 0

    def mean(arm: LabArm) -> float:
        by_pair = arm.numbers.spreads[MAIN].by_seed
        return statistics.fmean(by_pair[pair] for pair in common)

    return max(arms, key=mean), len(common)


def compare_part(regimes: Sequence[RegimeRuns], bootstrap: Bootstrap) -> list[Comparison]:
    """Every arm of a part against the references of its clip range.

    The correction counts each two arms once, and those that lack runs as if they were equal: it
    does not grow with what is finished.

    Args:
        regimes: of the part.
        bootstrap: for the intervals.

    Returns:
        One for each arm and reference.
    """
    made = [one for runs in regimes for one in _compare_regime(runs, bootstrap)]
    p_values: dict[tuple[str, frozenset[str]], float] = {}
    for one in made:
        p_values[_names(one)] = 1.0 if one.p_value is None else one.p_value
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        one._replace(corrected=None if one.p_value is None else corrected[_names(one)])
        for one in made
    ]


def num_compared(comparisons: Sequence[Comparison]) -> int:
    """Different comparisons: an arm with another is one, whichever is the reference."""
    return len({_names(one) for one in comparisons})


def _names(comparison: Comparison) -> tuple[str, frozenset[str]]:
    arms = (comparison.arm.name, comparison.reference.arm.name)
    return comparison.regime, frozenset(arms)


def _compare_regime(runs: RegimeRuns, bootstrap: Bootstrap) -> Iterator[Comparison]:
    for clip in runs.clips:
        for reference in references(runs, clip):
            for arm in runs.at(clip):
                if arm.name != reference.arm.name:
                    yield compare(runs, arm, reference, bootstrap)


def compare(
    runs: RegimeRuns, arm: LabArm, reference: ReferenceArm, bootstrap: Bootstrap
) -> Comparison:
    """An arm against a reference, not yet corrected.

    Args:
        runs: of the regime that both are of.
        arm: minuend.
        reference: subtrahend.
        bootstrap: for the intervals.
    """
    difference = subtract(arm.numbers, reference.arm.numbers, bootstrap)
    by_pair = difference.spreads[MAIN].by_seed if MAIN in difference.spreads else {}
    of_models: dict[int, list[float]] = {}
    for pair, value in by_pair.items():
        of_models.setdefault(runs.pairs[pair].model_seed, []).append(value)
    enough = len(by_pair) > 1
    return Comparison(
        regime=runs.regime,
        arm=arm,
        reference=reference,
        difference=difference,
        by_model={seed: statistics.fmean(of_models[seed]) for seed in sorted(of_models)},
        p_value=sign_flip_p_value(list(by_pair.values())) if enough else None,
        corrected=None,
    )
