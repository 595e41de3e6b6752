"""Advantages of turns against plain references, and what each setting does to them."""

import random

import pytest
import torch

from holderpo.advantage import (
    AdvantageSettings,
    ResponseBatch,
    compute_advantages,
    group_relative_advantage,
)
from holderpo.objective import clipped_surrogate
from holderpo.turn_advantage import (
    anchor_groups,
    compute_turn_advantages,
    discounted_returns,
    episode_row_weights,
    statistic_rewards,
)
from tests.holderpo.turn_samples import (
    REFERENCES,
    gigpo,
    places_of,
    random_games,
    return_of,
    turn_batch_of,
)


def turn(anchor="a", reward=0.0, penalty=0.0, **more):
    return {"anchor": anchor, "reward": reward, "penalty": penalty, **more}


def advantages(games, **settings):
    return compute_turn_advantages(turn_batch_of(games), AdvantageSettings(**settings))[0]


def metrics(games, **settings):
    return compute_turn_advantages(turn_batch_of(games), AdvantageSettings(**settings))[1]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("unit", REFERENCES)
@pytest.mark.parametrize("by_std", [True, False])
def test_equals_the_plain_reference_in_any_order_of_the_rows(seed, unit, by_std):
    rng = random.Random(seed)
    games = random_games(seed, num_episodes=rng.randint(1, 6), max_turns=rng.randint(1, 9))
    weight, discount = rng.choice([0.0, 0.5, 1.0, 2.0]), rng.choice([0.0, 0.5, 0.95, 1.0])
    expected = gigpo(games, REFERENCES[unit], weight=weight, discount=discount, by_std=by_std)
    places = places_of(games)
    order = rng.sample(range(len(places)), len(places))
    settings = AdvantageSettings(
        unit=unit, step_weight=weight, step_discount=discount, normalize_by_std=by_std
    )
    batch = turn_batch_of(games, [places[row] for row in order])
    got, _ = compute_turn_advantages(batch, settings)
    shuffled = torch.tensor([expected[row] for row in order], dtype=torch.double)
    torch.testing.assert_close(got, shuffled, rtol=0, atol=1e-6)


def test_paper_and_code_differ_where_episodes_have_different_lengths_or_penalties():
    short, long = [turn(reward=10.0)], [turn()] * 3
    over_episodes = advantages([[short, long]], normalize_by_std=False)
    over_rows = advantages([[short, long]], normalize_by_std=False, unit="turn")
    assert over_episodes.tolist() == [5.0, -5.0, -5.0, -5.0]
    assert over_rows.tolist() == [7.5, -2.5, -2.5, -2.5]
    # A penalty is the whole episode's, or that of one row.
    clumsy = [[turn(penalty=0.5), turn()], [turn()]]
    assert advantages([clumsy], normalize_by_std=False).tolist() == [-0.25, -0.25, 0.25]
    rows = advantages([clumsy], normalize_by_std=False, unit="turn")
    torch.testing.assert_close(rows, torch.tensor([-1 / 3, 1 / 6, 1 / 6]).double())


def test_with_one_turn_each_both_units_are_grpo_over_responses():
    games = [[[turn(reward=float(value))] for value in group] for group in ([1, 0, 0], [2, 5, 2])]
    rewards, groups = torch.tensor([1.0, 0, 0, 2, 5, 2]).double(), torch.tensor([0, 0, 0, 1, 1, 1])
    for unit in REFERENCES:
        expected = group_relative_advantage(rewards, groups)
        assert torch.equal(advantages(games, unit=unit), expected)


@pytest.mark.parametrize("unit", REFERENCES)
@pytest.mark.parametrize("by_std", [True, False])
def test_equal_values_give_exactly_zero_in_whatever_order_they_were_summed(unit, by_std):
    one, other = (
        [turn(f"{values[:n]}" if n else "start", reward=value) for n, value in enumerate(values)]
        for values in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))
    )
    assert return_of(one) != return_of(other), "the order of floating-point sums matters here"
    settings = {"unit": unit, "normalize_by_std": by_std, "step_weight": 1.0}
    got = advantages([[one, other]], step_discount=1.0, **settings)
    assert (got == 0).all()
    assert metrics([[one, other]], unit=unit)["group/no_signal_frac"] == 1


def test_penalties_are_taken_off_after_discounting():
    """The penalty of a later turn says nothing of an earlier one, unlike a reward."""
    games = [
        [[turn("start"), turn("there", penalty=0.5)], [turn("start"), turn("there")]],
        [[turn("start"), turn("there", reward=4.0)], [turn("start"), turn("there")]],
    ]
    values = {"step_weight": 1.0, "step_discount": 0.5, "normalize_by_std": False}
    by_step = advantages(games, **values) - advantages(games, normalize_by_std=False)
    assert by_step.tolist() == [0, -0.25, 0, 0.25, 1, 2, -1, -2]
    returns = discounted_returns(turn_batch_of(games), 0.5)
    assert returns.tolist() == [0, 0, 0, 0, 2, 4, 0, 0]


