"""Turns are found again after padding, balancing and dropping, through verl's own code."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size

from holderpo.advantage import AdvantageSettings
from recipe.holderpo.advantage import AdvantageCall, advantage_call, compute_holder_advantage
from recipe.holderpo.trainer import HolderTrainerSync
from recipe.holderpo.turn_rows import turn_rows
from tests.holderpo.turn_samples import (
    REFERENCES,
    gigpo,
    places_of,
    random_games,
    return_of,
)
from tests.recipe.composing import composed
from tests.recipe.turn_batches import Queue, extra_fields_of, key_of

GIGPO = ("advantage.step_weight=1.0", "advantage.step_discount=0.9")


@pytest.fixture
def queue(monkeypatch):
    return Queue(monkeypatch)


def trainer_of(*overrides):
    """Our trainer as it stands on verl's, without what starts workers."""
    trainer = object.__new__(HolderTrainerSync)
    trainer.config = composed("demo", overrides)
    trainer.progress = SimpleNamespace(now=lambda what: None)
    return trainer


def run(queue, trainer, batch):
    """verl's step of a round: rewards from the queue, advantages back into it, by row."""
    metrics = {}
    for key in batch.keys:
        # What the actor writes after the padding.
        queue.rows[key]["old_log_probs"] = queue.rows[key]["rollout_log_probs"].clone()
    trainer._compute_advantage(batch, metrics)
    rows = {key: queue.rows[key] for key in batch.keys}
    for key, row in rows.items():
        mask = row["response_mask"].bool()
        assert (row["advantages"][~mask] == 0).all(), key
        assert (row["advantages"][mask] == row["advantages"][0]).all(), key
    return {key: row["advantages"][0].item() for key, row in rows.items()}, metrics


def expected_of(games, unit, weight=1.0, discount=0.9):
    values = gigpo(games, REFERENCES[unit], weight=weight, discount=discount, by_std=True)
    return {key_of(place): value for place, value in zip(places_of(games), values, strict=True)}


@pytest.mark.parametrize("unit", REFERENCES)
@pytest.mark.parametrize("seed", range(4))
def test_padding_and_balancing_change_no_advantage(queue, unit, seed):
    games = random_games(seed)
    batch = queue.fill(games)
    trainer = trainer_of(f"advantage.unit={unit}", *GIGPO)
    plain, plain_metrics = run(queue, trainer, batch)
    assert plain == pytest.approx(expected_of(games, unit), abs=1e-5)

    batch = queue.fill(games)
    num_real = len(batch)
    padded = upsample_batch_to_divisible_size(batch, num_real + 7, eos_token_id=0)
    assert len(padded) == num_real + 7
    padded.reorder(random.Random(seed).sample(range(len(padded)), len(padded)))
    moved, metrics = run(queue, trainer, padded)
    assert {key: moved[key] for key in plain} == pytest.approx(plain, abs=1e-6)
    assert [moved[key] for key in moved if key not in plain] == [0] * 7
    assert metrics == pytest.approx(plain_metrics)
    assert trainer._reward_mean == pytest.approx(
        np.mean([return_of(episode) for game in games for episode in game])
    )


@pytest.mark.parametrize("unit", REFERENCES)
def test_a_dropped_episode_is_in_no_statistic(queue, unit):
    games = random_games(7)
    trainer = trainer_of(f"advantage.unit={unit}", *GIGPO)
    batch = queue.fill(games)
    kept = [key for key in batch.keys if not key.startswith(("pad_7_2_", "d_0_"))]
    assert len(kept) < len(batch)
    batch = batch.select_keys(random.Random(0).sample(kept, len(kept)))
    got, _ = run(queue, trainer, batch)
    # The same games, without these episodes, from the start.
    del games[2][2], games[3][0]
    values = gigpo(games, REFERENCES[unit], weight=1.0, discount=0.9, by_std=True)
    assert [got[key] for key in kept] == pytest.approx(values, abs=1e-5)


def test_a_failed_episode_counted_as_zero_is_in_the_statistics_and_gets_no_gradient(queue):
    turn = {"anchor": "a", "penalty": 0.0}
    games = [
        [
            [{**turn, "reward": 10.0}],
            [{**turn, "reward": 10.0}],
            [{**turn, "reward": 0.0, "length": 0, "is_failure": True}],
        ]
    ]
    trainer = trainer_of("advantage.normalize_by_std=false", *GIGPO)
    got, metrics = run(queue, trainer, queue.fill(games))
    assert list(got.values()) == pytest.approx([10 / 3, 10 / 3, 0])
    assert metrics["group/no_signal_frac"] == 0
    assert metrics["advantage/anchor_group_size_mean"] == 2
    assert trainer._reward_mean == pytest.approx(20 / 3)


def test_verls_grpo_goes_by_the_final_row_of_each_episode(queue):
    """It equals the unit episode without credit by step, for each of the turns."""
    games = random_games(1)
    batch = queue.fill(games)
    batch.reorder(random.Random(1).sample(range(len(batch)), len(batch)))
    got, metrics = run(queue, trainer_of("algorithm.adv_estimator=grpo"), batch)
    assert got == pytest.approx(expected_of(games, "episode", weight=0.0), abs=1e-4)
    assert not any(name.startswith("advantage/") for name in metrics)


