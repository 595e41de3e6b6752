"""The controllers of p, on simulated rounds whose right answer is known."""

import dataclasses
import json
import math
from itertools import pairwise

import pytest
import torch

from holderpo.control import RoundStatistics, build_controller
from holderpo.control.build import build_rule
from holderpo.control.controllers import FeedbackController, OpenLoopController
from holderpo.control.order import ClipAwareOrder, OrderBySign, UniformOrder
from holderpo.control.rules import EssSetPoint
from holderpo.diagnostics import describe_rows

NUM_UPDATES, NUM_ROWS, NUM_TOKENS = 4, 32, 40


def constant(value):
    return {"_target_": "holderpo.control.schedule.Constant", "value": value}


def linear(start, end):
    return {"_target_": "holderpo.control.schedule.Annealing", "start": start, "end": end}


RULES = "holderpo.control.rules."
SIGN_MATCHED = {"_target_": RULES + "SignMatched"}
ESS = {"_target_": RULES + "EssSetPoint", "start": 1.0, "set_point": constant(0.05)}
VARIANCE = {
    "_target_": RULES + "VarianceBudget",
    "start": 0.0,
    "desired": linear(2, -2),
    "budget": 1.5,
}
REWARD = {"_target_": RULES + "RewardProgress", "start": 2.0, "end": -2.0}
ADAPTIVE = [ESS, VARIANCE, REWARD]
CLIP_AWARE = {"_target_": "holderpo.control.order.ClipAwareOrder", "clip_frac_max": 0.2}
BY_SIGN = {**SIGN_MATCHED, "positive": constant(-2.0), "negative": constant(2.0)}


def gaussian(generator):
    return torch.randn(NUM_ROWS, NUM_TOKENS, generator=generator, dtype=torch.float64)


def heavy_tailed(generator):
    """Student's t with 3 degrees of freedom, scaled to variance 1."""
    chi = sum(gaussian(generator).square() for _ in range(3)) / 3
    return gaussian(generator) / chi.sqrt() / math.sqrt(3)


def sparse(generator):
    """One token in twenty has fallen far, as in a real update."""
    bulk = 0.3 * gaussian(generator)
    uniform = torch.rand(NUM_ROWS, NUM_TOKENS, generator=generator, dtype=torch.float64)
    return torch.where(uniform < 0.05, -120 * uniform, bulk)


class Rounds:
    """Rounds of updates that move the policy further and further; the first is on-policy."""

    def __init__(self, draw, spread, seed=0, num_updates=NUM_UPDATES):
        self.draw, self.spread, self.num_updates = draw, spread, num_updates
        self.generator = torch.Generator().manual_seed(seed)

    def statistics(self, p, orders=(), factor=1.0):
        grown = [update / (self.num_updates - 1) for update in range(self.num_updates)]
        log_ratio = torch.cat(
            [factor * self.spread * share * self.draw(self.generator) for share in grown]
        )
        mask = torch.ones_like(log_ratio)
        rows = describe_rows(log_ratio, mask, p)
        moments = {q: describe_rows(log_ratio, mask, q).second_moment.mean().item() for q in orders}
        return RoundStatistics(
            ess_frac=rows.ess_frac.mean().item(),
            log_ratio_std=rows.log_ratio_std.mean().item(),
            reward_mean=torch.rand(1, generator=self.generator).item(),
            second_moments=moments,
        )


def follow(controller, rounds, num_rounds, factors=None, first=0):
    """Orders and signed losses of ESS of each round."""
    orders, losses = [], []
    for step in range(first, num_rounds):
        p = controller.order(step).p
        statistics = rounds.statistics(
            p, controller.second_moment_orders, (factors or {}).get(step, 1.0)
        )
        orders.append(p)
        losses.append(math.copysign(1 - statistics.ess_frac, p))
        controller.update(step, statistics)
    return orders, losses