def test_anchor_groups_hold_repeated_states_of_one_episode_and_never_those_of_two_games():
    games = [[[turn("a"), turn("b"), turn("a", reward=1.0)], [turn("c")]], [[turn("a")]]]
    batch = turn_batch_of(games)
    assert anchor_groups(batch).tolist() == [0, 1, 0, 2, 3]
    values = {"normalize_by_std": False, "step_discount": 0.5}
    by_step = advantages(games, step_weight=1.0, **values) - advantages(games, **values)
    # 0.25 and 1 at "a"; groups of one have nothing to compare.
    assert by_step.tolist() == [-0.375, 0, 0.375, 0, 0]


def test_one_switch_divides_both_parts():
    games = random_games(3)
    settings = {"step_weight": 1.0}
    divided, plain = (advantages(games, normalize_by_std=x, **settings) for x in (True, False))
    whole = advantages(games, normalize_by_std=False)
    for part in (whole, plain - whole):
        assert part.abs().max() > 1.5
    assert divided.abs().max() < 5 < plain.abs().max()


def test_a_row_without_tokens_counts_in_the_episodes_and_in_no_anchor_group():
    failed = [turn("a", length=0)]
    games = [[[turn("a", reward=10.0)], [turn("a", reward=10.0)], failed]]
    got = advantages(games, step_weight=1.0, normalize_by_std=False)
    torch.testing.assert_close(got, torch.tensor([10 / 3, 10 / 3, 0]).double())
    assert anchor_groups(turn_batch_of(games)).tolist() == [0, 0, -1]
    assert metrics(games)["group/no_signal_frac"] == 0
    assert advantages([[[turn(length=0)], [turn(length=0)]]]).tolist() == [0, 0]
    assert metrics([[[turn(length=0)]]]) == {"group/no_signal_frac": 1}


def test_weights_of_rows_let_every_episode_count_the_same():
    games = random_games(5)
    games[0][0][0]["length"] = 0
    games[0][1] = [turn(length=0)]
    batch = turn_batch_of(games)
    weights, has_tokens = episode_row_weights(batch), batch.has_tokens
    assert weights[has_tokens].mean().item() == pytest.approx(1)
    sums = [weights[(batch.episodes == n) & has_tokens].sum() for n in batch.episodes.unique()]
    some = [value.item() for value in sums if value > 0]
    assert some == pytest.approx([some[0]] * 23)
    transforms = [{"name": "clamp", "limit": 0.5}]
    by_turn, by_episode = (
        advantages(games, row_weight=unit, transforms=transforms) for unit in ("turn", "episode")
    )
    # The weight is none of the advantage: no transform sees it.
    torch.testing.assert_close(by_episode, torch.where(has_tokens, by_turn * weights, 0))
    assert by_episode.abs().max() > 0.5


@pytest.mark.parametrize("level", ["sequence", "token", "token_then_sequence"])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_a_factor_of_the_advantage_is_a_weight_of_the_row_in_the_loss(level, dual_clip):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(64, 7, generator=generator).double() * 2
    new = old + torch.randn(64, 7, generator=generator) * 0.7
    advantage = torch.randn(64, generator=generator).double()
    weight = torch.rand(64, generator=generator).double() * 4 + 0.1
    mask = torch.ones(64, 7, dtype=torch.bool)

    def loss(advantages):
        values = {"p": 0.5, "clip_low": 0.2, "clip_high": 0.3, "clip_level": level}
        return clipped_surrogate(new, old, advantages, mask, dual_clip=dual_clip, **values)[0]

    torch.testing.assert_close(loss(weight * advantage), weight * loss(advantage))


def test_transforms_get_turns_as_rows_with_the_rewards_of_the_statistics():
    games = [[[turn(reward=1.0, length=5)], [turn(length=2), turn(length=5), turn()]]]
    plain = advantages(games)
    dropped = advantages(games, transforms=[{"name": "drop_truncated"}])
    assert (dropped != 0).tolist() == [False, True, False, True]
    told = turn_batch_of(games, truncated=torch.tensor([False, True, False, False]))
    settings = AdvantageSettings(transforms=[{"name": "drop_truncated"}])
    assert (compute_turn_advantages(told, settings)[0] != 0).tolist() == [True, False, True, True]
    clamped = advantages(games, transforms=[{"name": "clamp", "limit": 0.1}])
    assert clamped.tolist() == [0.1, -0.1, -0.1, -0.1]
    # Half of the episodes are won, and a quarter of the rows are those of a won one.
    weigh = [{"name": "weight_by_difficulty"}]
    torch.testing.assert_close(advantages(games, transforms=weigh), 0.5 * plain)
    by_row = advantages(games, unit="turn")
    weighed = advantages(games, transforms=weigh, unit="turn")
    torch.testing.assert_close(weighed, 0.75 * by_row)
    mine = advantages(games, transforms=[{"name": f"{__name__}.rewards_and_lengths"}])
    assert mine.tolist() == [15.0, 2.0, 5.0, 3.0]


