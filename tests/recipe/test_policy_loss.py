"""The loss behind verl's signature: equal to verl's own, invariant, and refusing the rest."""

import contextlib
import math

import pytest
import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from holderpo.control.order import ClipAwareOrder, OrderBySign, UniformOrder
from holderpo.objective import CLIP_LEVELS, clipped_surrogate
from recipe.holderpo.policy_loss import (
    HolderLossConfig,
    LossCall,
    compute_policy_loss_holder,
    loss_call,
)

SEEDS = [0, 1, 2]


def actor_config(clip_low=0.2, clip_high=0.3, clip_ratio_c=3.0, **policy_loss):
    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=8,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=clip_low,
        clip_ratio_high=clip_high,
        clip_ratio_c=clip_ratio_c,
        policy_loss=HolderLossConfig(**policy_loss),
    )


def rows(num_rows=24, num_tokens=13, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(num_rows, num_tokens, generator=generator, dtype=dtype)
    new = old + torch.randn(num_rows, num_tokens, generator=generator, dtype=dtype)
    lengths = torch.randint(1, num_tokens + 1, (num_rows, 1), generator=generator)
    mask = torch.arange(num_tokens) < lengths
    advantages = torch.randn(num_rows, 1, generator=generator, dtype=dtype) * mask
    return {"log_prob": new, "old_log_prob": old, "advantages": advantages, "response_mask": mask}


def loss_and_gradient(function, data, config, splits=1, dp_size=1, order=None):
    """Value and gradient as verl's engine accumulates them over micro-batches and ranks.

    With an order as under this project's trainer, without one as under verl's own entry point.
    """
    leaf = data["log_prob"].clone().requires_grad_()
    total = 0.0
    config.global_batch_info.update(dp_size=dp_size, global_batch_size=len(leaf))
    config.global_batch_info["batch_num_tokens"] = data["response_mask"].sum()
    for chunk in torch.arange(len(leaf)).chunk(splits):
        part = {name: value[chunk] for name, value in data.items()}
        call = contextlib.nullcontext() if order is None else loss_call(LossCall(order=order))
        with call:
            loss, _ = function(
                **{**part, "log_prob": leaf[chunk]},
                loss_agg_mode="seq-mean-token-mean",
                config=config,
            )
        (loss / dp_size).backward()
        total += loss.item() / dp_size
    return total, leaf.grad


def assert_equal(ours, theirs, relative=1e-7):
    """verl divides by the number of tokens plus 1e-8, hence the tolerance."""
    assert ours[0] == pytest.approx(theirs[0], rel=relative)
    torch.testing.assert_close(ours[1], theirs[1], rtol=relative, atol=1e-12)
    assert (ours[1] != 0).any()
    assert (ours[1] == 0).any(), "nothing was clipped or padded: the test would prove little"


@pytest.mark.parametrize("seed", SEEDS)
def test_sequence_clip_at_order_zero_is_verls_gspo(seed):
    data, config = rows(seed=seed), actor_config(p=0.0)
    ours = loss_and_gradient(compute_policy_loss_holder, data, config)
    theirs = loss_and_gradient(get_policy_loss_fn("gspo"), data, config)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dual_clip", [None, 2.0])
def test_token_clip_at_order_one_is_verls_vanilla(seed, dual_clip):
    data = rows(seed=seed)
    out_of_reach = 1e6
    config = actor_config(
        p=1.0, clip_level="token", dual_clip=dual_clip, clip_ratio_c=dual_clip or out_of_reach
    )
    ours = loss_and_gradient(compute_policy_loss_holder, data, config)
    theirs = loss_and_gradient(get_policy_loss_fn("vanilla"), data, config)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_token_clip_at_order_zero_is_verls_geo_mean_on_one_micro_batch(seed):
    """verl's clip range of `geo_mean` is in log space; `clip_log_ratio` is the same range."""
    data = rows(seed=seed)
    ours = loss_and_gradient(
        compute_policy_loss_holder,
        data,
        actor_config(p=0.0, clip_level="token", clip_log_ratio=0.4),
    )
    theirs = loss_and_gradient(
        get_policy_loss_fn("geo_mean"), data, actor_config(clip_low=0.4, clip_high=0.4)
    )
    assert_equal(ours, theirs)


def test_stock_geo_mean_grows_with_the_number_of_micro_batches_and_ours_does_not():
    data = rows()
    stock = get_policy_loss_fn("geo_mean")
    whole = loss_and_gradient(stock, data, actor_config(clip_low=0.4, clip_high=0.4))
    split = loss_and_gradient(stock, data, actor_config(clip_low=0.4, clip_high=0.4), splits=4)
    torch.testing.assert_close(split[1], 4 * whole[1])

    config = actor_config(p=0.0, clip_level="token", clip_log_ratio=0.4)
    whole = loss_and_gradient(compute_policy_loss_holder, data, config)
    split = loss_and_gradient(compute_policy_loss_holder, data, config, splits=4)
    torch.testing.assert_close(split[1], whole[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("level", CLIP_LEVELS)
@pytest.mark.parametrize("p", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize(("splits", "dp_size"), [(24, 1), (5, 1), (2, 2), (4, 4)])
def test_micro_batches_ranks_padding_rows_and_row_order_change_nothing(p, splits, dp_size, level):
    data, config = rows(), actor_config(p=p, clip_level=level)
    data["response_mask"][3] = False
    data["log_prob"][3] = torch.nan
    whole = loss_and_gradient(compute_policy_loss_holder, data, config)
    parts = loss_and_gradient(compute_policy_loss_holder, data, config, splits, dp_size)
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-12, atol=0)
    assert (whole[1][3] == 0).all()

    order = torch.randperm(len(data["log_prob"]), generator=torch.Generator().manual_seed(1))
    shuffled = {name: value[order] for name, value in data.items()}
    value, gradient = loss_and_gradient(compute_policy_loss_holder, shuffled, config, splits)
    assert value == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(gradient, whole[1][order], rtol=1e-12, atol=0)

    wider = {
        name: torch.nn.functional.pad(value, (2, 3), value=0 if value.dtype == torch.bool else 7)
        for name, value in data.items()
    }
    value, gradient = loss_and_gradient(compute_policy_loss_holder, wider, config, splits)
    assert value == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(gradient[:, 2:-3], whole[1], rtol=1e-12, atol=0)


def test_the_drivers_order_wins_over_the_configured_one():
    data = rows()
    configured = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=2.0))
    handed = loss_and_gradient(
        compute_policy_loss_holder, data, actor_config(p=-1.0), order=UniformOrder(2.0)
    )
    other = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=-1.0))
    assert handed[0] == configured[0]
    assert handed[0] != other[0]