def restored(controller, settings, num_rounds):
    other = build_controller(settings, num_rounds=num_rounds)
    other.load_state_dict(json.loads(json.dumps(controller.state_dict())))
    return other


# ESS at a set-point.


@pytest.mark.parametrize("draw", [gaussian, heavy_tailed, sparse])
@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize("loss", [0.05, -0.05, 0.2])
def test_ess_reaches_its_set_point_whatever_the_spread_and_stays(draw, spread, loss):
    # Bounds wide enough for every spread: what is needed is about 0.3 / spread.
    settings = {**ESS, "set_point": constant(loss), "low": -40, "high": 40, "max_change": 2}
    rounds = Rounds(draw, spread)
    orders, losses = follow(build_controller(settings, num_rounds=40), rounds, 40)
    assert sum(losses[20:]) / 20 == pytest.approx(loss, rel=0.08)
    settled = sum(orders[20:]) / 20
    assert all(p == pytest.approx(settled, rel=0.15) for p in orders[20:])


def test_ess_order_is_inversely_proportional_to_the_spread():
    settings = {**ESS, "low": -40, "high": 40, "max_change": 5}
    last = [
        follow(build_controller(settings, num_rounds=30), Rounds(gaussian, spread), 30)[0][-1]
        for spread in (0.1, 0.4)
    ]
    assert last[0] == pytest.approx(4 * last[1], rel=1e-9), "the same numbers were drawn"


@pytest.mark.parametrize("draw", [gaussian, heavy_tailed, sparse])
@pytest.mark.parametrize("start", [0.1, 3.9])
def test_ess_approaches_from_one_side_without_noise(draw, start):
    # The same log-ratios in every round: what is left is the loop's own dynamics.
    settings = {**ESS, "start": start, "max_change": 0.7}
    orders, losses = [], []
    controller = build_controller(settings, num_rounds=40)
    for step in range(40):
        rounds = Rounds(draw, 0.4)
        orders += (one := follow(controller, rounds, step + 1, first=step))[0]
        losses += one[1]
    changes = [b - a for a, b in pairwise(orders) if abs(b - a) > 1e-6]
    assert losses[-1] == pytest.approx(0.05, rel=1e-3)
    # The first estimate can be the spread itself, which is not that of the weights: one turn.
    turns = sum(a * b < 0 for a, b in pairwise(changes))
    assert turns <= 1


def test_ess_does_not_oscillate_under_noise():
    rounds = Rounds(heavy_tailed, 0.3)
    orders, _ = follow(build_controller(ESS, num_rounds=100), rounds, 100)
    deviations = torch.tensor(orders[20:]) - torch.tensor(orders[20:]).mean()
    correlation = (deviations[1:] * deviations[:-1]).mean() / deviations.square().mean()
    assert correlation > 0, "neighbouring rounds deviate to the same side"


def test_ess_recovers_from_a_spike():
    orders, _ = follow(
        build_controller(ESS, num_rounds=60), Rounds(gaussian, 0.3), 60, factors={30: 10.0}
    )
    settled = sum(orders[20:30]) / 10
    assert orders[31] < 0.8 * settled, "the spike was seen"
    assert min(orders[31:]) > 0.3 * settled
    assert all(p == pytest.approx(settled, rel=0.1) for p in orders[38:])


@pytest.mark.parametrize("draw", [gaussian, heavy_tailed, sparse])
def test_ess_follows_an_annealed_set_point_through_zero(draw):
    set_point = linear(0.1, -0.1)
    settings = {**ESS, "set_point": set_point, "low": -9, "high": 9}
    controller = build_controller(settings, num_rounds=81)
    orders, losses = follow(controller, Rounds(draw, 0.3), 81)
    wanted = [0.1 - 0.2 * step / 80 for step in range(81)]
    assert orders[40] == pytest.approx(0, abs=1e-9)
    # Past the rise from the start value; the noise of one round grows with the loss.
    for first in range(11, 80, 10):
        off = [losses[step] - wanted[step] for step in range(first, first + 10)]
        assert abs(sum(off)) / 10 < 0.01
    assert orders[5] > 0 > orders[-1]