def rewards_and_lengths(advantages, batch):
    """A user's own transform."""
    return 10.0 * batch.rewards + batch.lengths_tokens


def test_credit_by_step_is_part_of_what_transforms_see():
    games = random_games(2)
    bounded = advantages(games, step_weight=3.0, transforms=[{"name": "clamp", "limit": 1.0}])
    assert advantages(games, step_weight=3.0).abs().max() > 2
    assert bounded.abs().max() == 1


def test_metrics_say_how_many_turns_had_a_group_and_what_the_parts_weigh():
    games = [
        [[turn("a"), turn("b"), turn("a", reward=10.0)], [turn("a"), turn("c"), turn("c")]],
        [[turn("a")], [turn("b", length=0)]],
    ]
    got = metrics(games, normalize_by_std=False, step_weight=7.0, step_discount=1.0)
    by_step = advantages(games, normalize_by_std=False, step_weight=1.0, step_discount=1.0)
    by_step -= (whole := advantages(games, normalize_by_std=False))
    has_tokens = turn_batch_of(games).has_tokens
    assert got == {
        "group/no_signal_frac": 0.5,
        "advantage/anchored_turn_frac": pytest.approx(5 / 7),
        "advantage/anchor_group_size_mean": pytest.approx(7 / 4),
        "advantage/episode_std": pytest.approx(whole[has_tokens].std(correction=0).item()),
        "advantage/step_std": pytest.approx(by_step[has_tokens].std(correction=0).item()),
    }
    # Penalties make rows differ where episodes do not, and only `turn` compares rows.
    same = [[[turn(penalty=0.1), turn()], [turn(), turn(penalty=0.1)]]]
    assert metrics(same)["group/no_signal_frac"] == 1
    assert metrics(same, unit="turn")["group/no_signal_frac"] == 0


def test_statistics_are_those_of_single_responses_where_nothing_has_turns():
    """The same transforms and settings through both entrances."""
    games = [[[turn(reward=float(n == 1))] for n in range(4)]]
    batch = turn_batch_of(games)
    transforms = [{"name": "weight_by_difficulty", "power": 2.0}, {"name": "clamp", "limit": 0.7}]
    settings = AdvantageSettings(transforms=transforms)
    responses = ResponseBatch(
        rewards=statistic_rewards(batch, "turn"),
        groups=batch.groups,
        lengths_tokens=batch.lengths_tokens,
        max_response_tokens=5,
    )
    expected = compute_advantages(responses, settings)
    torch.testing.assert_close(compute_turn_advantages(batch, settings)[0], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalties": torch.tensor([0.0, -0.1])}, "penalties: below 0"),
        ({"rewards": torch.tensor([0.0, torch.nan])}, "rewards: NaN or inf"),
        ({"penalties": torch.tensor([torch.nan, 0.0])}, "penalties: NaN or inf"),
        ({"turns": torch.tensor([0])}, r"turns: \(1,\); all must be \(2,\)"),
        ({"anchors": ["a"]}, "anchors: 1; give 2"),
        ({"episode_returns": torch.tensor([1.0, 2.0])}, "episode_returns: the rows of an episode"),
        ({"groups": torch.tensor([0, 1])}, "groups: the rows of an episode differ"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(changes, message):
    games = [[[turn(), turn()]]]
    turn_batch_of(games)
    with pytest.raises(ValueError, match=f"^{message}"):
        turn_batch_of(games, **changes)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"unit": "token"}, "advantage.unit: 'token'; give episode or turn"),
        ({"row_weight": None}, "advantage.row_weight: None; give episode or turn"),
        ({"step_weight": -1}, "advantage.step_weight: -1; give a number, 0 or more"),
        ({"step_weight": True}, "advantage.step_weight: True; give a number, 0 or more"),
        ({"step_weight": float("inf")}, "advantage.step_weight: inf; give a number, 0 or more"),
        ({"step_weight": float("nan")}, "advantage.step_weight: nan; give a number, 0 or more"),
        ({"step_discount": 1.1}, "advantage.step_discount: 1.1; give a number, from 0 to 1"),
        ({"step_discount": "1"}, "advantage.step_discount: '1'; give a number, from 0 to 1"),
        ({"normalize_by_std": "no"}, "advantage.normalize_by_std: 'no'; give true or false"),
    ],
)
def test_settings_are_checked_each_in_a_line(setting, message):
    with pytest.raises(ValueError, match="give") as caught:
        AdvantageSettings(**setting)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match="give") as caught:
        AdvantageSettings(**{"unit": 1, "step_weight": -1, **setting})
    assert len(str(caught.value).splitlines()) == len({"unit", "step_weight", *setting})