@pytest.mark.parametrize("lost", [None, 2.0, "2.0"])
def test_a_call_that_lost_its_order_does_not_fall_back_on_the_configured_one(lost):
    with (
        loss_call(LossCall(order=lost)),
        pytest.raises(ValueError, match=r"holder_order: .*lost the round's order"),
    ):
        compute_policy_loss_holder(**rows(), config=actor_config(p=1.0))


def test_without_a_configured_order_every_call_must_bring_one():
    data, config = rows(), actor_config(p=None)
    with pytest.raises(ValueError, match=r"policy_loss\.p: null, .*HolderActorLoss"):
        compute_policy_loss_holder(**data, config=config)
    handed = loss_and_gradient(compute_policy_loss_holder, data, config, order=UniformOrder(2.0))
    configured = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=2.0))
    assert handed[0] == configured[0]


def test_an_order_by_sign_is_each_rows_own_order():
    data, config = rows(), actor_config()
    order = OrderBySign(positive=UniformOrder(-2.0), negative=UniformOrder(2.0))
    _, gradient = loss_and_gradient(compute_policy_loss_holder, data, config, order=order)
    leaf = data["log_prob"].clone().requires_grad_()
    advantage = data["advantages"].sum(-1) / data["response_mask"].sum(-1)
    loss, _ = clipped_surrogate(
        leaf,
        data["old_log_prob"],
        advantage,
        data["response_mask"],
        p=torch.where(advantage > 0, -2.0, 2.0),
        clip_low=0.2,
        clip_high=0.3,
    )
    loss.mean().backward()
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-12, atol=1e-15)
    assert (advantage > 0).any()
    assert (advantage < 0).any()


def test_an_order_from_the_ratios_does_not_depend_on_micro_batches():
    data, config = rows(), actor_config()
    order = ClipAwareOrder(clip_frac_max=0.9)
    whole = loss_and_gradient(compute_policy_loss_holder, data, config, order=order)
    parts = loss_and_gradient(compute_policy_loss_holder, data, config, splits=5, order=order)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-12, atol=0)
    call = LossCall(order=order)
    with loss_call(call):
        compute_policy_loss_holder(**data, config=config)
    assert (call.p > 0).any()
    assert (call.p < 1).any()


def test_stock_settings_without_our_dataclass_use_the_default_order():
    data = rows()
    stock = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=8,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=0.2,
        clip_ratio_high=0.3,
    )
    value, _ = loss_and_gradient(compute_policy_loss_holder, data, stock)
    expected, _ = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=1.0))
    assert value == expected


