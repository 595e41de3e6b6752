"""The clipped surrogate: closed form, gradient, clipping by side, extreme inputs."""

import math

import pytest
import torch

from holderpo.objective import MAX_LOG_RHO, clipped_surrogate
from holderpo.power_mean import log_power_mean, token_weights

CLIP = {"clip_low": 0.2, "clip_high": 0.3}


def batch(num_rows=60, num_tokens=11, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(num_rows, num_tokens, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_rows, num_tokens, generator=generator, dtype=torch.float64)
    mask = torch.rand(num_rows, num_tokens, generator=generator) > 0.3
    mask[:, 0] = True
    advantages = torch.randn(num_rows, generator=generator, dtype=torch.float64)
    return (old + spread * noise).requires_grad_(), old, advantages, mask


@pytest.mark.parametrize("p", [-2.0, 0.0, 1.0, 2.0])
def test_value_and_gradient_are_equations_2_and_16(p):
    log_prob, old, advantages, mask = batch()
    loss, statistics = clipped_surrogate(log_prob, old, advantages, mask, p=p, **CLIP)
    log_ratio = (log_prob - old).detach()
    rho = log_power_mean(log_ratio, mask, p).exp()
    expected = -torch.minimum(rho * advantages, rho.clamp(0.8, 1.3) * advantages)
    torch.testing.assert_close(loss.detach(), expected)

    loss.sum().backward()
    kept = ~((advantages > 0) & (rho > 1.3)) & ~((advantages < 0) & (rho < 0.8))
    weights = token_weights(log_ratio, mask, p)
    closed_form = -(kept * advantages * rho)[:, None] * weights
    torch.testing.assert_close(log_prob.grad, closed_form)
    assert torch.equal(statistics.clipped_high | statistics.clipped_low, ~kept)
    assert 0 < (~kept).sum() < len(kept)


def test_ratio_one_makes_p_inert():
    log_prob, _, advantages, mask = batch()
    gradients = []
    for p in (-3.0, 0.0, 2.0):
        leaf = log_prob.detach().clone().requires_grad_()
        clipped_surrogate(leaf, leaf.detach(), advantages, mask, p=p, **CLIP).loss.sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[1], gradients[2])


def test_row_without_tokens_is_exactly_zero_even_with_an_advantage():
    log_prob, old, advantages, mask = batch()
    mask[2] = False
    with torch.no_grad():
        log_prob[2] = math.nan
    loss, _ = clipped_surrogate(log_prob, old, advantages, mask, p=2.0, **CLIP)
    loss.sum().backward()
    assert loss[2] == 0
    assert (log_prob.grad[2] == 0).all()
    assert torch.isfinite(log_prob.grad).all()


def test_advantage_per_token_must_be_constant_along_the_response():
    log_prob, old, advantages, mask = batch()
    per_token = advantages[:, None] * mask
    one = clipped_surrogate(log_prob, old, advantages, mask, p=1.0, **CLIP).loss
    other = clipped_surrogate(log_prob, old, per_token, mask, p=1.0, **CLIP).loss
    assert torch.equal(one, other)
    per_token[0, 0] += 1
    with pytest.raises(ValueError, match="vary along a response"):
        clipped_surrogate(log_prob, old, per_token, mask, p=1.0, **CLIP)


@pytest.mark.parametrize("p", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_ratios_stay_finite_and_are_counted(p, dtype):
    log_prob = torch.full((2, 4), 300.0, dtype=dtype, requires_grad=True)
    old = torch.zeros(2, 4, dtype=dtype)
    advantages = torch.tensor([1.0, -1.0])
    loss, statistics = clipped_surrogate(log_prob, old, advantages, torch.ones(2, 4), p=p, **CLIP)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(log_prob.grad).all()
    assert torch.isfinite(torch.nn.utils.clip_grad_norm_([log_prob], 1.0))
    assert statistics.saturated.tolist() == [True, True]
    assert loss[1].item() == pytest.approx(math.exp(MAX_LOG_RHO), rel=1e-5)
    assert (log_prob.grad[1] > 0).all(), "a response far too likely is still pushed down"


@pytest.mark.parametrize(
    ("field", "value"),
    [("clip_low", 0.0), ("clip_low", 1.0), ("clip_low", math.nan), ("clip_high", -0.1)],
)
def test_bad_clip_range_names_the_field(field, value):
    log_prob, old, advantages, mask = batch()
    with pytest.raises(ValueError, match=field):
        clipped_surrogate(log_prob, old, advantages, mask, p=1.0, **{**CLIP, field: value})


def test_a_users_aggregate_replaces_the_power_mean():
    log_prob, old, advantages, mask = batch()

    def first_token(log_ratio, mask, p):
        return log_ratio[:, 0]

    loss, statistics = clipped_surrogate(
        log_prob, old, advantages, mask, p=1.0, aggregate=first_token, **CLIP
    )
    assert torch.equal(statistics.log_rho, (log_prob - old)[:, 0].detach())
    loss.sum().backward()
    assert (log_prob.grad[:, 1:] == 0).all()
