"""The power mean against an independent mpmath reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holderpo.power_mean import log_power_mean, log_power_mean_of_ratio, token_weights
from tests.holderpo.reference import power_mean

ORDERS = [
    *[-math.inf, -1e39, -1e12, -300.0, -50.0, -4.0, -2.0, -1.0, -0.5, -1e-3, -1e-4, -1e-8],
    *[-1e-42, 0.0],
    *[1e-8, 1e-4, 1e-3, 0.5, 1.0, 2.0, 8.0, 1e4, 1e12, math.inf],
]
# Absolute error over max(|log rho|, RMS of the log-ratios); and over the largest weight.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
DTYPES = list(TOLERANCE)


def rows(dtype):
    generator = torch.Generator().manual_seed(0)
    drawn = [
        scale * torch.randn(size, generator=generator, dtype=torch.float64) + shift
        for scale in (1e-6, 1e-2, 1.0, 20.0)
        for size in (1, 2, 17, 257)
        for shift in (0.0, 3.0)
    ]
    # The same noise for each, so that the reference needs its powers once.
    noise = 1e-3 * torch.randn(4096, generator=generator, dtype=torch.float64)
    seventh = torch.arange(4096) == 7
    outliers = [torch.where(seventh, value, noise) for value in (1.0, 12.0, 80.0, -80.0)]
    extremes = torch.tensor([80.0, -80.0, 0.0], dtype=torch.float64)
    return [row.to(dtype) for row in [*drawn, *outliers, extremes]]


def errors(row, p, dtype):
    """Of the value and of the gradient, in the units of ``TOLERANCE``."""
    # The order as the function sees it, and a row that does not start at the tensor's start.
    p = p if math.isinf(p) else float(torch.tensor(p, dtype=dtype))
    exact, weights = power_mean(row.tolist(), p)
    leaf = torch.stack([torch.zeros_like(row), row]).requires_grad_()
    value = log_power_mean(leaf, torch.ones_like(leaf), p)[1]
    value.backward()
    scale = max(abs(exact), row.double().square().mean().sqrt().item(), 1e-300)
    off = (leaf.grad[1].double() - torch.tensor(weights, dtype=torch.float64)).abs().max()
    return abs(value.item() - exact) / scale, off.item() / max(weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", ORDERS)
def test_value_and_gradient_match_the_reference_for_every_order(p, dtype):
    for row in rows(dtype):
        value_error, gradient_error = errors(row, p, dtype)
        assert value_error <= TOLERANCE[dtype]
        assert gradient_error <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [-2.0, 1e-8, 1.0, 2.0])
def test_long_responses_match_the_reference(p, dtype):
    generator = torch.Generator().manual_seed(0)
    # Every value eight times, so that the reference needs an eighth of the powers.
    row = 0.3 * torch.randn(8192, generator=generator, dtype=torch.float64).repeat(8)
    row[11], row[12] = 80.0, -80.0
    for error in errors(row.to(dtype), p, dtype):
        assert error <= TOLERANCE[dtype]


log_ratios = st.one_of(
    st.floats(-80, 80, width=32, allow_subnormal=False),
    st.sampled_from([0.0, 1e-30, 1e-8, -1e-8, 1e-3, -1e-3, 1.0, -1.0, 80.0, -80.0]),
)
orders = st.one_of(
    st.sampled_from(ORDERS),
    # Another test may have switched subnormal numbers off for the process.
    st.floats(-10, 10, allow_subnormal=False),
    st.floats(-1e-3, 1e-3, allow_subnormal=False),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(log_ratios, min_size=1, max_size=40), orders, st.sampled_from(DTYPES))
def test_adversarial_rows_match_the_reference(values, p, dtype):
    # A denormal order is taken as 0, which is right to every digit.
    p = 0.0 if abs(p) <= torch.finfo(dtype).tiny else p
    value_error, gradient_error = errors(torch.tensor(values, dtype=dtype), p, dtype)
    assert value_error <= TOLERANCE[dtype]
    assert gradient_error <= TOLERANCE[dtype]


def test_gradcheck_for_mixed_orders():
    generator = torch.Generator().manual_seed(1)
    log_ratio = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, 7, generator=generator) > 0.3
    p = torch.tensor([-2.0, -1e-3, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: log_power_mean(x, mask, p), (log_ratio,))


@pytest.mark.parametrize("p", [-1e-4, -1e-7, 0.0, 1e-7, 1e-4])
def test_value_and_gradient_are_smooth_through_zero(p):
    """To second order: log rho = mean + p var / 2, weights = (1 + p deviation) / n."""
    row = torch.randn(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    deviation = row - row.mean()
    leaf = row[None].clone().requires_grad_()
    value = log_power_mean(leaf, torch.ones(1, 9), p)
    value.sum().backward()
    assert value.item() == pytest.approx(
        (row.mean() + p * deviation.square().mean() / 2).item(), abs=p**2 + 1e-15
    )
    torch.testing.assert_close(leaf.grad[0], (1 + p * deviation) / 9, rtol=0, atol=p**2 + 1e-15)


def test_infinite_orders_are_the_extremes_with_shared_weight():
    log_ratio = torch.tensor([[1.0, 3.0, 3.0, -5.0]], requires_grad=True)
    mask = torch.ones(1, 4)
    for p in (math.inf, 1e38):
        assert log_power_mean(log_ratio, mask, p).item() == 3.0
    assert log_power_mean(log_ratio, mask, -math.inf).item() == -5.0
    assert token_weights(log_ratio, mask, math.inf).tolist() == [[0.0, 0.5, 0.5, 0.0]]
    assert token_weights(log_ratio, mask, -math.inf).tolist() == [[0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("p", [-math.inf, -1e9, -2.0, 0.0, 1e-8, 2.0, 1e9, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_padding_is_ignored_and_an_empty_row_is_zero(p, dtype):
    log_ratio = torch.tensor(
        [[0.3, -0.2, math.nan, math.inf], [math.nan, math.inf, -math.inf, 7.0]], dtype=dtype
    ).requires_grad_()
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    value = log_power_mean(log_ratio, mask, p)
    alone = log_power_mean(torch.tensor([[0.3, -0.2]], dtype=dtype), torch.ones(1, 2), p)
    assert value.tolist() == [alone.item(), 0.0]
    (1e3 * value.sum()).backward()
    assert torch.isfinite(log_ratio.grad).all()
    assert (log_ratio.grad[:, 2:] == 0).all()
    assert (log_ratio.grad[1] == 0).all()
    assert log_ratio.grad.dtype == dtype


def test_rows_with_their_own_order_equal_the_rows_alone():
    generator = torch.Generator().manual_seed(2)
    orders = [-math.inf, -1e5, -1.5, 0.0, 1e-8, 2.0, math.inf]
    log_ratio = torch.randn(7, 9, generator=generator, requires_grad=True)
    mask = torch.rand(7, 9, generator=generator) > 0.4
    together = log_power_mean(log_ratio, mask, torch.tensor(orders))
    (gradient,) = torch.autograd.grad(together.sum(), log_ratio)
    for row, p in enumerate(orders):
        leaf = log_ratio[row : row + 1].detach().requires_grad_()
        alone = log_power_mean(leaf, mask[row : row + 1], p)
        alone.backward()
        torch.testing.assert_close(together[row], alone[0], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(gradient[row], leaf.grad[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("p", [-2.0, 0.0, 1.0])
def test_half_precision_is_worked_on_in_float32(p):
    generator = torch.Generator().manual_seed(3)
    new, old = (torch.randn(4, 50, generator=generator).bfloat16() for _ in range(2))
    mask = torch.ones(4, 50)
    value = log_power_mean_of_ratio(new, old, mask, p).log_rho
    assert value.dtype == torch.float32
    assert torch.equal(value, log_power_mean_of_ratio(new.float(), old.float(), mask, p).log_rho)


@pytest.mark.parametrize("num_tokens", [7, 40_000])
def test_blocks_of_rows_are_the_rows(num_tokens):
    """A batch larger than one block of work gives what its rows give."""
    num_rows = 2**17 // num_tokens + 3
    generator = torch.Generator().manual_seed(4)
    new = torch.randn(num_rows, num_tokens, generator=generator, requires_grad=True)
    old = torch.randn(num_rows, num_tokens, generator=generator)
    mask = torch.rand(num_rows, num_tokens, generator=generator) > 0.3
    mask[:, 0] = True
    value, mean, high, low = log_power_mean_of_ratio(new, old, mask, 1.5)
    assert (high == 0).all()
    assert (low == 0).all()
    value.sum().backward()
    log_ratio = (new - old).detach()
    alone = torch.where(mask, 1.5 * log_ratio, -math.inf)
    expected = (alone.logsumexp(-1) - mask.sum(-1).log()) / 1.5
    torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new.grad, alone.softmax(-1), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(mean, (log_ratio * mask).sum(-1) / mask.sum(-1))


def test_nothing_of_the_size_of_the_batch_is_kept_for_the_backward_pass():
    new, old = (torch.zeros(4, 100, requires_grad=True) for _ in range(2))
    mask = torch.ones(4, 100, dtype=torch.bool)
    value = log_power_mean_of_ratio(new, old, mask, 2.0).log_rho
    function = value.grad_fn
    kept = [*function.saved_tensors, *vars(function).values(), *function.order]
    others = [
        values
        for values in kept
        if isinstance(values, torch.Tensor)
        and values.data_ptr() not in {given.data_ptr() for given in (new, old, mask)}
    ]
    assert len(kept) > 3
    assert sum(values.untyped_storage().nbytes() for values in others) <= 4 * 8


@pytest.mark.parametrize("p", [-900.0, -2.0, 2.0, 900.0])
def test_absurd_but_finite_log_ratios_keep_their_weights(p):
    """As where masked-out tokens of the vocabulary are given -1e10."""
    generator = torch.Generator().manual_seed(0)
    for size in (1e6, 1e10):
        row = size * torch.randn(40, 7, generator=generator)
        row[0, 1:] = -0.3
        leaf = row.clone().requires_grad_()
        value = log_power_mean(leaf, torch.ones(40, 7), p)
        value.sum().backward()
        assert torch.isfinite(value).all()
        torch.testing.assert_close(leaf.grad, (p * row.double()).softmax(-1).float())
        torch.testing.assert_close(leaf.grad, token_weights(row, torch.ones(40, 7), p))


@pytest.mark.parametrize(
    ("log_ratio", "mask", "p", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 4), 1.0, "both must be"),
        (torch.zeros(2, 3), torch.ones(2, 3), math.nan, "NaN"),
        (torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0.0, math.nan]), "NaN"),
        (torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(3), "one number or"),
        (torch.zeros(2, 0), torch.ones(2, 0), 1.0, "T is 0"),
    ],
)
def test_bad_input_names_the_argument(log_ratio, mask, p, message):
    with pytest.raises(ValueError, match=message):
        log_power_mean(log_ratio, mask, p)
