"""The order of a round: one number, one per sign, or one per response."""

import math
import pickle

import pytest
import torch

from holderpo.control.order import (
    ClipAwareOrder,
    OrderBySign,
    UniformOrder,
    order_numbers,
    order_range,
)
from holderpo.diagnostics import describe_rows
from holderpo.objective import clipped_surrogate
from tests.holderpo.samples import gaussian

CLIP = {"clip_low": 0.2, "clip_high": 0.2}


def for_rows(order, log_ratio, mask=None, advantage=None, **clip):
    mask = torch.ones_like(log_ratio) if mask is None else mask
    advantage = torch.ones(len(log_ratio)) if advantage is None else advantage
    return order.for_rows(log_ratio, mask, advantage, **(clip or CLIP))


@pytest.mark.parametrize(
    "order",
    [UniformOrder(2.0), OrderBySign(UniformOrder(-2.0), ClipAwareOrder(0.3)), ClipAwareOrder(0.1)],
)
def test_orders_travel_between_processes(order):
    assert pickle.loads(pickle.dumps(order)) == order
    with pytest.raises(AttributeError):
        order.p = 1.0


def test_the_sign_of_the_advantage_chooses():
    log_ratio = gaussian(3, 5).float()
    order = OrderBySign(UniformOrder(-2.0), UniformOrder(3.0))
    p = for_rows(order, log_ratio, advantage=torch.tensor([1.5, -0.1, 0.0]))
    assert p.tolist() == [-2.0, 3.0, -2.0]
    assert p.dtype == torch.float32


def test_equal_sides_are_one_number():
    assert for_rows(OrderBySign(UniformOrder(2.0), UniformOrder(2.0)), gaussian(3, 5)) == 2.0


def test_half_precision_gets_orders_of_the_dtype_of_the_loss():
    log_ratio = gaussian(3, 5).bfloat16()
    for order in (OrderBySign(UniformOrder(-1.7), UniformOrder(1.3)), ClipAwareOrder(0.5)):
        assert for_rows(order, log_ratio).dtype == torch.float32


def test_a_side_may_have_an_order_for_each_response():
    log_ratio = gaussian(4, 12, spread=0.3)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    inner = ClipAwareOrder(0.5)
    p = for_rows(OrderBySign(UniformOrder(-2.0), inner), log_ratio, advantage=advantage)
    own = for_rows(inner, log_ratio)
    torch.testing.assert_close(p, torch.where(advantage > 0, -2.0, own))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 3.0), (-4.0, -1.0), (-2.0, 0.0)])
def test_clip_aware_order_reaches_its_target_concentration(low, high):
    log_ratio = gaussian(400, 40, seed=1) * torch.linspace(0.02, 1.2, 400).double().unsqueeze(-1)
    clip_frac_max = 0.4
    p = for_rows(ClipAwareOrder(clip_frac_max, low, high), log_ratio)
    assert ((p >= low) & (p <= high)).all()

    mask = torch.ones_like(log_ratio)
    ratio = log_ratio.exp()
    share = ((ratio < 0.8) | (ratio > 1.2)).double().mean(-1) / clip_frac_max
    at_low, at_high = (describe_rows(log_ratio, mask, q).ess_frac for q in (low, high))
    target = at_high + share.clamp(max=1) * (at_low - at_high)
    torch.testing.assert_close(
        describe_rows(log_ratio, mask, p).ess_frac, target, atol=1e-7, rtol=0
    )
    assert (p[share == 0] == high).all()
    assert (p[share >= 1] == low).all()
    assert min((share == 0).sum(), (share >= 1).sum(), ((share > 0) & (share < 1)).sum()) > 20


def test_clip_aware_order_uses_both_ends_of_the_clip_range():
    log_ratio = torch.tensor([[0.0, 0.0, 0.0, 0.15], [0.0, 0.0, 0.0, -0.15]], dtype=torch.float64)
    order = ClipAwareOrder(0.25)
    assert for_rows(order, log_ratio, clip_low=0.2, clip_high=0.1).tolist() == [0.0, 1.0]
    assert for_rows(order, log_ratio, clip_low=0.1, clip_high=0.2).tolist() == [1.0, 0.0]