def test_ess_falls_back_to_the_spread_where_the_order_says_nothing():
    controller = build_controller({**ESS, "start": 0.0, "max_change": 9.0}, num_rounds=5)
    controller.update(0, RoundStatistics(ess_frac=1.0, log_ratio_std=0.25))
    expected = math.sqrt(-math.log(0.95)) / 0.25
    assert controller.value(1)["holder/p"] == pytest.approx(expected, abs=1e-12)


def test_ess_closed_form():
    controller = build_controller({**ESS, "start": 2.0, "max_change": 9.0}, num_rounds=5)
    controller.update(0, RoundStatistics(ess_frac=math.exp(-(2.0**2) * 0.2**2)))
    expected = math.sqrt(-math.log(0.95)) / 0.2
    assert controller.value(1)["holder/p"] == pytest.approx(expected, abs=1e-12)
    # The next round's spread is twice that: smoothing halves the way, in the logarithm.
    p = controller.value(1)["holder/p"]
    controller.update(1, RoundStatistics(ess_frac=math.exp(-(p**2) * 0.4**2)))
    assert controller.value(2)["holder/p"] == pytest.approx(expected / math.sqrt(2), abs=1e-12)


# A budget for the second moment.


def log_normal_moments(orders, spread, mean=0.0):
    """Section 6 of docs/theory.md without skew: ``ln V = 2 mean + spread^2 (p + p^2)``."""
    return {p: math.exp(2 * mean + spread**2 * (p + p * p)) for p in orders}


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_variance_caps_and_floors_the_desired_order_of_log_normal_ratios(spread):
    num_rounds, budget = 41, 1.5
    controller = build_controller(
        {**VARIANCE, "start": 0.0, "max_change": 9.0, "smoothing": 1.0}, num_rounds=num_rounds
    )
    moments = log_normal_moments(controller.second_moment_orders, spread, mean=0.3)
    # spread^2 (p + p^2) = ln budget
    cap = min(2.0, -0.5 + math.sqrt(0.25 + math.log(budget) / spread**2))
    for step in range(num_rounds - 1):
        controller.update(step, RoundStatistics(second_moments=moments))
        desired = 2 - 4 * (step + 1) / (num_rounds - 1)
        expected = max(min(desired, cap), -0.5)
        # Linear interpolation of a parabola is off by up to a quarter of a step's width here.
        p = controller.value(step + 1)["holder/p"]
        assert p == pytest.approx(expected, abs=1e-9 if desired < 0 else 0.06)
        assert p <= cap + 1e-9, "on the safe side of a convex curve"


@pytest.mark.parametrize("draw", [gaussian, heavy_tailed, sparse])
def test_variance_keeps_the_measured_second_moment_within_the_budget(draw):
    settings = {**VARIANCE, "desired": constant(2.0)}
    rounds = Rounds(draw, 0.8)
    controller = build_controller(settings, num_rounds=30)
    orders, _ = follow(controller, rounds, 30)
    p = sum(orders[15:]) / 15
    at = rounds.statistics(p, (0.0, p, 2.0)).second_moments
    assert at[p] / at[0.0] < 1.5 * 1.1
    if draw is sparse:
        assert p == 2.0, "tokens that fell cost nothing at positive orders"
    else:
        assert 0.1 < p < 1.9
        assert at[2.0] / at[0.0] > 2
    if draw is gaussian:
        assert at[p] / at[0.0] == pytest.approx(1.5, rel=0.15)


