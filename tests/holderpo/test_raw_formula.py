"""Where raw powers, as in the authors' mathematics code, overflow or lose digits and ours does not.

Their formula, from its description: ``rho = (sum(exp(p * delta) * mask) / (length + 1e-8)) **
(1 / p)`` in float32, without a logarithm and without a bound.
"""

import math

import pytest
import torch

from holderpo.objective import clipped_surrogate
from holderpo.power_mean import log_power_mean
from tests.holderpo.reference import power_mean


def raw_power_mean(log_ratio, mask, p):
    return ((torch.exp(p * log_ratio) * mask).sum(-1) / (mask.sum(-1) + 1e-8)).pow(1 / p)


def raw_loss(log_ratio, mask, advantage, p):
    rho = raw_power_mean(log_ratio, mask, p)
    return torch.maximum(-advantage * rho, -advantage * rho.clamp(0.8, 1.2))


@pytest.mark.parametrize(
    ("p", "log_ratio"),
    # exp(100) overflows; exp(-120) is 0, and 0 to a negative power is inf.
    [(2.0, 50.0), (-2.0, 60.0), (20.0, 5.0)],
)
def test_large_orders_or_ratios_overflow(p, log_ratio):
    row = torch.full((1, 10), log_ratio)
    mask = torch.ones(1, 10)
    assert torch.isinf(raw_power_mean(row, mask, p)).all()
    assert log_power_mean(row, mask, p).item() == pytest.approx(log_ratio, rel=1e-6)

    leaf = row.clone().requires_grad_()
    raw_loss(leaf, mask, torch.tensor([-1.0]), p).sum().backward()
    assert not torch.isfinite(leaf.grad).all()
    leaf = row.clone().requires_grad_()
    ours = clipped_surrogate(
        leaf, torch.zeros(1, 10), -torch.ones(1), mask, p=p, clip_low=0.2, clip_high=0.2
    ).loss
    ours.sum().backward()
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad > 0).all(), "it is still pushed down"


def test_one_token_far_below_the_rest_costs_the_whole_response_its_gradient():
    """At p = -2 a token at -45 gives exp(90): the mean is inf and the ratio 0, with NaN behind."""
    row = torch.zeros(1, 100)
    row[0, 3] = -45.0
    mask = torch.ones(1, 100)
    leaf = row.clone().requires_grad_()
    raw_loss(leaf, mask, torch.tensor([1.0]), -2.0).sum().backward()
    assert not torch.isfinite(leaf.grad).all()
    leaf = row.clone().requires_grad_()
    log_power_mean(leaf, mask, -2.0).sum().backward()
    _, weights = power_mean(row[0].tolist(), -2.0)
    torch.testing.assert_close(leaf.grad[0], torch.tensor(weights), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("p", [1e-3, 1e-4, 1e-5])
def test_small_orders_lose_the_digits_of_the_ratio(p):
    generator = torch.Generator().manual_seed(0)
    row = 0.1 * torch.randn(1, 3000, generator=generator)
    mask = torch.ones(1, 3000)
    exact, _ = power_mean(row[0].tolist(), p)
    raw_error = abs(math.log(raw_power_mean(row, mask, p).item()) - exact)
    our_error = abs(log_power_mean(row, mask, p).item() - exact)
    # The rounding of the mean of the powers, near 1, is magnified by 1 / p.
    assert raw_error > 1e-6
    assert our_error < 1e-8
