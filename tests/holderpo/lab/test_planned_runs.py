"""Results are found by what was run, whatever part they were run for, and nothing is lost."""

import math

import pytest

from holderpo.lab.lab_arms import with_curve
from holderpo.lab.planned_runs import Pair, match
from holderpo.studies.arms import HELD_OUT, Bootstrap, CollapseRule
from tests.holderpo.lab.lab_results import PART, again, plan_of, result_of, results_of

TWO_CLIPS = """
  clips:
    what: which clip
    arms: [static0, grpo, shuffled, own]
    regimes: [stressed, middle]
    clip_ranges: [0.2, 0.05]
    seeds: [0]
"""


def matched(plan, results, rule=None):
    return match(plan, results, bootstrap=Bootstrap(200), rule=rule or CollapseRule())


def test_arms_come_by_clip_range_in_the_order_of_the_protocol(tmp_path):
    plan = plan_of(tmp_path, TWO_CLIPS)
    stressed, middle = matched(plan, []).parts["clips"]
    assert (stressed.regime, middle.regime) == ("stressed", "middle")
    assert stressed.clips == ["0.2", "0.05"]
    assert [arm.name for arm in middle.arms] == [
        *("static0@0.2", "grpo@0.2", "shuffled@0.2", "own@0.2"),
        *("static0@0.05", "grpo@0.05", "shuffled@0.05", "own@0.05"),
    ]
    assert [(arm.base, arm.clip) for arm in middle.at("0.05")[:2]] == [
        ("static0", "0.05"),
        ("grpo", "0.05"),
    ]


def test_kinds_of_arms_are_told_by_their_settings(tmp_path):
    (runs,) = matched(plan_of(tmp_path), []).parts["orders"]
    assert [arm.name for arm in runs.arms if arm.is_static] == ["static0", "static2"]
    assert [arm.name for arm in runs.arms if arm.is_token_clipped_grpo] == ["grpo"]
    (_, middle) = matched(plan_of(tmp_path, TWO_CLIPS), []).parts["clips"]
    # Neither shuffled rewards nor a loss of one's own have an order to be compared with.
    assert [arm.base for arm in middle.at("0.2") if arm.is_static] == ["static0"]
    assert [arm.base for arm in middle.at("0.2") if arm.is_token_clipped_grpo] == ["grpo"]


def test_a_clip_range_or_a_mean_of_its_own_makes_another_method(tmp_path):
    part = PART.replace("[static0, static2,", "[narrow, geometric, static2,")
    (runs,) = matched(plan_of(tmp_path, part), []).parts["orders"]
    assert [arm.name for arm in runs.arms if arm.is_token_clipped_grpo] == ["grpo"]
    assert [arm.name for arm in runs.arms if arm.is_static] == ["static2"]


def test_a_twin_differs_in_the_direction_only(tmp_path):
    part = PART.replace("linear,", "linear, linear_asc, linear_4,")
    (runs,) = matched(plan_of(tmp_path, part), []).parts["orders"]
    twins = [
        (arm.name, other.name)
        for arm in runs.arms
        for other in runs.arms
        if arm.is_descending_twin_of(other)
    ]
    assert twins == [("linear", "linear_asc")]


def test_arms_are_lent_by_parts_of_the_same_task_and_regime(tmp_path):
    later = """
  later:
    what: more
    arms: [own, grpo]
    regimes: [middle, stressed]
    seeds: [1]
"""
    wide = """
  wide:
    what: another task
    task: wide
    arms: [own]
    regimes: [middle]
    seeds: [1]
"""
    plan = plan_of(tmp_path, PART + later + wide)
    results = results_of(plan, {"static2": {(1, 0): 0.5, (2, 0): 0.25}})
    parts = matched(plan, results).parts
    assert parts["wide"][0].lent == ()
    middle, stressed = parts["later"]
    assert [arm.name for arm in middle.lent] == ["static0", "static2", "linear"]
    assert [len(arm.results) for arm in middle.lent] == [0, 1, 0]
    assert middle.lent[1].numbers.spreads["AUC"].by_seed == {0: 0.5}
    assert stressed.lent == ()
    assert [arm.name for arm in middle.arms] == ["own", "grpo"]


