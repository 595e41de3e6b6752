"""The ratio hook: p out of the batch, verl's own terms kept, metrics with the right reductions."""

import math
import pickle
import threading
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.utils.metric import Metric, reduce_metrics
from verl.workers.config import FSDPActorConfig
from verl.workers.utils.losses import ppo_loss

from holderpo.control.order import ClipAwareOrder, OrderBySign, UniformOrder
from holderpo.control.rules import SIDES
from holderpo.diagnostics import describe_rows
from holderpo.metrics import METRICS
from holderpo.objective import CLIP_LEVELS, TOTALS
from recipe.holderpo import policy_loss
from recipe.holderpo.actor_hook import (
    ROW_FRAC,
    SECOND_MOMENT_ORDERS_KEY,
    HolderActorLoss,
    finish_metrics,
    take_statistics,
)
from recipe.holderpo.policy_loss import (
    ORDER_KEY,
    HolderLossConfig,
    compute_policy_loss_holder,
)
from recipe.holderpo.reward_extras import SHARES
from recipe.holderpo.used_order import take_orders

NUM_ROWS, PROMPT, RESPONSE = 8, 3, 5


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def micro_batch(
    rows,
    *,
    p,
    global_batch_size=NUM_ROWS,
    empty=(),
    second_moment_orders=(),
    spread=1.0,
    sign=None,
    broken=(),
):
    """What the engine hands to the loss: jagged tensors over whole sequences and responses.

    ``p`` is a number, an order, or None for a batch that has lost it; ``empty`` rows are padding,
    ``broken`` ones have a NaN, and a ``sign`` is that of all advantages.
    """
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(NUM_ROWS, RESPONSE, generator=generator)
    ratios = spread * torch.randn(NUM_ROWS, RESPONSE, generator=generator)
    advantage = torch.randn(NUM_ROWS, 1, generator=generator).expand(-1, RESPONSE)
    if sign is not None:
        advantage = sign * advantage.abs()
    mask = torch.ones(NUM_ROWS, RESPONSE, dtype=torch.int64)
    mask[list(empty)] = 0
    ratios[list(broken), 1] = torch.nan
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
            **({} if p is None else {ORDER_KEY: order_of(p)}),
        },
    )
    return {"log_probs": jagged(whole[rows])}, data, ratios[rows], mask[rows].bool()


def order_of(p):
    return UniformOrder(p) if isinstance(p, float) else p


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
    losses = {p: hook(p=1.0)(*micro_batch(rows, p=p)[:2])[0].item() for p in (1.0, -2.0)}
    assert losses[1.0] != losses[-2.0]
    assert hook(p=-2.0)(*micro_batch(rows, p=1.0)[:2])[0].item() == losses[1.0]


def test_a_batch_without_its_order_is_refused_whatever_is_configured():
    with pytest.raises(ValueError, match=r"holder_order: None; the batch has lost"):
        hook(p=1.0)(*micro_batch(torch.arange(NUM_ROWS), p=None)[:2])
    vanilla = hook(loss_mode="vanilla")
    vanilla(*micro_batch(torch.arange(NUM_ROWS), p=None)[:2])


def test_a_loss_that_does_not_see_its_call_is_refused_whatever_is_configured(monkeypatch):
    found = []

    def in_a_thread(**arguments):
        thread = threading.Thread(
            target=lambda: found.append(compute_policy_loss_holder(**arguments))
        )
        thread.start()
        thread.join()
        return found[-1]

    monkeypatch.setitem(core_algos.POLICY_LOSS_REGISTRY, "holder", in_a_thread)
    with pytest.raises(RuntimeError, match="holder_order: the loss 'holder' was computed without"):
        hook(p=1.0)(*micro_batch(torch.arange(NUM_ROWS), p=2.0)[:2])
    assert len(found) == 1


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
    assert "holder/nonfinite_frac" in metrics
    assert "holder/ess_frac" not in metrics
    assert not any(name.startswith("holder/p") for name in metrics)


def test_the_weights_of_a_users_aggregation_are_not_made_up():
    mine = hook(aggregate="tests.recipe.test_policy_loss.largest_token")
    _, metrics = mine(*micro_batch(torch.arange(NUM_ROWS), p=2.0)[:2])
    assert "holder/clip_frac_high" in metrics
    assert "holder/ess_frac" not in metrics


