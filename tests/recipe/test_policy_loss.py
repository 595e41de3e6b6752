"""The loss behind verl's signature: equal to verl's own, invariant, and refusing the rest."""

import pytest
import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from recipe.holderpo.policy_loss import (
    HolderLossConfig,
    LossCall,
    compute_policy_loss_holder,
    loss_call,
)


def actor_config(**policy_loss):
    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=8,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=0.2,
        clip_ratio_high=0.3,
        policy_loss=HolderLossConfig(**policy_loss),
    )


def rows(num_rows=24, num_tokens=13, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(num_rows, num_tokens, generator=generator, dtype=dtype)
    new = old + torch.randn(num_rows, num_tokens, generator=generator, dtype=dtype)
    lengths = torch.randint(1, num_tokens + 1, (num_rows, 1), generator=generator)
    mask = torch.arange(num_tokens) < lengths
    advantages = torch.randn(num_rows, 1, generator=generator, dtype=dtype) * mask
    return {"log_prob": new, "old_log_prob": old, "advantages": advantages, "response_mask": mask}


def loss_and_gradient(function, data, config, splits=1, dp_size=1, **call):
    """Value and gradient as verl's engine accumulates them over micro-batches and ranks."""
    leaf = data["log_prob"].clone().requires_grad_()
    total = 0.0
    config.global_batch_info.update(dp_size=dp_size, global_batch_size=len(leaf))
    config.global_batch_info["batch_num_tokens"] = data["response_mask"].sum()
    for chunk in torch.arange(len(leaf)).chunk(splits):
        part = {name: value[chunk] for name, value in data.items()}
        with loss_call(LossCall(**call)):
            loss, _ = function(
                **{**part, "log_prob": leaf[chunk]},
                loss_agg_mode="seq-mean-token-mean",
                config=config,
            )
        (loss / dp_size).backward()
        total += loss.item() / dp_size
    return total, leaf.grad


def test_order_zero_is_verls_gspo():
    data, config = rows(), actor_config(p=0.0)
    ours = loss_and_gradient(compute_policy_loss_holder, data, config)
    theirs = loss_and_gradient(get_policy_loss_fn("gspo"), data, config)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-7)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("p", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize(("splits", "dp_size"), [(24, 1), (5, 1), (2, 2), (4, 4)])
def test_micro_batches_ranks_padding_rows_and_row_order_change_nothing(p, splits, dp_size):
    data, config = rows(), actor_config(p=p)
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


def test_p_from_the_driver_wins_over_the_configured_one():
    data = rows()
    configured = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=2.0))
    handed = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=-1.0), p=2.0)
    other = loss_and_gradient(compute_policy_loss_holder, data, actor_config(p=-1.0))
    assert handed[0] == configured[0]
    assert handed[0] != other[0]


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
        compute_policy_loss_holder, data, actor_config(), p=float("inf")
    )
    assert value == pytest.approx(infinite, rel=1e-12)
    with pytest.raises(ValueError, match=r"policy_loss\.aggregate.*power_mean"):
        HolderLossConfig(aggregate="powr_mean")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_agg_mode": "token-mean"}, r"loss_agg_mode: 'token-mean'.*seq-mean-token-mean"),
        ({"rollout_is_weights": torch.ones(24, 13)}, r"rollout_correction\.rollout_is"),
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


def test_statistics_reach_the_hook():
    call = LossCall(p=1.5)
    with loss_call(call):
        _, metrics = compute_policy_loss_holder(**rows(), config=actor_config())
    assert call.rows.log_rho.shape == (24,)
    assert call.diagnostics.ess_frac.shape == (24,)
    share = (call.rows.clipped_high | call.rows.clipped_low).float().mean().item()
    assert metrics["actor/pg_clipfrac"] == pytest.approx(share)


def test_the_weights_of_a_users_aggregation_are_not_made_up():
    call = LossCall(p=1.5)
    with loss_call(call):
        config = actor_config(aggregate=f"{__name__}.largest_token")
        compute_policy_loss_holder(**rows(), config=config)
    assert call.rows is not None
    assert call.diagnostics is None