def test_an_arm_without_clip_ranges_keeps_its_name(tmp_path):
    (runs,) = matched(plan_of(tmp_path), []).parts["orders"]
    assert runs.clips == [""]
    assert [(arm.base, arm.clip) for arm in runs.arms[:2]] == [("static0", ""), ("static2", "")]


def test_runs_have_the_number_of_their_pair(tmp_path):
    plan = plan_of(tmp_path)
    aucs = {"static0": {(0, 1): 0.25, (2, 0): 0.5}}
    (runs,) = matched(plan, results_of(plan, aucs)).parts["orders"]
    assert runs.pairs == tuple(Pair(seed, model) for seed in range(3) for model in range(2))
    assert str(runs.pairs[4]) == "2.0"
    arm = runs.arms[0]
    assert arm.numbers.spreads["AUC"].by_seed == {1: 0.25, 4: 0.5}
    assert arm.numbers.spreads[HELD_OUT].mean == 0.5
    assert (arm.num_planned, arm.missing, runs.num_runs) == (6, 4, 2)


def test_a_run_counts_in_each_part_that_plans_it(tmp_path):
    plan = plan_of(tmp_path, PART + PART.replace("orders:", "again:"))
    results = results_of(plan, {"linear": {(0, 0): 0.5}})
    parts = matched(plan, results).parts
    assert [runs.num_runs for (runs,) in parts.values()] == [1, 1]


def test_what_is_not_planned_is_listed_and_does_not_count(tmp_path):
    plan = plan_of(tmp_path)
    cells = plan_of(tmp_path, PART.replace("[middle]", "[stressed]")).parts["orders"]
    found = matched(plan, [result_of(cells[0], [0.5] * 16)])
    assert [(one.regime, one.arm) for one in found.others] == [("stressed", "static0")]
    assert found.parts["orders"][0].num_runs == 0


def test_a_copied_line_counts_once_and_a_second_run_is_a_repeat(tmp_path):
    plan = plan_of(tmp_path)
    (first,) = results_of(plan, {"grpo": {(0, 0): 0.5}})
    copied = matched(plan, [first, first])
    assert not copied.repeats
    second = again(first, [0.75] * 16)
    found = matched(plan, [first, second])
    assert found.repeats == ((first, second),)
    arm = found.parts["orders"][0].arms[-1]
    assert arm.numbers.spreads["AUC"].by_seed == {0: 0.5}


@pytest.mark.parametrize(
    ("rewards", "collapsed"),
    [
        ([0.25] * 8 + [0.75] * 8 + [0.375] * 8, False),
        ([0.25] * 8 + [0.75] * 8 + [0.36] * 8, True),
        ([0.75] * 15, None),
    ],
)
def test_collapse_is_that_of_the_studies(tmp_path, rewards, collapsed):
    plan = plan_of(tmp_path)
    (runs,) = matched(plan, [result_of(plan.parts["orders"][0], rewards)]).parts["orders"]
    assert runs.arms[0].numbers.runs[0].collapsed is collapsed


def test_other_curves_lack_what_is_not_finite(tmp_path):
    plan = plan_of(tmp_path)
    result = result_of(plan.parts["orders"][0], [0.5, 0.5, 0.5])
    result.curves["grad_norm"][1] = math.inf
    (runs,) = matched(plan, [result]).parts["orders"]
    assert with_curve(runs.arms[0], "grad_norm").runs[0].curve == {1: 2.0, 3: 2.0}
    assert with_curve(runs.arms[0], "unknown").runs[0].curve == {}


@pytest.mark.parametrize("lacking", ["curve", "window"])
def test_a_line_without_a_reward_is_named(tmp_path, lacking):
    plan = plan_of(tmp_path)
    result = result_of(plan.parts["orders"][0], [0.5] * 16)
    del (result.curves if lacking == "curve" else result.windows["last8"])["reward"]
    with pytest.raises(ValueError, match=r"^static0, middle, seed 0\.0: .*reward: missing; make"):
        matched(plan, [result])
