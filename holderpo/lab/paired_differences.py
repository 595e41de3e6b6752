"""Differences between arms over pairs of runs, against what the protocol compares with.

A setting is a regime and a clip range.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from holderpo.lab.lab_arms import LabArm, restrict
from holderpo.lab.pair_statistics import holm, sign_flip_p_value
from holderpo.lab.planned_runs import RegimeRuns
from holderpo.studies.arms import Bootstrap, Difference, Spread, subtract
from holderpo.studies.windows import ALL

BEST_STATIC = "the best static order"
TOKEN_CLIPPED = "token-clipped GRPO"
ASCENDING = "the same schedule ascending"
# Corrected together: the two references of all arms; and the twins, which few arms have.
FAMILIES = ((BEST_STATIC, TOKEN_CLIPPED), (ASCENDING,))

# The outcome by which the best is chosen, and whose differences have p-values.
MAIN = ALL.heading

# From when on a difference counts.
LARGEST_P, LEAST_DIFFERENCE = 0.05, 0.02
ABOVE, BELOW, NEITHER = "above", "below", "neither"


class ReferenceArm(NamedTuple):
    """An arm that others are compared with."""

    kind: str
    """Of ``FAMILIES``."""
    arm: LabArm
    num_pairs: int
    """That the choice was made over."""
    is_lent: bool
    """Whether it is of another part in the same regime, as this one has none."""


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
    """For all comparisons of the family in the part."""

    @property
    def main(self) -> Spread | None:
        """Of the main outcome; None without a pair."""
        return self.difference.spreads.get(MAIN)

    @property
    def num_planned_pairs(self) -> int:
        """That there can be in the end."""
        return min(self.arm.num_planned, self.reference.arm.num_planned)

    @property
    def verdict(self) -> str | None:
        """Whether the difference counts; None where there is no p-value."""
        if self.main is None or self.corrected is None:
            return None
        if self.corrected >= LARGEST_P or abs(self.main.mean) < LEAST_DIFFERENCE:
            return NEITHER
        return ABOVE if self.main.mean > 0 else BELOW


def references(runs: RegimeRuns, clip: str) -> list[ReferenceArm]:
    """What all arms of a clip range are compared with.

    The best static order is the one of the highest mean AUC over the pairs that all static orders
    have which have any run. That the same runs choose and compare favours it.

    Args:
        runs: of a regime.
        clip: range, as in the names.

    Returns:
        Those that can be told.
    """
    found = []
    for kind in FAMILIES[0]:
        arms, is_lent = candidates(runs, clip, kind)
        best, num_pairs = best_of(arms)
        if best is not None:
            found.append(ReferenceArm(kind, best, num_pairs, is_lent))
    return found


def candidates(runs: RegimeRuns, clip: str, kind: str) -> tuple[list[LabArm], bool]:
    """The arms with runs that a reference is chosen from.

    Args:
        runs: of a regime.
        clip: range, as in the names.
        kind: ``BEST_STATIC`` or ``TOKEN_CLIPPED``.

    Returns:
        Them, and whether they are of other parts, as this one plans none.
    """

    def is_one(arm: LabArm) -> bool:
        return arm.is_static if kind == BEST_STATIC else arm.is_token_clipped_grpo

    own = [arm for arm in runs.at(clip) if is_one(arm)]
    lent = [arm for arm in runs.lent if is_one(arm) and arm.is_clipped_like(clip)]
    return [arm for arm in own or lent if arm.results], not own


def best_of(arms: Sequence[LabArm]) -> tuple[LabArm | None, int]:
    """The arm of the highest mean AUC over the pairs that all have.

    Args:
        arms: each with a run.

    Returns:
        It, None if there is no such pair; and the number of those pairs.
    """
    common = set.intersection(*(set(arm.results) for arm in arms)) if arms else set()
    if not common:
        return None, 0

    def mean(arm: LabArm) -> float:
        by_pair = arm.numbers.spreads[MAIN].by_seed
        return statistics.fmean(by_pair[pair] for pair in common)

    return max(arms, key=mean), len(common)


def compare_part(regimes: Sequence[RegimeRuns], bootstrap: Bootstrap) -> list[Comparison]:
    """Every arm of a part against the references of its clip range.

    The correction counts those that lack runs as if they were equal: it does not grow with what
    is finished.

    Args:
        regimes: of the part.
        bootstrap: for the intervals.

    Returns:
        One for each arm and reference.
    """
    made = [one for runs in regimes for one in _compare_regime(runs, bootstrap)]
    found = []
    for kinds in FAMILIES:
        family = [one for one in made if one.reference.kind in kinds]
        p_values = holm([1.0 if one.p_value is None else one.p_value for one in family])
        found += [
            one if one.p_value is None else one._replace(corrected=p_value)
            for one, p_value in zip(family, p_values, strict=True)
        ]
    return found


def _compare_regime(runs: RegimeRuns, bootstrap: Bootstrap) -> Iterator[Comparison]:
    for clip in runs.clips:
        for reference in references(runs, clip):
            for arm in runs.at(clip):
                if arm.name != reference.arm.name:
                    yield compare(runs, arm, reference, bootstrap)
        for arm in runs.at(clip):
            for twin in runs.at(clip):
                if arm.is_descending_twin_of(twin):
                    reference = ReferenceArm(ASCENDING, twin, len(twin.results), False)
                    yield compare(runs, arm, reference, bootstrap)


def compare_apart(runs: RegimeRuns, clip: str, bootstrap: Bootstrap) -> list[Comparison]:
    """The best static order is chosen on even seeds and compared on odd ones.

    Args:
        runs: of a regime.
        clip: range, as in the names.
        bootstrap: for the intervals.

    Returns:
        One for each arm, not corrected; nothing if either kind of seeds lacks what is needed.
    """
    even, odd = (
        [number for number, pair in enumerate(runs.pairs) if pair.seed % 2 == rest]
        for rest in (0, 1)
    )
    statics, is_lent = candidates(runs, clip, BEST_STATIC)
    chosen_from = [restrict(arm, even, bootstrap) for arm in statics]
    best, num_pairs = best_of([arm for arm in chosen_from if arm.results])
    if best is None:
        return []
    compared_with = next(arm for arm in statics if arm.name == best.name)
    reference = ReferenceArm(
        BEST_STATIC, restrict(compared_with, odd, bootstrap), num_pairs, is_lent
    )
    made = [
        compare(runs, restrict(arm, odd, bootstrap), reference, bootstrap)
        for arm in runs.at(clip)
        if arm.name != best.name
    ]
    return [one for one in made if one.main is not None]


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
