"""The ratio hook: p out of the batch, verl's own terms kept, metrics with the right reductions."""

import math
import pickle

import numpy as np
import pytest
import torch
from verl.utils import tensordict_utils as tu
from verl.utils.metric import Metric, reduce_metrics
from verl.workers.config import FSDPActorConfig
from verl.workers.utils.losses import ppo_loss

from holderpo.control.order import OrderBySign, UniformOrder
from holderpo.diagnostics import describe_rows
from holderpo.metrics import METRICS
from holderpo.objective import CLIP_LEVELS
from recipe.holderpo.actor_hook import (
    ORDER_KEY,
    ROW_FRAC,
    SECOND_MOMENT_ORDERS_KEY,
    HolderActorLoss,
    finish_metrics,
    take_statistics,
)
from recipe.holderpo.policy_loss import HolderLossConfig
from recipe.holderpo.reward_extras import SHARES

NUM_ROWS, PROMPT, RESPONSE = 8, 3, 5


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def micro_batch(
    rows, *, p, global_batch_size=NUM_ROWS, empty=(), second_moment_orders=(), spread=1.0
):
    """What the engine hands to the loss: jagged tensors over whole sequences and responses."""
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(NUM_ROWS, RESPONSE, generator=generator)
    ratios = spread * torch.randn(NUM_ROWS, RESPONSE, generator=generator)
    advantage = torch.randn(NUM_ROWS, 1, generator=generator).expand(-1, RESPONSE)
    mask = torch.ones(NUM_ROWS, RESPONSE, dtype=torch.int64)
    mask[list(empty)] = 0
    whole = torch.zeros(NUM_ROWS, PROMPT + RESPONSE)
    # Log-probabilities are shifted by one: position t holds that of token t + 1.
    whole[:, PROMPT - 1 : -1] = old + ratios
    data = tu.get_tensordict(
        {
            "prompts": jagged(torch.ones(len(rows), PROMPT, dtype=torch.int64)),
            "responses": jagged(torch.ones(len(rows), RESPONSE, dtype=torch.int64)),
            "response_mask": jagged(mask[rows]),
            "old_log_probs": jagged(old[rows]),
            "advantages": jagged((advantage * mask)[rows]),
            "attention_mask": jagged(torch.ones(len(rows), PROMPT + RESPONSE, dtype=torch.int64)),
        },
        non_tensor_dict={
            "dp_size": 1,
            "batch_num_tokens": int(mask.sum()),
            "global_batch_size": global_batch_size,
            SECOND_MOMENT_ORDERS_KEY: second_moment_orders,
            **(
                {}
                if p is None
                else {ORDER_KEY: p if isinstance(p, OrderBySign) else UniformOrder(p)}
            ),
        },
    )
    return {"log_probs": jagged(whole[rows])}, data, ratios[rows], mask[rows].bool()


def hook(**policy_loss):
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=1,
        loss_agg_mode="seq-mean-token-mean",
        policy_loss=HolderLossConfig(**policy_loss),
    )
    return HolderActorLoss(config)


def test_p_comes_from_the_batch():
    rows = torch.arange(NUM_ROWS)
    losses = {p: hook(p=1.0)(*micro_batch(rows, p=p)[:2])[0].item() for p in (None, 1.0, -2.0)}
    assert losses[None] == losses[1.0] != losses[-2.0]


def test_the_hook_survives_pickling():
    rows = torch.arange(NUM_ROWS)
    copy = pickle.loads(pickle.dumps(hook()))
    assert copy(*micro_batch(rows, p=2.0)[:2])[0] == hook()(*micro_batch(rows, p=2.0)[:2])[0]


def test_any_other_loss_is_verls_own():
    rows = torch.arange(NUM_ROWS)
    vanilla = hook(loss_mode="vanilla")
    loss, metrics = vanilla(*micro_batch(rows, p=2.0)[:2])
    expected, _ = ppo_loss(vanilla.config, *micro_batch(rows, p=2.0)[:2])
    assert loss == expected
    assert "holder/log_ratio_std" in metrics
    assert "holder/ess_frac" not in metrics