def test_every_metric_of_the_table_is_logged_for_the_power_mean():
    elsewhere = {"group/no_signal_frac", "actor/skipped_updates"}
    elsewhere |= {f"holder/p{of}" for of in ("", "_positive", "_negative", "_min", "_max")}
    elsewhere |= {f"reward/{key}_frac" for key in SHARES}
    of_driver = ("env/", "episode/", "advantage/", "rollout/")
    elsewhere |= {metric.name for metric in METRICS if metric.name.startswith(of_driver)}
    order = OrderBySign(positive=UniformOrder(-2.0), negative=UniformOrder(2.0))
    _, metrics = hook()(*micro_batch(torch.arange(NUM_ROWS), p=order)[:2])
    ours = {name for name in metrics if name.startswith("holder/")}
    ours -= {ROW_FRAC, f"{ROW_FRAC}_positive", f"{ROW_FRAC}_negative"}
    ours -= {f"holder/p_{side}_{kind}" for side in SIDES for kind in ("min", "max")}
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
    if call.config.policy_loss.loss_mode == "holder":
        p = batch["p"]
        finished |= take_orders(finished, order_of(p), {"holder/p": p} if p == 2.0 else {})
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


def test_a_batch_of_padding_alone_has_no_metrics_but_the_count_of_broken_responses():
    finished = collect(hook(), 2, p=2.0, empty=tuple(range(NUM_ROWS)))
    assert finished == {"holder/nonfinite_frac": 0.0}


BY_SIGN = OrderBySign(positive=UniformOrder(-1.7), negative=UniformOrder(2.3))


@pytest.mark.parametrize("splits", [1, 4, 8])
@pytest.mark.parametrize(
    ("p", "sign", "expected"),
    [
        (0.1, None, {"positive": (0.1, 0.1), "negative": (0.1, 0.1)}),
        (0.1, 1, {"positive": (0.1, 0.1), "negative": None}),
        (0.1, 0, {"positive": (0.1, 0.1), "negative": None}),
        (math.inf, None, {"positive": (math.inf, math.inf), "negative": (math.inf, math.inf)}),
        (BY_SIGN, None, {"positive": (-1.7, -1.7), "negative": (2.3, 2.3)}),
        (BY_SIGN, -1, {"positive": None, "negative": (2.3, 2.3)}),
    ],
)
def test_the_orders_used_are_reported_by_sign_over_real_rows(p, sign, expected, splits):
    """Rows 0 and 1 are padding: with four or eight micro-batches some hold nothing else."""
    metrics = {}
    for rows in torch.arange(NUM_ROWS).chunk(splits):
        _, found = hook()(*micro_batch(rows, p=p, sign=sign, empty=(0, 1))[:2])
        for name in (name for name in found if name.startswith("holder/p_")):
            metrics.setdefault(name, found[name].init_list()).append(found[name])
    reduced = reduce_metrics({name: [Metric.aggregate_dp([m])] for name, m in metrics.items()})
    for side, ends in expected.items():
        low, high = (reduced[f"holder/p_{side}_{kind}"] for kind in ("min", "max"))
        if ends is None:
            assert (low, high) == (math.inf, -math.inf)
        elif isinstance(p, float):
            assert (low, high) == ends, "a number comes back as it was sent"
        else:
            assert (low, high) == pytest.approx(ends, rel=1e-7)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_orders_are_reduced_over_ranks_and_mini_batches_of_which_some_lack_a_sign(num_ranks):
    """One mini-batch of each sign; with two ranks, rows of padding are all that one of them has."""
    by_name = {}
    for sign in (1, -1):
        ranks = {}
        for rows in torch.arange(NUM_ROWS).chunk(num_ranks):
            micro = micro_batch(rows, p=BY_SIGN, sign=sign, empty=(0, 1, 2, 3))
            for name, metric in hook()(*micro[:2])[1].items():
                if name.startswith("holder/p_"):
                    ranks.setdefault(f"actor/{name}", []).append(metric)
        for name, metrics in ranks.items():
            by_name.setdefault(name, []).append(Metric.aggregate_dp(metrics))
    reduced = reduce_metrics(by_name)
    reduced |= {f"actor/{ROW_FRAC}": 0.5, "actor/holder/log_ratio_max": 1.0}
    handed = {"holder/p_positive": -1.7, "holder/p_negative": 2.3}
    logged = take_orders(finish_metrics(reduced), BY_SIGN, handed)
    assert logged["holder/p_positive"] == pytest.approx(-1.7, rel=1e-7)
    assert logged["holder/p_negative"] == pytest.approx(2.3, rel=1e-7)