def test_more_clipping_lowers_the_order():
    row = gaussian(1, 50, seed=2, spread=0.2)
    p = [
        for_rows(ClipAwareOrder(0.9), row, clip_low=c, clip_high=c).item() for c in (0.5, 0.2, 0.1)
    ]
    assert p[0] > p[1] > p[2] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_rows_have_the_high_order(dtype):
    log_ratio = torch.tensor(
        [[0.5] * 4, [0.0] * 4, [3.0, math.nan, -math.inf, math.nan], [math.nan] * 4], dtype=dtype
    )
    mask = torch.tensor([[1] * 4, [1] * 4, [1, 0, 0, 0], [0] * 4])
    assert for_rows(ClipAwareOrder(0.1), log_ratio, mask).tolist() == [1.0] * 4


def test_padding_does_not_matter():
    log_ratio = gaussian(30, 20, seed=3, spread=0.4)
    padded = torch.cat([log_ratio, torch.full((30, 7), math.nan)], dim=1)
    mask = torch.cat([torch.ones(30, 20), torch.zeros(30, 7)], dim=1)
    order = ClipAwareOrder(0.5)
    torch.testing.assert_close(for_rows(order, padded, mask), for_rows(order, log_ratio))


def test_broken_and_extreme_log_ratios_still_give_an_order_within_the_range():
    log_ratio = torch.tensor(
        [[0.0, math.nan, 1.0], [-math.inf, 0.0, 1.0], [math.inf, 0.0, 0.1], [-900.0, 900.0, 0.0]]
    )
    for order in (ClipAwareOrder(0.9), ClipAwareOrder(0.9, 1.0, 4.0)):
        p = for_rows(order, log_ratio)
        assert ((p >= order.low) & (p <= order.high)).all()


def test_narrow_spreads_are_solved_for_too():
    # 1 - ESS is about 1e-10 here: float32 has nothing of it.
    narrow = gaussian(1, 50, seed=4, spread=1e-5)
    inside = int((narrow.abs() < 1e-5).sum())
    p = for_rows(ClipAwareOrder(1.0), narrow, clip_low=1e-5, clip_high=1e-5).item()
    # ESS is 1 - (p spread)^2, so (p / high)^2 is the share inside.
    assert p == pytest.approx(math.sqrt(inside / 50), abs=1e-3)


def test_no_gradient_flows_through_an_order():
    log_prob = gaussian(6, 9, spread=0.5).requires_grad_()
    order = OrderBySign(ClipAwareOrder(0.5, -2.0, -1.0), ClipAwareOrder(0.5, 1.0, 2.0))
    mask, advantage = torch.ones(6, 9), torch.tensor([1.0, -1.0] * 3).double()
    p = order.for_rows(log_prob, mask, advantage, **CLIP)
    assert not p.requires_grad
    loss = clipped_surrogate(
        log_prob, torch.zeros(6, 9).double(), advantage, mask, p=p, **CLIP
    ).loss
    loss.sum().backward()
    assert log_prob.grad.isfinite().all()


class MyOrder:
    """A user's; it declares what its attributes say."""

    def __init__(self, **declared):
        vars(self).update(declared)


@pytest.mark.parametrize(
    ("order", "positive", "negative"),
    [
        (UniformOrder(2.0), (2.0, 2.0), (2.0, 2.0)),
        (ClipAwareOrder(0.3, -2.0, -1.0), (-2.0, -1.0), (-2.0, -1.0)),
        (OrderBySign(UniformOrder(-1.0), ClipAwareOrder(0.3)), (-1.0, -1.0), (0.0, 1.0)),
        (MyOrder(low=-3, high=3), (-3.0, 3.0), (-3.0, 3.0)),
        (MyOrder(high=3.5), (-math.inf, 3.5), (-math.inf, 3.5)),
        (MyOrder(), (-math.inf, math.inf), (-math.inf, math.inf)),
        (MyOrder(low="small", high=None), (-math.inf, math.inf), (-math.inf, math.inf)),
    ],
)
def test_an_order_declares_its_range(order, positive, negative):
    assert order_range(order, "positive") == positive
    assert order_range(order, "negative") == negative


def test_orders_that_look_at_no_response_are_numbers():
    class Own(UniformOrder):
        def for_rows(self, *arguments, **clip):
            return 3.0

    class OwnBySign(OrderBySign):
        def for_rows(self, *arguments, **clip):
            return 3.0

    one, two = UniformOrder(1.0), UniformOrder(-2.0)
    assert order_numbers(one) == order_numbers(OrderBySign(one, one)) == 1.0
    assert order_numbers(OrderBySign(one, two)) == (1.0, -2.0)
    nested = OrderBySign(OrderBySign(one, two), two)
    for order in (
        ClipAwareOrder(0.1),
        Own(1.0),
        OwnBySign(one, two),
        OrderBySign(one, Own(1.0)),
        nested,
    ):
        assert order_numbers(order) is None