def test_rows_of_an_agent_loop_that_says_nothing_of_turns_are_for_verls_grpo_alone(queue):
    games = random_games(1)
    batch = queue.fill(games)
    for row in queue.rows.values():
        row["extra_fields"] = {"reward_extra_info": {"acc": 1.0}}
    got, _ = run(queue, trainer_of("algorithm.adv_estimator=grpo"), batch)
    assert got == pytest.approx(expected_of(games, "episode", weight=0.0), abs=1e-4)
    with pytest.raises(ValueError, match=r"^algorithm.adv_estimator: 'holder', .* choose 'grpo'$"):
        run(queue, trainer_of(), batch)


def test_which_turns_were_cut_off_reaches_metrics_and_transforms(queue):
    games = random_games(3)
    for place in places_of(games)[::3]:
        game, episode, turn = place
        games[game][episode][turn]["truncated"] = True
    trainer = trainer_of("advantage.transforms=[{name: drop_truncated}]", *GIGPO)
    batch = queue.fill(games)
    cut_off = set(batch.keys[::3])
    batch = upsample_batch_to_divisible_size(batch, len(batch) + 5, eos_token_id=0)
    batch.reorder(random.Random(2).sample(range(len(batch)), len(batch)))
    got, metrics = run(queue, trainer, batch)
    expected = expected_of(games, "episode")
    kept = {key: 0.0 if key in cut_off else value for key, value in expected.items()}
    assert {key: got[key] for key in kept} == pytest.approx(kept, abs=1e-5)
    assert metrics["reward/truncated_frac"] == pytest.approx(len(cut_off) / len(kept))


def rows_of(games, places=None):
    places = places or places_of(games)
    return [key_of(place) for place in places], [extra_fields_of(games, one) for one in places]


@pytest.mark.parametrize(
    ("keys", "several"),
    [(["a_0_0", "a_0_1"], "1 of 2"), (["a_10_0", "a_11_0", "a_11_10"], "1 of 3")],
)
def test_several_rows_of_an_episode_of_which_nothing_is_said_are_refused(keys, several):
    with pytest.raises(ValueError, match=rf"\({several} rows .*extra_fields") as caught:
        turn_rows(keys, [{}] * len(keys), [False] * len(keys))
    assert "\n" not in str(caught.value)


def test_rows_of_which_nothing_is_said_are_responses_if_each_is_an_episode():
    keys = ["a_0_0", "a_1_0", "b_0_0", "padx_0_0", "padx_1_0"]
    games = random_games(0)
    copied = extra_fields_of(games, (0, 0, 0))
    extras = [{}, {}, {}, copied, copied]
    assert turn_rows(keys, extras, [False] * 3 + [True] * 2) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda keys, extras: (keys[1:], extras[1:]), r"episode a_1_0: .* turns \[1, 2"),
        # The last turn, which alone may be worth something.
        (
            lambda keys, extras: ([*keys[:2], *keys[3:]], [*extras[:2], *extras[3:]]),
            r"episode a_1_0: .* turns \[0, 1\]; all from 0 to 2 must",
        ),
        (lambda keys, extras: ([*keys, keys[1]], [*extras, extras[1]]), r"turns \[0, 1, 1"),
        (lambda keys, extras: (keys, [{}, *extras[1:]]), "row a_1_0_0: .* no 'episode'"),
        (
            lambda keys, extras: (keys, [{"episode": extras[0]["episode"]}, *extras[1:]]),
            "row a_1_0_0: .* no 'turn'",
        ),
    ],
)
def test_turns_that_are_missing_twice_there_or_without_a_word_are_refused(change, message):
    turn = {"anchor": "a", "reward": 0.0, "penalty": 0.0}
    games = [[[turn] * 3, [turn]]]
    keys, extras = change(*rows_of(games))
    with pytest.raises(ValueError, match=message) as caught:
        turn_rows(keys, extras, [False] * len(keys))
    assert "\n" not in str(caught.value)


def test_the_estimator_takes_rewards_and_padding_of_turns_from_the_call():
    """verl's rewards say of every row what the last one earned."""
    games = random_games(4)
    keys, extras = rows_of(games)
    turns = turn_rows(keys, extras, [False] * len(keys))
    mask = torch.ones(len(keys), 2, dtype=torch.int64)
    settings = AdvantageSettings(step_weight=1.0, step_discount=0.9)
    with advantage_call(AdvantageCall(settings, max_response_tokens=2, turns=turns)):
        nothing = torch.full((len(keys), 2), torch.nan)
        advantages, returns = compute_holder_advantage(nothing, mask, np.array(keys))
    assert torch.equal(advantages, returns)
    assert dict(zip(keys, advantages[:, 1].tolist(), strict=True)) == pytest.approx(
        expected_of(games, "episode"), abs=1e-5
    )