def test_variance_stays_at_the_measured_minimum_when_less_is_desired():
    settings = {**VARIANCE, "desired": constant(-2.0)}
    rounds = Rounds(gaussian, 0.5)
    orders, _ = follow(build_controller(settings, num_rounds=30), rounds, 30)
    p = sum(orders[15:]) / 15
    assert p == pytest.approx(-0.5, abs=0.1)
    near = rounds.statistics(p, (p, p - 0.5, p + 0.5)).second_moments
    assert near[p] == min(near.values())


def test_variance_asks_for_a_grid_with_zero_and_both_bounds_on_it():
    assert build_controller(VARIANCE, num_rounds=9).second_moment_orders == tuple(
        place / 2 for place in range(-4, 5)
    )
    uneven = {**VARIANCE, "low": -0.7, "high": 0.9, "grid_step": 0.4}
    grid = build_controller(uneven, num_rounds=9).second_moment_orders
    assert grid == (-0.7, -0.3, 0.0, 0.1, 0.5, 0.9)
    positive = {**VARIANCE, "start": 1.0, "low": 1.0, "high": 2.0}
    assert build_controller(positive, num_rounds=9).second_moment_orders == (0.0, 1.0, 1.5, 2.0)


def test_minimum_on_an_uneven_grid_is_that_of_the_parabola():
    settings = {**VARIANCE, "desired": constant(-9.0), "budget": 10.0}
    uneven = {"low": -1.0, "high": 0.4, "grid_step": 0.3}
    rule = build_rule({**settings, **uneven}, num_rounds=2)
    assert rule.second_moment_orders == (-1.0, -0.7, -0.4, -0.1, 0.0, 0.2, 0.4)
    values = tuple((p + 0.37) ** 2 for p in rule.second_moment_orders)
    assert rule.propose(values, 0) == pytest.approx(-0.37, abs=1e-12)
    falling = rule.second_moment_orders
    assert rule.propose(falling, 0) == -1.0, "the minimum is at the bound"


# Reward in place of the step.


def test_reward_moves_p_with_progress_and_back():
    settings = {**REWARD, "reward_low": 0.2, "reward_high": 0.6, "smoothing": 1, "max_change": 9}
    controller = build_controller(settings, num_rounds=10)
    assert controller.value(0) == {"holder/p": 2.0}
    for step, (reward, p) in enumerate([(0.1, 2), (0.3, 1), (0.4, 0), (0.7, -2), (0.3, 1)]):
        controller.update(step, RoundStatistics(reward_mean=reward))
        assert controller.value(step + 1)["holder/p"] == pytest.approx(p, abs=1e-12)


def test_reward_beyond_the_range_proposes_its_ends():
    rule = build_rule({**REWARD, "reward_high": 0.5}, num_rounds=2)
    assert [rule.propose((reward,), 0) for reward in (-9.0, 9.0)] == [2.0, -2.0]


def test_smoothing_is_the_weight_of_the_newest_round():
    controller = build_controller({**REWARD, "smoothing": 0.25, "max_change": 9}, num_rounds=10)
    for step, (reward, mean) in enumerate([(0.4, 0.4), (0.8, 0.5), (0.1, 0.4)]):
        controller.update(step, RoundStatistics(reward_mean=reward))
        assert controller.value(step + 1)["holder/p"] == pytest.approx(2 - 4 * mean, abs=1e-12)


# What holds for every adaptive kind.


@pytest.mark.parametrize("settings", ADAPTIVE)
def test_start_is_used_until_the_first_statistics(settings):
    controller = build_controller(settings, num_rounds=10)
    assert controller.order(0) == UniformOrder(settings["start"])
    controller.update(0, RoundStatistics())
    assert controller.order(1) == UniformOrder(settings["start"])


@pytest.mark.parametrize("settings", ADAPTIVE)
@pytest.mark.parametrize("max_change", [0.01, 0.2])
def test_no_round_changes_p_by_more_than_max_change(settings, max_change):
    controller = build_controller({**settings, "max_change": max_change}, num_rounds=20)
    orders, _ = follow(controller, Rounds(heavy_tailed, 0.6), 20, factors={5: 10.0, 10: 0.01})
    changes = [abs(b - a) for a, b in pairwise(orders)]
    assert max(changes) <= max_change + 1e-12
    assert max(changes) > 0.9 * max_change, "the limit was reached"


