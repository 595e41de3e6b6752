"""Differences over pairs, and the numbers beside them, against values made by hand."""

import math
import statistics
from itertools import product

import pytest

from holderpo.intervals import wilson_interval
from holderpo.lab.paired_differences import (
    BEST_STATIC,
    TOKEN_CLIPPED,
    best_of,
    compare_part,
    holm,
    improvement,
    interquartile_mean,
    num_compared,
    references,
    sign_flip_p_value,
)
from holderpo.lab.planned_runs import match
from holderpo.studies.arms import Bootstrap, CollapseRule
from tests.holderpo.lab.lab_results import plan_of, results_of

BOOTSTRAP = Bootstrap(200)
PAIRS = [(seed, model) for seed in range(3) for model in range(2)]


def runs_of(folder, aucs, parts=None):
    plan = plan_of(folder) if parts is None else plan_of(folder, parts)
    return match(plan, results_of(plan, aucs), bootstrap=BOOTSTRAP, rule=CollapseRule()).parts[
        "orders"
    ]


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 2, 3], 2 / 8),  # Only all signs alike are as far.
        ([1, 2, -1], 6 / 8),  # 4 and 2, the latter in two ways; both directions.
        ([5, 5, 5, 5, -1], 2 * 2 / 32),  # 19, and 21.
        ([1, -1], 1),
        ([0, 0, 0], 1),
        ([0.5] * 16, 2 / 2**16),
    ],
)
def test_p_value_is_the_share_of_signs(differences, expected):
    assert sign_flip_p_value(differences) == expected


def test_sums_that_are_equal_but_for_rounding_are_equal():
    # Sums of tenths meet often, and rarely in floating point.
    tenths = [1, 2, 3, -6, 7, -1, 4, 3]
    all_signs = product((1, -1), repeat=len(tenths))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, tenths, strict=True)))
        for signs in all_signs
    ]
    expected = statistics.fmean(value >= abs(sum(tenths)) for value in sums)
    assert sign_flip_p_value([value / 10 for value in tenths]) == expected


def test_many_pairs_are_drawn():
    # 20 of 30 alike: the number of positive signs is binomial.
    differences = [1.0] * 20 + [-1.0] * 10
    expected = 2 * sum(math.comb(30, k) for k in range(11)) / 2**30
    assert sign_flip_p_value(differences) == pytest.approx(expected, abs=0.003)
    assert sign_flip_p_value(differences) == sign_flip_p_value(differences, seed=0)
    # The signs as measured are among the draws: never 0.
    assert sign_flip_p_value([1.0] * 60) == 1 / 100_001


def test_holm_multiplies_by_what_is_left():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_interquartile_mean_leaves_a_quarter_out_at_each_end():
    assert interquartile_mean([100, 0, 2, 3, 4, 5, 6, -50]) == 3.5
    assert interquartile_mean([0.0, 3.0, 100.0, 4.0, 5.0]) == 4.0
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0


def test_equal_pairs_improve_by_half():
    found = improvement([0.1, -0.1, 0.0, 0.2])
    assert found.share == 0.625
    assert found.interval == wilson_interval(2.5, 4)


def test_the_best_is_chosen_where_all_have_a_run(tmp_path):
    # By its own mean, 0.4 against 0.65, static0 would not be chosen.
    aucs = {"static0": {(0, 0): 0.1, (0, 1): 0.7}, "static2": {(0, 1): 0.65}}
    (runs,) = runs_of(tmp_path, aucs)
    best, num_pairs = best_of([arm for arm in runs.arms if arm.results])
    assert (best.name, num_pairs) == ("static0", 1)
    (apart,) = runs_of(tmp_path, {"static0": {(0, 0): 0.1}, "static2": {(0, 1): 0.65}})
    assert best_of([arm for arm in apart.arms if arm.results]) == (None, 0)
    assert best_of([]) == (None, 0)


def test_references_are_of_the_clip_range(tmp_path):
    part = """
  orders:
    what: which clip
    arms: [static0, static2, linear, grpo]
    regimes: [middle]
    clip_ranges: [0.05, 0.2]
    seeds: [0]
"""
    values = {"static0@0.05": 0.8, "static2@0.05": 0.7, "static0@0.2": 0.3, "static2@0.2": 0.4}
    # Whatever others reach, the best static order is a static one.
    values |= {"linear@0.05": 0.9, "grpo@0.05": 0.95, "grpo@0.2": 0.1}
    (runs,) = runs_of(tmp_path, {name: {(0, 0): value} for name, value in values.items()}, part)
    found = [(one.kind, one.arm.name) for clip in runs.clips for one in references(runs, clip)]
    assert found == [
        (BEST_STATIC, "static0@0.05"),
        (TOKEN_CLIPPED, "grpo@0.05"),
        (BEST_STATIC, "static2@0.2"),
        (TOKEN_CLIPPED, "grpo@0.2"),
    ]


