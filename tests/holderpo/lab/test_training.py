"""A run of the laboratory learns, by the recipe's own objective, and the same way each time."""

import math

import pytest
import torch

from holderpo.lab.settings import ArmSettings
from holderpo.lab.training import run_cell
from tests.holderpo.lab.cells import CONSTANT, arm, cell


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


def test_a_run_learns_its_task_and_not_with_shuffled_rewards(models):
    long = {"num_rounds": 40, "num_prompts": 8, "group_size": 8}
    learnt = run_cell(cell(**long), models)
    assert learnt.held_out_after > learnt.held_out_before + 0.3
    assert len(learnt.curves["reward"]) == 40
    assert gain(learnt) > 0.4
    shuffled = run_cell(cell(arm("null", shuffled_reward=True), **long), models)
    assert gain(shuffled) < 0.2


def gain(record):
    """In sampled reward, from the first to the last 8 rounds."""
    rewards = record.curves["reward"]
    return (sum(rewards[-8:]) - sum(rewards[:8])) / 8


def test_the_same_cell_gives_the_same_numbers(models):
    first, second = (run_cell(cell(), models).curves for _ in range(2))
    assert first == second
    assert run_cell(cell(seed=1), models).curves["reward"] != first["reward"]


def test_arms_are_paired_until_they_have_learnt_something_else(models):
    """The learning rate of the first round is 0: all arms see the same two rounds."""
    one, other = (run_cell(cell(arm("a", p)), models).curves for p in (-2.0, 2.0))
    assert one["reward"][:2] == other["reward"][:2]
    assert one["log_ratio_std"][0] < 1e-5
    assert one["log_ratio_std"][1] > 0
    assert one["grad_norm"] != other["grad_norm"]


def test_every_ratio_of_a_single_update_is_one(models):
    curves = run_cell(cell(num_updates=1), models).curves
    assert max(map(abs, curves["log_ratio_min"] + curves["log_ratio_max"])) < 1e-5
    assert curves["ess_frac"] == pytest.approx([1.0] * 4, abs=1e-5)


def test_the_order_of_a_round_is_the_controllers(models):
    falling = {"_target_": "holderpo.control.schedule.Annealing", "start": 2.0, "end": -1.0}
    assert run_cell(cell(ArmSettings(name="f", p=falling)), models).curves["p"] == [2, 1, 0, -1]
    by_sign = {
        "_target_": "holderpo.control.rules.SignMatched",
        "positive": {"_target_": CONSTANT, "value": -2.0},
        "negative": falling,
    }
    curves = run_cell(cell(ArmSettings(name="s", p=by_sign)), models).curves
    assert curves["p_positive"] == [-2.0] * 4
    assert curves["p_negative"] == [2, 1, 0, -1]


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (
            "EssSetPoint",
            {"set_point": {"_target_": CONSTANT, "value": 0.05}, "low": -4.0, "high": 4.0},
        ),
        ("RewardProgress", {"end": -2.0}),
        (
            "VarianceBudget",
            {
                "desired": {"_target_": CONSTANT, "value": 2.0},
                "budget": 1.0001,
                "low": -2.0,
                "high": 2.0,
                "grid_step": 0.5,
            },
        ),
    ],
)
def test_a_rule_that_measures_gets_what_it_reads(models, target, settings):
    p = {"_target_": f"holderpo.control.rules.{target}", "start": 2.0, **settings}
    orders = run_cell(cell(ArmSettings(name=target, p=p), num_rounds=8), models).curves["p"]
    assert len(set(orders)) > 2, orders


def always_more(log_prob, old_log_prob, advantage, mask):
    """A user's loss: 0 for all, so that nothing is learnt."""
    return 0.0 * (log_prob * mask).sum(-1)


def test_a_loss_of_ones_own_takes_the_place_of_the_surrogate(models):
    own = arm("own", loss=f"{__name__}.always_more")
    curves = run_cell(cell(own), models).curves
    assert curves["grad_norm"] == [0.0] * 4
    assert "clip_frac" not in curves


def test_a_gradient_that_is_not_finite_changes_nothing(models):
    own = arm("broken", loss=f"{__name__}.broken")
    curves = run_cell(cell(own), models).curves
    assert curves["skipped"] == [2.0] * 4
    assert curves["log_ratio_max"] == pytest.approx([0.0] * 4, abs=1e-5)


def broken(log_prob, old_log_prob, advantage, mask):
    return math.nan * log_prob.sum(-1)


def test_learning_rates_are_verls(models):
    warmed = run_cell(cell(num_rounds=6, warm_up_rounds=3), models).curves["learning_rate"]
    assert warmed == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2, 1e-2])
    decayed = run_cell(cell(num_rounds=6, warm_up_rounds=2, rate_schedule="linear"), models)
    assert decayed.curves["learning_rate"] == pytest.approx(
        [0, 0.5e-2, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2]
    )