@pytest.mark.parametrize(
    "statistics",
    [
        RoundStatistics(),
        RoundStatistics(math.nan, math.nan, math.nan, dict.fromkeys((-2.0, 0.0, 2.0), math.nan)),
        RoundStatistics(math.inf, math.inf, math.inf),
        RoundStatistics(1.0, 0.0, None, {p / 2: 0.5 for p in range(-4, 5)}),
        RoundStatistics(0.0, 0.0, None, {0.0: 0.5}),
        RoundStatistics(second_moments={p / 2: 0.0 for p in range(-4, 5)}),
        RoundStatistics(second_moments={p / 2: math.nan if p == 1 else 0.1 for p in range(-4, 5)}),
        RoundStatistics(ess_frac=-1.0, log_ratio_std=-1.0),
    ],
    ids=["missing", "nan", "infinite", "no spread", "zero", "equal rewards", "one nan", "negative"],
)
@pytest.mark.parametrize("settings", ADAPTIVE)
def test_useless_statistics_leave_p_as_it_is(settings, statistics):
    controller = build_controller(settings, num_rounds=20)
    rounds = Rounds(gaussian, 0.4)
    orders, _ = follow(controller, rounds, 6)
    before, state = controller.value(6), controller.state_dict()
    controller.update(6, statistics)
    assert controller.value(7) == before
    assert controller.state_dict() == state
    # And it carries on.
    after, _ = follow(controller, rounds, 12, first=7)
    assert after[-1] != orders[-1]


@pytest.mark.parametrize("settings", ADAPTIVE)
def test_zero_spread_gives_finite_orders_within_the_bounds(settings):
    orders, _ = follow(build_controller(settings, num_rounds=10), Rounds(gaussian, 0.0), 10)
    assert all(-4 <= p <= 4 for p in orders)


@pytest.mark.parametrize("settings", [ESS, VARIANCE])
def test_hopeless_demands_end_at_the_bounds(settings):
    wild = {**settings, "low": -1.5, "high": 1.5, "start": 0.0}
    wild |= {"set_point": constant(0.9)} if settings is ESS else {"desired": constant(50)}
    for spread in (1e-4, 0.1, 30.0):
        orders, _ = follow(build_controller(wild, num_rounds=10), Rounds(sparse, spread), 10)
        assert all(-1.5 <= p <= 1.5 for p in orders)
    narrow, _ = follow(build_controller(wild, num_rounds=10), Rounds(gaussian, 0.01), 10)
    assert narrow[-1] == 1.5


@pytest.mark.parametrize(
    "settings", [*ADAPTIVE, linear(2, -2), CLIP_AWARE, {**BY_SIGN, "negative": ESS}]
)
def test_a_restored_controller_continues_identically(settings):
    generator = torch.Generator().manual_seed(3)
    controller = build_controller(settings, num_rounds=30)

    def statistics():
        ess, spread, reward, noise = (0.3 + 0.6 * torch.rand(4, generator=generator)).tolist()
        moments = {p: math.exp(spread * (p + p * p) + noise * p) for p in VARIANCE_GRID}
        one = RoundStatistics(ess, spread, reward, moments)
        return RoundStatistics(ess, spread, reward, moments, positive=one, negative=one)

    for step in range(7):
        controller.update(step, statistics())
    twin = restored(controller, settings, 30)
    assert twin.state_dict() == controller.state_dict()
    for step in range(7, 15):
        assert twin.order(step) == controller.order(step)
        assert twin.value(step) == controller.value(step)
        now = statistics()
        controller.update(step, now)
        twin.update(step, now)


VARIANCE_GRID = build_controller(VARIANCE, num_rounds=2).second_moment_orders