@pytest.mark.parametrize("splits", [1, 4])
def test_an_order_for_each_response_is_logged_by_mean_and_extremes(splits):
    order = ClipAwareOrder(clip_frac_max=0.9, low=-3.0, high=-1.0)
    finished = collect(hook(), splits, p=order, empty=(2,), spread=0.3)
    assert not finished.keys() & {"holder/p", "holder/p_positive", "holder/p_negative"}
    low, mean, high = (finished[f"holder/p_{name}"] for name in ("min", "mean", "max"))
    assert -3.0 <= low < mean < high <= -1.0


def test_the_hook_must_have_been_called():
    with pytest.raises(RuntimeError, match="did not compute its loss through HolderActorLoss"):
        finish_metrics({"actor/pg_loss": 0.1})


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("loss_mode", ["holder", "vanilla", "gspo"])
def test_responses_that_are_not_finite_are_counted_for_every_loss(loss_mode, splits):
    call = hook(loss_mode=loss_mode)
    assert collect(call, splits, p=2.0, empty=(2,))["holder/nonfinite_frac"] == 0.0
    finished = collect(call, splits, p=2.0, empty=(2,), broken=(2, 3, 6))
    # Row 2 is padding, whatever stands in it.
    assert finished["holder/nonfinite_frac"] == pytest.approx(2 / 7)
    assert math.isnan(finished["holder/log_ratio_min"])
    assert math.isnan(finished["holder/log_ratio_max"])


def test_a_loss_that_is_broken_as_a_whole_counts_all_its_responses():
    call = hook()
    outputs, data, _, _ = micro_batch(torch.arange(NUM_ROWS), p=2.0, empty=(2,))
    entropy = outputs["log_probs"].detach().clone()
    entropy.values().fill_(torch.nan)
    loss, metrics = call({**outputs, "entropy": entropy}, data)
    assert math.isnan(loss)
    assert metrics["holder/nonfinite_frac"].aggregate() == pytest.approx(7 / 8)


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


def test_weights_that_vary_along_a_response_are_refused():
    output, data, _, mask = micro_batch(torch.arange(NUM_ROWS), p=1.0)
    even = torch.rand(NUM_ROWS, 1).expand(-1, RESPONSE)
    data["rollout_is_weights"] = jagged(even * mask)
    hook()(output, data)
    data["rollout_is_weights"] = jagged(torch.rand(NUM_ROWS, RESPONSE))
    with pytest.raises(ValueError, match=r"rollout_correction.rollout_is: they vary"):
        hook()(output, data)


def test_advantages_that_a_kernel_found_to_vary_are_refused(monkeypatch):
    """The plain passes look at them before; a kernel leaves it to whoever reads its totals."""
    output, data, _, _ = micro_batch(torch.arange(NUM_ROWS), p=1.0)
    plain = policy_loss.clipped_surrogate

    def flagged(*arguments, **settings):
        new, old, advantages, response_mask = arguments
        even = advantages[:, :1].expand_as(advantages)
        surrogate = plain(new, old, even, response_mask, **settings)
        totals = surrogate.statistics.totals.clone()
        totals[TOTALS.index("num_uneven")] = (advantages != even).any(-1).sum()
        return surrogate._replace(statistics=surrogate.statistics._replace(totals=totals))

    monkeypatch.setattr(policy_loss, "clipped_surrogate", flagged)
    hook()(output, data)
    data["advantages"] = jagged(torch.rand(NUM_ROWS, RESPONSE))
    with pytest.raises(ValueError, match="advantages: they vary along a response"):
        hook()(output, data)


@pytest.mark.gpu
@pytest.mark.parametrize("p", [2.0, OrderBySign(UniformOrder(1.0), UniformOrder(-1.0))], ids=str)
def test_all_metrics_cost_one_wait_for_the_gpu(p):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    output, data, _, _ = micro_batch(torch.arange(NUM_ROWS), p=p)
    output, data = {"log_probs": output["log_probs"].cuda()}, data.to("cuda")
    loss = hook()
    loss(output, data)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            loss(output, data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [Path(each.filename).name for each in found if "synchroniz" in str(each.message)]
    ours = Counter(
        name for name in waits if not name.startswith(("padding", "functional", "utils"))
    )
    # verl waits where it fills up the rows, and for its pg_loss (utils.py).
    assert ours == {"actor_hook.py": 1}
