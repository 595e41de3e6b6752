"""The power mean against an independent mpmath reference."""

import math

import mpmath
import pytest
import torch

from holderpo.power_mean import log_power_mean, token_weights

ORDERS = [-50.0, -4.0, -2.0, -1.0, -1e-3, -1e-8, 0.0, 1e-8, 1e-4, 1e-3, 0.5, 1.0, 2.0, 8.0, 300.0]


def reference(log_ratios: list[float], p: float) -> tuple[float, list[float]]:
    """Value and weights in 60 digits."""
    with mpmath.workdps(60):
        values = [mpmath.mpf(value) for value in log_ratios]
        if p == 0:
            return float(sum(values) / len(values)), [1 / len(values)] * len(values)
        powers = [mpmath.exp(mpmath.mpf(p) * value) for value in values]
        total = sum(powers)
        value = mpmath.log(total / len(powers)) / mpmath.mpf(p)
        return float(value), [float(power / total) for power in powers]


def rows(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [
        scale * torch.randn(size, generator=generator, dtype=torch.float64) + shift
        for scale in (1e-6, 1e-2, 1.0, 20.0)
        for size in (1, 2, 17, 257)
        for shift in (0.0, 3.0)
    ]
    outlier = torch.zeros(4096, dtype=torch.float64)
    outlier[7] = 1.0
    extremes = torch.tensor([80.0, -80.0, 0.0], dtype=torch.float64)
    return [row.to(dtype) for row in [*drawn, outlier, extremes]]


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("p", ORDERS)
def test_matches_reference_for_every_order(p, dtype, relative):
    for row in rows(dtype):
        value = log_power_mean(row[None], torch.ones(1, len(row)), p).item()
        exact, _ = reference(row.tolist(), float(torch.tensor(p, dtype=dtype)))
        scale = max(abs(exact), row.double().square().mean().sqrt().item())
        assert abs(value - exact) <= relative * scale


@pytest.mark.parametrize("p", [-2.0, -1e-8, 0.0, 1e-4, 1.0, 30.0])
def test_gradient_is_the_token_weights(p):
    for row in rows(torch.float64):
        leaf = row.clone().requires_grad_()
        log_power_mean(leaf[None], torch.ones(1, len(row)), p).sum().backward()
        _, weights = reference(row.tolist(), p)
        torch.testing.assert_close(leaf.grad, torch.tensor(weights, dtype=torch.float64))


def test_gradcheck_for_mixed_orders():
    generator = torch.Generator().manual_seed(1)
    log_ratio = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, 7, generator=generator) > 0.3
    p = torch.tensor([-2.0, -1e-3, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: log_power_mean(x, mask, p), (log_ratio,))


def test_infinite_orders_are_the_extremes_with_shared_weight():
    log_ratio = torch.tensor([[1.0, 3.0, 3.0, -5.0]], requires_grad=True)
    mask = torch.ones(1, 4)
    for p in (math.inf, 1e38):
        assert log_power_mean(log_ratio, mask, p).item() == 3.0
    assert log_power_mean(log_ratio, mask, -math.inf).item() == -5.0
    assert token_weights(log_ratio, mask, math.inf).tolist() == [[0.0, 0.5, 0.5, 0.0]]
    assert token_weights(log_ratio, mask, -math.inf).tolist() == [[0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("p", [-math.inf, -2.0, 0.0, 1e-8, 2.0, math.inf])
def test_padding_is_ignored_and_an_empty_row_is_zero(p):
    log_ratio = torch.tensor(
        [[0.3, -0.2, math.nan, math.inf], [math.nan, math.inf, -math.inf, 7.0]], requires_grad=True
    )
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    value = log_power_mean(log_ratio, mask, p)
    alone = log_power_mean(torch.tensor([[0.3, -0.2]]), torch.ones(1, 2), p)
    assert value.tolist() == [alone.item(), 0.0]
    value.sum().backward()
    assert torch.isfinite(log_ratio.grad).all()
    assert (log_ratio.grad[:, 2:] == 0).all()
    assert (log_ratio.grad[1] == 0).all()


def test_rows_with_their_own_order_equal_the_rows_alone():
    generator = torch.Generator().manual_seed(2)
    log_ratio = torch.randn(4, 9, generator=generator)
    mask = torch.rand(4, 9, generator=generator) > 0.4
    orders = [-math.inf, -1.5, 0.0, 2.0]
    together = log_power_mean(log_ratio, mask, torch.tensor(orders))
    for row, p in enumerate(orders):
        alone = log_power_mean(log_ratio[row : row + 1], mask[row : row + 1], p)
        assert together[row] == alone[0]


@pytest.mark.parametrize(
    ("log_ratio", "mask", "p", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 4), 1.0, "both must be"),
        (torch.zeros(2, 3), torch.ones(2, 3), math.nan, "NaN"),
        (torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(3), "one number or"),
        (torch.zeros(2, 0), torch.ones(2, 0), 1.0, "T is 0"),
    ],
)
def test_bad_input_names_the_argument(log_ratio, mask, p, message):
    with pytest.raises(ValueError, match=message):
        log_power_mean(log_ratio, mask, p)