def test_the_weights_of_a_users_aggregation_are_not_made_up():
    mine = hook(aggregate="tests.recipe.test_policy_loss.largest_token")
    _, metrics = mine(*micro_batch(torch.arange(NUM_ROWS), p=2.0)[:2])
    assert "holder/clip_frac_high" in metrics
    assert "holder/ess_frac" not in metrics


def test_every_metric_of_the_table_is_logged_for_the_power_mean():
    elsewhere = {"holder/p", "holder/p_positive", "holder/p_negative", "group/no_signal_frac"}
    elsewhere |= {f"reward/{key}_frac" for key in SHARES}
    order = OrderBySign(positive=UniformOrder(-2.0), negative=UniformOrder(2.0))
    _, metrics = hook()(*micro_batch(torch.arange(NUM_ROWS), p=order)[:2])
    ours = {name for name in metrics if name.startswith("holder/")}
    ours -= {ROW_FRAC, f"{ROW_FRAC}_positive", f"{ROW_FRAC}_negative"}
    assert ours == {metric.name for metric in METRICS} - elsewhere


def collect(call, splits, **batch):
    """Finished metrics of a mini-batch in micro-batches, reduced as verl reduces them."""
    collected = {}
    for rows in torch.arange(NUM_ROWS).chunk(splits):
        for name, value in call(*micro_batch(rows, **batch)[:2])[1].items():
            if isinstance(value, Metric):
                collected.setdefault(name, value.init_list()).append(value)
    # One aggregate a mini-batch, prefixed, then reduced by name over mini-batches.
    reduced = reduce_metrics(
        {f"actor/{name}": [Metric.aggregate_dp([metric])] for name, metric in collected.items()}
    )
    finished = finish_metrics(reduced)
    assert not any("holder" in name for name in reduced)
    return finished


@pytest.mark.parametrize("splits", [1, 4])
def test_metrics_are_global_means_and_extremes_over_real_rows(splits):
    empty = (2, 7)
    finished = collect(hook(), splits, p=2.0, empty=empty)
    assert set(finished) <= {metric.name for metric in METRICS}

    _, _, ratios, mask = micro_batch(torch.arange(NUM_ROWS), p=2.0, empty=empty)
    real = ratios[mask.any(-1)].double()
    weights = (2 * real).softmax(-1)
    assert finished["holder/ess_frac"] == pytest.approx(
        (1 / (RESPONSE * weights.square().sum(-1))).mean().item(), rel=1e-5
    )
    assert finished["holder/log_ratio_max"] == pytest.approx(real.max().item(), abs=1e-5)
    assert finished["holder/log_ratio_min"] == pytest.approx(real.min().item(), abs=1e-5)
    assert finished["holder/log_ratio_std"] == pytest.approx(
        np.mean(real.numpy().std(-1)), rel=1e-5
    )


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("level", CLIP_LEVELS)
def test_clip_metrics_count_what_the_loss_did(level, splits):
    """Against a plain count over the rows, with a dual clip, padding rows and a saturated row."""
    empty = (2,)
    finished = collect(
        hook(clip_level=level, dual_clip=1.5), splits, p=1.0, empty=empty, spread=4.0
    )
    _, data, ratios, _ = micro_batch(torch.arange(NUM_ROWS), p=1.0, empty=empty, spread=4.0)
    rows = [
        plain_counts(ratios[row].tolist(), data["advantages"].to_padded_tensor(0.0)[row, 0], level)
        for row in range(NUM_ROWS)
        if row not in empty
    ]
    for name in rows[0]:
        expected = np.mean([row[name] for row in rows])
        assert finished[f"holder/{name}"] == pytest.approx(expected, abs=1e-6), name
    assert any(row["token_clip_frac_high"] > 0 for row in rows)
    assert any(row["token_clip_frac_low"] > 0 for row in rows)
    assert any(row["clip_frac_dual"] > 0 for row in rows) or level == "token_then_sequence"


