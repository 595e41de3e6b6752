"""Differences between arms over pairs, against values made by hand."""

from holderpo.lab.paired_differences import (
    ABOVE,
    ASCENDING,
    BELOW,
    BEST_STATIC,
    NEITHER,
    TOKEN_CLIPPED,
    best_of,
    compare_apart,
    compare_part,
    references,
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


def test_correction_counts_what_is_missing(tmp_path):
    aucs = {
        "static0": dict.fromkeys(PAIRS, 0.5),
        "static2": dict.fromkeys(PAIRS, 0.25),
        "grpo": dict.fromkeys(PAIRS, 0.25),
    }
    (runs,) = runs_of(tmp_path, aucs)
    made = compare_part([runs], BOOTSTRAP)
    # static2, linear and grpo against static0; static0, static2 and linear against grpo.
    assert len(made) == 6
    found = {(one.arm.name, one.reference.kind): one for one in made}
    least = 2 / 2**6
    for arm, kind in (("static2", BEST_STATIC), ("grpo", BEST_STATIC), ("static0", TOKEN_CLIPPED)):
        assert found[arm, kind].p_value == least
        assert found[arm, kind].corrected == 6 * least
    assert found["static2", TOKEN_CLIPPED].corrected == 1
    lacking = found["linear", BEST_STATIC]
    assert (lacking.main, lacking.p_value, lacking.corrected) == (None, None, None)
    assert lacking.verdict is None
    assert lacking.difference.paired_seeds == []


MANY = """
  orders:
    what: which order
    arms: [static0, static2, linear, linear_asc, linear_4, grpo]
    regimes: [middle]
    seeds: [0, 1, 2, 3, 4, 5, 6, 7]
    model_seeds: [0, 1]
"""
MANY_PAIRS = [(seed, model) for seed in range(8) for model in range(2)]


def test_a_difference_counts_if_it_is_large_and_no_chance(tmp_path):
    means = {"static0": 0.5, "static2": 0.4844, "linear": 0.75, "linear_asc": 0.25, "grpo": 0.5}
    aucs = {name: dict.fromkeys(MANY_PAIRS, value) for name, value in means.items()}
    # Large in the mean, and in half of the pairs only.
    aucs["linear_4"] = {pair: 0.0 if pair[0] % 2 else 0.9 for pair in MANY_PAIRS}
    (runs,) = runs_of(tmp_path, aucs, MANY)
    made = [one for one in compare_part([runs], BOOTSTRAP) if one.reference.kind == BEST_STATIC]
    assert {one.arm.name: one.verdict for one in made} == {
        **{"static2": NEITHER, "linear": ABOVE, "linear_asc": BELOW},
        **{"linear_4": NEITHER, "grpo": NEITHER},
    }
    assert [one.p_value == 2 / 2**16 for one in made] == [True, True, True, False, False]


def test_a_schedule_is_compared_with_its_ascending_twin_alone(tmp_path):
    means = {"static0": 0.5, "linear": 0.75, "linear_asc": 0.25, "linear_4": 0.5}
    aucs = {name: dict.fromkeys(MANY_PAIRS, value) for name, value in means.items()}
    (runs,) = runs_of(tmp_path, aucs, MANY)
    (one,) = [one for one in compare_part([runs], BOOTSTRAP) if one.reference.kind == ASCENDING]
    assert (one.arm.name, one.reference.arm.name) == ("linear", "linear_asc")
    assert (one.main.mean, one.verdict) == (0.5, ABOVE)
    # The only one of its kind: corrected for nothing else.
    assert one.corrected == one.p_value == 2 / 2**16


def test_references_are_lent_by_parts_of_the_same_regime(tmp_path):
    parts = """
  orders:
    what: which order
    arms: [static0, static2, grpo]
    regimes: [middle, stressed]
    clip_ranges: [0.05, 0.2]
    seeds: [0, 1, 2]
    model_seeds: [0, 1]
  later:
    what: what else
    arms: [linear_4, narrow]
    regimes: [middle]
    seeds: [0, 1]
  some:
    what: one static order
    arms: [static2]
    regimes: [middle]
    seeds: [0, 1]
"""
    plan = plan_of(tmp_path, parts)
    pairs = [(0, 0), (1, 0), (0, 1), (2, 0)]
    # At the other clip range they would be better.
    means = {"static0@0.05": 0.9, "static0@0.2": 0.5, "static2@0.2": 0.25, "grpo@0.2": 0.25}
    aucs = {name: dict.fromkeys(pairs, value) for name, value in means.items()}
    results = results_of(plan, aucs)
    results += results_of(plan, {"static2": {(0, 0): 0.25, (1, 0): 0.25}}, "some")
    results += results_of(plan, {"linear_4": {(0, 0): 0.75, (1, 0): 0.625}}, "later")
    parts = match(plan, results, bootstrap=BOOTSTRAP, rule=CollapseRule()).parts
    made = compare_part(parts["later"], BOOTSTRAP)
    assert [(one.arm.name, one.reference.arm.name) for one in made] == [
        *(("linear_4", "static0@0.2"), ("narrow", "static0@0.2")),
        *(("linear_4", "grpo@0.2"), ("narrow", "grpo@0.2")),
    ]
    assert all(one.reference.is_lent for one in made)
    assert list(made[0].main.by_seed.values()) == [0.25, 0.125]
    # Only its runs in the pairs of this part.
    assert (made[0].reference.num_pairs, made[0].reference.arm.num_planned) == (2, 2)
    # What a part plans itself is not lent.
    own = references(parts["some"][0], "")
    assert [(one.arm.name, one.is_lent) for one in own] == [("static2", False), ("grpo@0.2", True)]
    own = references(parts["orders"][0], "0.2")
    assert [one.is_lent for one in own] == [False, False]
    # Nothing is planned there that could be lent.
    assert references(parts["orders"][1], "0.2") == []


def test_the_best_is_also_chosen_on_even_seeds_and_compared_on_odd_ones(tmp_path):
    aucs = {
        # Best on even seeds, 0.5 against 0.375, and not over all.
        "static0": {(0, 0): 0.5, (1, 0): 0.0, (2, 0): 0.5, (1, 1): 0.125},
        "static2": {(0, 0): 0.25, (1, 0): 0.75, (2, 0): 0.5, (1, 1): 0.75},
        "linear": {(0, 0): 1.0, (1, 0): 0.25, (1, 1): 0.25},
        "grpo": {(0, 0): 1.0},
    }
    (runs,) = runs_of(tmp_path, aucs)
    assert references(runs, "")[0].arm.name == "static2"
    made = compare_apart(runs, "", BOOTSTRAP)
    assert [(one.arm.name, one.reference.arm.name) for one in made] == [
        ("static2", "static0"),
        ("linear", "static0"),
    ]
    assert list(made[1].main.by_seed.values()) == [0.25, 0.125]
    assert made[1].p_value == 2 / 4
    assert made[1].reference.num_pairs == 2
    # Runs on even seeds are no runs that lack a partner.
    assert (made[1].difference.only_arm, made[1].difference.only_baseline) == ([], [])
    (odd_only,) = runs_of(tmp_path, {name: {(1, 0): 0.5} for name in aucs})
    assert compare_apart(odd_only, "", BOOTSTRAP) == []


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