@pytest.mark.parametrize(
    ("settings", "other", "message"),
    [
        (linear(2, -2), linear(2, -1), r"'end': -2.*'end': -1.*trainer\.resume_mode=disable"),
        (linear(2, -2), constant(2.0), r"^p: the checkpoint was written with"),
        (linear(2, -2), ESS, r"^p: the checkpoint was written with"),
        (ESS, {**ESS, "set_point": constant(0.1)}, r"'set_point\.value': 0\.05"),
        (ESS, {**ESS, "smoothing": 0.2}, r"'smoothing': 0\.5"),
        (VARIANCE, {**VARIANCE, "grid_step": 0.25}, r"'grid_step'"),
        (CLIP_AWARE, {**CLIP_AWARE, "high": 2.0}, r"'high': 1\.0"),
        (
            BY_SIGN,
            {**BY_SIGN, "negative": constant(3.0)},
            r"^p\.negative: .*'value': 2\.0.*'value': 3\.0",
        ),
        (constant(1.0), BY_SIGN, r"^p: the checkpoint .*'value': 1\.0.*'positive\.value': -2\.0"),
        (ESS, {**BY_SIGN, "positive": ESS, "negative": ESS}, r"^p: the checkpoint"),
        (BY_SIGN, constant(1.0), r"^p: the checkpoint"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(settings, other, message):
    state = build_controller(settings, num_rounds=9).state_dict()
    with pytest.raises(ValueError, match=message):
        build_controller(other, num_rounds=9).load_state_dict(json.loads(json.dumps(state)))


def test_a_whole_run_schedule_refuses_a_run_of_another_length():
    state = build_controller(linear(2, -2), num_rounds=10).state_dict()
    with pytest.raises(ValueError, match=r"'steps': 9.*'steps': 19.*total_training_steps"):
        build_controller(linear(2, -2), num_rounds=20).load_state_dict(state)


@pytest.mark.parametrize(
    "damage",
    [
        *({"p": p} for p in (math.nan, 99.0, None, "1")),
        *({"smoothed": means} for means in ([math.nan], ["1"], 5)),
    ],
)
def test_a_damaged_state_is_refused(damage):
    controller = build_controller(ESS, num_rounds=9)
    state = {**controller.state_dict(), **damage}
    with pytest.raises(ValueError, match=r"^p: the checkpoint's order is .*resume_path"):
        controller.load_state_dict(state)


@pytest.mark.parametrize("state", [None, [1]])
@pytest.mark.parametrize("settings", [ESS, constant(1.0), BY_SIGN])
def test_a_state_that_is_none_is_refused(settings, state):
    with pytest.raises(ValueError, match=r"^p: the checkpoint has .* the file is damaged"):
        build_controller(settings, num_rounds=9).load_state_dict(state)


@pytest.mark.parametrize("state", [{}, {"configuration": None}, {"configuration": 3}])
@pytest.mark.parametrize("settings", [ESS, constant(1.0), BY_SIGN])
def test_a_state_without_a_configuration_is_refused(settings, state):
    with pytest.raises(ValueError, match=r"^p: the checkpoint was written with {}"):
        build_controller(settings, num_rounds=9).load_state_dict(state)


# Schedules, per-sequence orders, one controller per sign.


def test_a_schedule_is_a_controller():
    controller = build_controller(linear(2, -2), num_rounds=5)
    assert isinstance(controller, OpenLoopController)
    assert controller.order(1) == UniformOrder(1.0)
    assert controller.value(4) == {"holder/p": -2.0}
    controller.update(1, RoundStatistics())
    assert controller.order(1) == UniformOrder(1.0)
    assert controller.second_moment_orders == ()


def test_a_per_sequence_controller_hands_out_its_rule_and_logs_nothing():
    controller = build_controller({**CLIP_AWARE, "high": 2}, num_rounds=5)
    assert controller.order(3) == ClipAwareOrder(0.2, 0.0, 2.0)
    assert controller.value(3) == {}


def test_the_signs_have_controllers_of_their_own():
    settings = {**SIGN_MATCHED, "positive": linear(-1, -3), "negative": CLIP_AWARE}
    controller = build_controller(settings, num_rounds=3)
    assert controller.order(1) == OrderBySign(UniformOrder(-2.0), ClipAwareOrder(0.2, 0.0, 1.0))
    assert controller.value(1) == {"holder/p_positive": -2.0}
    assert build_controller(BY_SIGN, num_rounds=3).value(0) == {
        "holder/p_positive": -2.0,
        "holder/p_negative": 2.0,
    }


def test_each_sign_learns_from_its_own_responses_and_from_the_reward_of_all():
    settings = {
        **SIGN_MATCHED,
        "positive": {**ESS, "set_point": constant(-0.05), "start": -1.0, "max_change": 9},
        "negative": {**ESS, "max_change": 9},
    }
    controller = build_controller(settings, num_rounds=9)
    wide, narrow = RoundStatistics(ess_frac=math.exp(-0.16)), RoundStatistics(math.exp(-0.01))
    everyone = RoundStatistics(ess_frac=0.5, reward_mean=0.5, positive=wide, negative=narrow)
    controller.update(0, everyone)
    size = math.sqrt(-math.log(0.95))
    assert controller.value(1)["holder/p_positive"] == pytest.approx(-size / 0.4, abs=1e-12)
    assert controller.value(1)["holder/p_negative"] == pytest.approx(size / 0.1, abs=1e-12)
    before = controller.value(1)
    controller.update(1, RoundStatistics(ess_frac=0.5, positive=None, negative=None))
    assert controller.value(2) == before

    rewarded = build_controller({**BY_SIGN, "negative": {**REWARD, "max_change": 9}}, num_rounds=9)
    rewarded.update(0, RoundStatistics(reward_mean=0.25, negative=RoundStatistics(reward_mean=0.0)))
    assert rewarded.value(1)["holder/p_negative"] == 1.0


def test_the_grid_of_second_moments_is_what_either_sign_needs():
    settings = {**SIGN_MATCHED, "positive": {**VARIANCE, "high": 1}, "negative": VARIANCE}
    controller = build_controller(settings, num_rounds=9)
    assert controller.second_moment_orders == VARIANCE_GRID
    assert build_controller(BY_SIGN, num_rounds=9).second_moment_orders == ()


def test_every_schedule_is_listed_under_its_section():
    settings = {**SIGN_MATCHED, "positive": ESS, "negative": VARIANCE}
    named = build_controller(settings, num_rounds=9).schedules
    assert list(named) == ["p.positive.set_point", "p.negative.desired"]
    assert [schedule.last_step for schedule in named.values()] == [0, 8]
    assert list(build_controller(linear(1, 0), num_rounds=9).schedules) == ["p"]
    assert build_controller(REWARD, num_rounds=9).schedules == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_target_": RULES + "Ess"}, r"^p\._target_: cannot load 'holderpo\.control\.rules\.Ess'"),
        ({"_target_": RULES + "EssSetPoint"}, r"^p\.start: missing.*\np\.set_point: missing"),
        ({**ESS, "stop": 1}, r"^p\.stop: not a field of EssSetPoint; it has start, max_change"),
        ({**ESS, "start": 5}, r"^p\.start: 5; give a finite number at least -4 and at most 4"),
        ({**ESS, "low": 4}, r"^p\.high: 4\.0; give a finite number above 4"),
        ({**ESS, "max_change": 0}, r"^p\.max_change: 0"),
        ({**ESS, "smoothing": 1.5}, r"^p\.smoothing: 1\.5; .*above 0 and at most 1"),
        ({**ESS, "set_point": 0.05}, r"^p\.set_point: 0\.05; give a schedule, for example"),
        ({**ESS, "set_point": constant(1.0)}, r"^p\.set_point: 1 in round 1; .*at most 0\.99"),
        ({**ESS, "set_point": linear(0, -2)}, r"^p\.set_point: -1\.1\d* in round 6; .*at least -0"),
        ({**ESS, "set_point": ESS}, r"^p\.set_point: EssSetPoint\(.*; give a schedule"),
        ({**VARIANCE, "budget": 0.5}, r"^p\.budget: 0\.5; .*at least 1"),
        ({**VARIANCE, "grid_step": 1e-3}, r"^p\.grid_step: 0\.001 makes 4001 orders"),
        ({**VARIANCE, "low": -1e308, "high": 1e308}, r"^p\.grid_step: 0\.5 makes inf orders"),
        (constant(10**400), r"^p\.value: 10+; give a finite number"),
        ({**VARIANCE, "desired": {**linear(1, 0), "end": None}}, r"^p\.desired\.end: None"),
        ({**REWARD, "reward_low": 1}, r"^p\.reward_high: 1\.0; .*above 1"),
        ({**REWARD, "end": None}, r"^p\.end: None; give a finite number"),
        ({**REWARD, "low": 0}, r"^p\.low: not a field of RewardProgress"),
        ({**CLIP_AWARE, "clip_frac_max": 0}, r"^p\.clip_frac_max: 0; .*above 0 and at most 1"),
        ({**CLIP_AWARE, "low": -1}, r"^p\.low: -1 with high 1; .*one side of 0"),
        ({**SIGN_MATCHED, "positive": constant(1)}, r"^p\.negative: missing"),
        ({**BY_SIGN, "positive": {**linear(1, 0), "steps": 0.5}}, r"^p\.positive\.steps: 0\.5"),
        ({**BY_SIGN, "positive": BY_SIGN}, r"^p\.positive: SignMatched; give a rule that is not"),
        ({**BY_SIGN, "positive": 2}, r"^p\.positive: 2; give a section, as p@p\.positive=linear"),
        ({**BY_SIGN, "negative": None}, r"^p\.negative: None; give a section"),
        (
            {**BY_SIGN, "positive": {**ESS, "set_point": {}}},
            r"^p\.positive\.set_point\._target_",
        ),
        (
            {"_target_": RULES + "RoundStatistics"},
            r"^p: RoundStatistics is no sched",
        ),
    ],
)
def test_bad_settings_name_field_value_and_fix(settings, message):
    with pytest.raises(ValueError, match=message):
        build_controller(settings, num_rounds=10)


def test_what_a_controller_reads_is_what_its_rules_read():
    assert build_controller(linear(1, 0), num_rounds=9).reads == set()
    assert build_controller(ESS, num_rounds=9).reads == {"ess_frac"}
    both = {**SIGN_MATCHED, "positive": REWARD, "negative": VARIANCE}
    assert build_controller(both, num_rounds=9).reads == {"reward_mean", "second_moments"}
    names = {field.name for field in dataclasses.fields(RoundStatistics)}
    for settings in ADAPTIVE:
        assert build_controller(settings, num_rounds=9).reads < names


def test_a_set_point_out_of_reach_is_warned_of_under_its_section():
    settings = {**BY_SIGN, "negative": {**ESS, "set_point": linear(0.1, 0.6)}}
    controller = build_controller(settings, num_rounds=9)
    (warning,) = controller.warnings(9, 2)
    assert warning.startswith(
        "p.negative.set_point is out of reach: it asks for a loss of ESS of 0.6"
    )
    assert list(controller.warnings(9, 4)) == []


def test_defaults_in_code_are_those_of_the_files():
    built = build_controller(ESS, num_rounds=3)
    assert isinstance(built, FeedbackController)
    set_point = built.rule.set_point
    assert built.rule == EssSetPoint(start=1.0, set_point=set_point, low=-4.0, high=4.0)