def plain_counts(ratios, advantage, level):
    """The clip metrics of one response, token by token."""
    low, high, dual = math.log(0.8), math.log(1.2), math.log(1.5)
    count = len(ratios)
    above = sum(ratio > high for ratio in ratios) / count
    below = sum(ratio < low for ratio in ratios) / count
    beyond_dual = sum(ratio > dual for ratio in ratios) / count
    held = {"sequence": 0.0, "token": above if advantage > 0 else below + beyond_dual}
    held["token_then_sequence"] = sum(abs(ratio) > high for ratio in ratios) / count
    bounded = [min(max(ratio, -high), high) for ratio in ratios]
    used = bounded if level == "token_then_sequence" else ratios
    log_rho = math.log(sum(math.exp(ratio) for ratio in used) / count)
    is_whole = level != "token"
    is_dual = is_whole and advantage < 0 and log_rho > dual
    return {
        "clip_frac_high": float(is_whole and advantage > 0 and log_rho > high + 1e-6),
        "clip_frac_low": float(is_whole and advantage < 0 and log_rho < low),
        "clip_frac_dual": beyond_dual if level == "token" and advantage < 0 else float(is_dual),
        "token_clip_frac_high": above if advantage > 0 else 0.0,
        "token_clip_frac_low": below if advantage < 0 else 0.0,
        "token_held_frac": held[level],
    }


def test_the_weights_are_those_of_the_held_ratios_with_token_clipping():
    finished = collect(hook(clip_level="token"), 2, p=2.0, spread=2.0)
    free = collect(hook(), 2, p=2.0, spread=2.0)
    assert finished["holder/ess_frac"] > free["holder/ess_frac"]
    assert finished["holder/log_ratio_std"] == pytest.approx(free["holder/log_ratio_std"])


def test_a_batch_of_padding_alone_has_no_metrics():
    assert collect(hook(), 2, p=2.0, empty=tuple(range(NUM_ROWS))) == {}


def test_saturated_responses_are_counted():
    finished = collect(hook(), 1, p=2.0, spread=60.0)
    assert 0 < finished["holder/saturated_frac"] < 1


@pytest.mark.parametrize("splits", [1, 4])
def test_statistics_for_the_controller_are_global_and_by_sign(splits):
    orders, empty = (-1.0, 1 / 3), (2,)
    order = OrderBySign(positive=UniformOrder(-2.0), negative=UniformOrder(2.0))
    finished = collect(hook(), splits, p=order, empty=empty, second_moment_orders=orders)
    statistics = take_statistics(finished, 0.25, orders)
    assert set(finished) <= {metric.name for metric in METRICS}, "second moments are not logged"

    _, data, ratios, mask = micro_batch(torch.arange(NUM_ROWS), p=order, empty=empty)
    advantage = data["advantages"].to_padded_tensor(0.0)[:, 0]
    for sign, side, p in (
        (advantage > 0, statistics.positive, -2.0),
        (advantage < 0, statistics.negative, 2.0),
    ):
        among = sign & mask.any(-1)
        rows = describe_rows(ratios[among], mask[among], p)
        assert side.ess_frac == pytest.approx(rows.ess_frac.mean().item(), rel=1e-5)
        assert side.log_ratio_std == pytest.approx(rows.log_ratio_std.mean().item(), rel=1e-5)
        assert side.second_moments == pytest.approx(moments(ratios, mask, advantage, among, orders))
    everything = mask.any(-1)
    assert statistics.second_moments == pytest.approx(
        moments(ratios, mask, advantage, everything, orders)
    )
    assert statistics.reward_mean == 0.25


def moments(ratios, mask, advantage, among, orders):
    """Order to the mean of A^2 rho^2 sum W^2 among some rows."""
    found = {}
    for p in orders:
        rows = describe_rows(ratios[among], mask[among], p)
        found[p] = (advantage[among].square() * rows.second_moment).mean().item()
    return found


def test_a_sign_without_responses_has_no_statistics():
    finished = {"holder/ess_frac": 0.9, "holder/ess_frac_positive": 0.9}
    statistics = take_statistics(finished, None, ())
    assert statistics.negative.ess_frac is None
    assert statistics.positive.ess_frac == 0.9
    assert statistics.reward_mean is None