def test_differences_are_of_whole_pairs(tmp_path):
    aucs = {
        "static0": dict.fromkeys(PAIRS, 0.5),
        "static2": dict.fromkeys(PAIRS, 0.25),
        # 0.25, 0.125 and 0 over static0; the last pair is not there.
        "linear": {(0, 0): 0.75, (0, 1): 0.625, (1, 0): 0.5},
        # Without (0, 1).
        "grpo": {(0, 0): 0.5, (1, 0): 0.625, (2, 0): 0.625, (2, 1): 0.625},
    }
    (runs,) = runs_of(tmp_path, aucs)
    made = compare_part([runs], BOOTSTRAP)
    found = {(one.arm.name, one.reference.kind): one for one in made}
    against = found["linear", BEST_STATIC]
    assert against.reference.arm.name == "static0"
    assert list(against.main.by_seed.values()) == [0.25, 0.125, 0.0]
    assert against.main.mean == 0.125
    assert against.by_model == {0: 0.125, 1: 0.125}
    assert against.p_value == 4 / 8
    assert against.difference.only_baseline == [3, 4, 5]
    against_grpo = found["linear", TOKEN_CLIPPED]
    # (0, 1) is only linear's, the last two only grpo's.
    assert list(against_grpo.main.by_seed.values()) == [0.25, -0.125]
    assert (against_grpo.difference.only_arm, against_grpo.difference.only_baseline) == (
        [1],
        [4, 5],
    )


def test_correction_counts_two_arms_once_and_what_is_missing(tmp_path):
    aucs = {
        "static0": dict.fromkeys(PAIRS, 0.5),
        "static2": dict.fromkeys(PAIRS, 0.25),
        "grpo": dict.fromkeys(PAIRS, 0.25),
    }
    (runs,) = runs_of(tmp_path, aucs)
    made = compare_part([runs], BOOTSTRAP)
    # static2, linear and grpo against static0; static0 (again), static2 and linear against grpo.
    assert (len(made), num_compared(made)) == (6, 5)
    found = {(one.arm.name, one.reference.kind): one for one in made}
    least = 2 / 2**6
    for arm, kind in (("static2", BEST_STATIC), ("grpo", BEST_STATIC), ("static0", TOKEN_CLIPPED)):
        assert found[arm, kind].p_value == least
        assert found[arm, kind].corrected == 5 * least
    assert found["static2", TOKEN_CLIPPED].corrected == 1
    lacking = found["linear", BEST_STATIC]
    assert (lacking.main, lacking.p_value, lacking.corrected) == (None, None, None)
    assert lacking.difference.paired_seeds == []


def test_one_pair_has_no_p_value(tmp_path):
    (runs,) = runs_of(tmp_path, {"static0": {(0, 0): 0.5}, "linear": {(0, 0): 0.75}})
    (one, *_) = [one for one in compare_part([runs], BOOTSTRAP) if one.arm.name == "linear"]
    assert (one.main.mean, one.main.interval, one.p_value) == (0.25, None, None)


def test_regimes_of_a_part_are_corrected_together(tmp_path):
    part = """
  orders:
    what: which order
    arms: [static0, static2]
    regimes: [middle, stressed]
    seeds: [0, 1, 2]
    model_seeds: [0, 1]
"""
    plan = plan_of(tmp_path, part)
    aucs = {"static0": dict.fromkeys(PAIRS, 0.5), "static2": dict.fromkeys(PAIRS, 0.25)}
    results = [
        one for name in ("middle", "stressed") for one in results_of(plan, aucs, regime=name)
    ]
    regimes = match(plan, results, bootstrap=BOOTSTRAP, rule=CollapseRule()).parts["orders"]
    made = compare_part(regimes, BOOTSTRAP)
    assert [one.regime for one in made] == ["middle", "stressed"]
    assert [one.corrected for one in made] == [2 * 2 / 2**6] * 2