def largest_token(log_ratio, mask, p):
    """A user's own aggregation."""
    return log_ratio.masked_fill(~mask, -torch.inf).amax(-1)


def test_a_users_aggregation_is_one_dotted_name():
    data = rows()
    mine = actor_config(aggregate=f"{__name__}.largest_token")
    value, _ = loss_and_gradient(compute_policy_loss_holder, data, mine)
    infinite, _ = loss_and_gradient(
        compute_policy_loss_holder, data, actor_config(), order=UniformOrder(math.inf)
    )
    assert value == pytest.approx(infinite, rel=1e-12)
    with pytest.raises(ValueError, match=r"policy_loss\.p: 'two'; give a number or null"):
        HolderLossConfig(p="two")
    with pytest.raises(ValueError, match=r"policy_loss\.aggregate.*power_mean"):
        HolderLossConfig(aggregate="powr_mean")


@pytest.mark.parametrize(
    ("unit", "message"),
    [("episode", "needs all its rows in one micro-batch; give 'turn'"), ("token", "give turn$")],
)
def test_a_power_mean_is_over_the_tokens_of_a_turn_and_nothing_else(unit, message):
    assert HolderLossConfig().sequence_unit == "turn"
    with pytest.raises(ValueError, match=rf"policy_loss\.sequence_unit: '{unit}'; .*{message}"):
        HolderLossConfig(sequence_unit=unit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_agg_mode": "token-mean"}, r"loss_agg_mode: 'token-mean'.*seq-mean-token-mean"),
        ({"rollout_is_weights": torch.rand(24, 13)}, r"rollout_is: .*set it to 'sequence' or null"),
    ],
)
def test_settings_that_would_not_be_the_method_are_refused(change, message):
    arguments = {**rows(), "config": actor_config(), **change}
    with pytest.raises(ValueError, match=message):
        compute_policy_loss_holder(**arguments)


def test_data_parallel_without_the_global_batch_size_is_refused():
    config = actor_config()
    config.global_batch_info.update(dp_size=2, global_batch_size=None)
    with pytest.raises(ValueError, match="global_batch_size"):
        compute_policy_loss_holder(**rows(), config=config)


def test_importance_weights_of_sequences_multiply_their_losses():
    data, config = rows(), actor_config(p=0.5)
    weights = torch.rand(24, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weighted = {**data, "rollout_is_weights": weights * data["response_mask"]}
    plain = loss_and_gradient(compute_policy_loss_holder, data, config)
    ours = loss_and_gradient(compute_policy_loss_holder, weighted, config)
    torch.testing.assert_close(ours[1], weights * plain[1], rtol=1e-12, atol=0)


def test_statistics_reach_the_hook():
    call = LossCall(order=UniformOrder(1.5))
    with loss_call(call):
        loss, metrics = compute_policy_loss_holder(**rows(), config=actor_config())
    assert call.p == 1.5
    assert call.rows.log_rho.shape == call.row_losses.shape == (24,)
    assert call.row_losses.mean() == pytest.approx(loss.item())
    share = (call.rows.clipped_high | call.rows.clipped_low).float().mean().item()
    own = call.own_metrics(call.unread().tolist())
    assert own["actor/pg_clipfrac"] == pytest.approx(share)
    # The hook reads them together with its own.
    assert metrics == {}


@pytest.mark.parametrize("dual_clip", [None, 2.0])
@pytest.mark.parametrize("level", CLIP_LEVELS)
def test_metrics_under_verls_names(level, dual_clip):
    data = {**rows(), "response_mask": torch.ones(24, 13, dtype=torch.bool)}
    data["advantages"] = data["advantages"][:, :1].expand(-1, 13)
    config = actor_config(
        clip_level=level, p=1.0, dual_clip=dual_clip, clip_ratio_c=dual_clip or 1e6
    )
    _, ours = compute_policy_loss_holder(**data, config=config)
    _, theirs = get_policy_loss_fn("vanilla")(
        **data, config=config, loss_agg_mode="seq-mean-token-mean"
    )
    assert ours["actor/ppo_kl"] == pytest.approx(theirs["actor/ppo_kl"], rel=1e-6)
    if level == "token":
        for name in ("actor/pg_clipfrac", "actor/pg_clipfrac_lower"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6)
        assert (ours["actor/pg_clipfrac_lower"] > 0) == (dual_clip is not None)
    assert 0 < ours["actor/pg_clipfrac"] < 1
