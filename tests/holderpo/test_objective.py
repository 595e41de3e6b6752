"""The clipped surrogates: against the mpmath reference, clipping by side, extreme inputs."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from holderpo.objective import (
    CLIP_LEVELS,
    MAX_LOG_RHO,
    clipped_surrogate,
    log_space_clip,
    token_bounds,
)
from tests.holderpo.reference import surrogate

CLIP = {"clip_low": 0.2, "clip_high": 0.3}
# Relative error of the loss and of the gradient: a log-ratio of 20 is held to 20 roundings, which
# is then the relative error of the ratio.
TOLERANCE = {torch.float32: 2.5e-7, torch.float64: 1e-15}
LEVELS = pytest.mark.parametrize("level", CLIP_LEVELS)


def batch(num_rows=60, num_tokens=11, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(num_rows, num_tokens, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_rows, num_tokens, generator=generator, dtype=torch.float64)
    mask = torch.rand(num_rows, num_tokens, generator=generator) > 0.3
    mask[:, 0] = True
    advantages = torch.randn(num_rows, generator=generator, dtype=torch.float64)
    return (old + spread * noise).requires_grad_(), old, advantages, mask


def check_against_reference(new, old, advantage, p, level, dual_clip, dtype, clip):
    """Compare one response; False where it lies too near a kink to be compared.

    There the two sides of a rounding fall on the two sides of a clip.
    """
    new, old = (torch.tensor([values], dtype=dtype) for values in (new, old))
    new.requires_grad_()
    p = p if math.isinf(p) else float(torch.tensor(p, dtype=dtype))
    exact = (new, old)
    if math.isinf(p):
        # Which token is the extreme depends on the last digit: it is judged as rounded.
        exact = (new - old, torch.zeros_like(old))
    expected = surrogate(
        *(values[0].tolist() for values in exact),
        advantage=float(torch.tensor(advantage, dtype=dtype)),
        p=p,
        clip_level=level,
        dual_clip=dual_clip,
        **clip,
    )
    largest = (new - old).abs().max().item()
    tolerance = TOLERANCE[dtype] * max(20.0, largest)
    if expected.kink_distance <= tolerance:
        return False
    loss, statistics = clipped_surrogate(
        new,
        old,
        torch.tensor([advantage], dtype=dtype),
        torch.ones_like(new),
        p=p,
        clip_level=level,
        dual_clip=dual_clip,
        **clip,
    )
    loss.sum().backward()
    assert loss.item() == pytest.approx(expected.loss, rel=tolerance, abs=1e-30)
    gradient = torch.tensor([expected.gradient], dtype=torch.float64)
    off = (new.grad.double() - gradient).abs().max()
    assert off <= tolerance * gradient.abs().max() + 1e-30
    was_zeroed = statistics.clipped_high | statistics.clipped_low | statistics.clipped_dual
    if was_zeroed.item():
        assert level != "token"
        assert (gradient == 0).all()
    is_held = expected.log_rho > MAX_LOG_RHO and not was_zeroed.item()
    assert statistics.saturated.item() == is_held
    return True


log_probs = st.one_of(
    st.floats(-20, 0, width=32, allow_subnormal=False), st.sampled_from([0.0, -1e-3, -0.2, -80.0])
)
orders = st.one_of(
    st.sampled_from([-math.inf, -2.0, -1.0, -1e-8, 0.0, 1e-4, 1.0, 2.0, math.inf]),
    st.floats(-5, 5, allow_subnormal=False),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    tokens=st.lists(st.tuples(log_probs, log_probs), min_size=1, max_size=12),
    advantage=st.sampled_from([-1.5, -1e-3, 0.0, 0.7, 2.0]),
    p=orders,
    level=st.sampled_from(CLIP_LEVELS),
    dual_clip=st.sampled_from([None, 2.0, 30.0]),
    dtype=st.sampled_from(list(TOLERANCE)),
    clip=st.sampled_from(
        [CLIP, log_space_clip(0.4)._asdict(), {"clip_low": 0.05, "clip_high": 0.9}]
    ),
)
def test_adversarial_responses_match_the_reference(
    tokens, advantage, p, level, dual_clip, dtype, clip
):
    p = 0.0 if abs(p) <= torch.finfo(dtype).tiny else p
    assume(dual_clip is None or dual_clip > 1 + clip["clip_high"])
    new, old = zip(*tokens, strict=True)
    assume(check_against_reference(new, old, advantage, p, level, dual_clip, dtype, clip))


@LEVELS
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("p", [-2.0, -1e-4, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_random_responses_match_the_reference(p, sign, level, dtype):
    generator = torch.Generator().manual_seed(0)
    for spread in (0.01, 0.3, 3.0):
        old = -3 * torch.rand(30, generator=generator, dtype=torch.float64)
        new = old + spread * torch.randn(30, generator=generator, dtype=torch.float64)
        assert check_against_reference(
            new.tolist(), old.tolist(), sign, p, level, None, dtype, CLIP
        )


@LEVELS
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gradcheck(level, sign):
    log_prob, old, _, mask = batch(num_rows=6, num_tokens=5)
    p = torch.tensor([-2.0, -1e-3, 0.0, 1e-4, 1.0, 3.0], dtype=torch.float64)
    advantages = torch.full((6,), sign, dtype=torch.float64)

    def loss(x):
        return clipped_surrogate(
            x, old, advantages, mask, p=p, clip_level=level, dual_clip=2.0, **CLIP
        ).loss

    assert torch.autograd.gradcheck(loss, (log_prob,))
    (gradient,) = torch.autograd.grad(loss(log_prob).sum(), log_prob)
    assert (gradient[mask] != 0).any()


@LEVELS
def test_rows_with_their_own_order_equal_the_rows_alone(level):
    log_prob, old, advantages, mask = batch()
    p = torch.linspace(-3, 3, len(advantages), dtype=torch.float64)
    p[5] = math.inf
    whole = clipped_surrogate(log_prob, old, advantages, mask, p=p, clip_level=level, **CLIP).loss
    (gradient,) = torch.autograd.grad(whole.sum(), log_prob)
    for row in range(len(advantages)):
        leaf = log_prob[row : row + 1].detach().requires_grad_()
        arguments = (value[row : row + 1] for value in (old, advantages, mask))
        alone = clipped_surrogate(leaf, *arguments, p=p[row].item(), clip_level=level, **CLIP).loss
        alone.backward()
        torch.testing.assert_close(whole[row], alone[0], rtol=1e-13, atol=0)
        torch.testing.assert_close(gradient[row], leaf.grad[0], rtol=1e-12, atol=0)


def test_clip_is_reported_by_side():
    """Four responses of one token: rising and falling, with either sign of the advantage."""
    log_prob = torch.tensor([[0.5], [0.5], [-0.5], [-0.5]], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    arguments = (log_prob, torch.zeros(4, 1), advantages, torch.ones(4, 1))
    loss, statistics = clipped_surrogate(*arguments, p=1.0, dual_clip=1.5, **CLIP)
    assert statistics.clipped_high.tolist() == [True, False, False, False]
    assert statistics.clipped_dual.tolist() == [False, True, False, False]
    assert statistics.clipped_low.tolist() == [False, False, False, True]
    assert loss.tolist() == pytest.approx([-1.3, 1.5, -math.exp(-0.5), 0.8])
    loss.sum().backward()
    assert (log_prob.grad[:, 0] != 0).tolist() == [False, False, True, False]


def test_token_clip_holds_single_tokens_and_the_rest_keep_their_weight():
    log_prob = torch.tensor([[1.0, 0.1, -1.0]] * 2, requires_grad=True)
    advantages = torch.tensor([1.0, -1.0])
    loss, _ = clipped_surrogate(
        log_prob, torch.zeros(2, 3), advantages, torch.ones(2, 3), p=1.0, clip_level="token", **CLIP
    )
    rising = (1.3 + math.exp(0.1) + math.exp(-1.0)) / 3
    falling = (math.exp(1.0) + math.exp(0.1) + 0.8) / 3
    assert loss.tolist() == pytest.approx([-rising, falling])
    loss.sum().backward()
    third = torch.tensor([math.exp(value) / 3 for value in (1.0, 0.1, -1.0)])
    torch.testing.assert_close(log_prob.grad[0], -third * torch.tensor([0.0, 1.0, 1.0]))
    torch.testing.assert_close(log_prob.grad[1], third * torch.tensor([1.0, 1.0, 0.0]))


def test_token_then_sequence_clips_twice_only_where_the_lower_distance_is_small():
    """Tokens are held at 1 / (1 + clip_high), so the sequence clip binds only above that."""
    log_prob = torch.full((1, 4), -3.0, requires_grad=True)
    arguments = (log_prob, torch.zeros(1, 4), -torch.ones(1), torch.ones(1, 4))
    for clip_low, bound in ((0.2, 1 - 0.2), (0.3, 1 / 1.3)):
        loss, statistics = clipped_surrogate(
            *arguments, p=1.0, clip_level="token_then_sequence", clip_low=clip_low, clip_high=0.3
        )
        assert loss.item() == pytest.approx(bound)
        assert statistics.clipped_low.item() == (bound == 1 - clip_low)


def test_importance_weights_scale_each_response():
    log_prob, old, advantages, mask = batch()
    weights = torch.rand(len(advantages), generator=torch.Generator().manual_seed(1)).double()
    weights.requires_grad_()
    plain = clipped_surrogate(log_prob, old, advantages, mask, p=1.0, **CLIP).loss
    weighted = clipped_surrogate(
        log_prob, old, advantages, mask, p=1.0, sequence_weights=weights, **CLIP
    ).loss
    torch.testing.assert_close(weighted, weights.detach() * plain, rtol=1e-14, atol=0)
    weighted.sum().backward()
    assert weights.grad is None
    mask[1] = False
    broken = torch.where(torch.arange(len(advantages)) == 1, math.nan, weights.detach())
    loss = clipped_surrogate(
        log_prob, old, advantages, mask, p=1.0, sequence_weights=broken, **CLIP
    ).loss
    assert loss[1] == 0
    assert torch.isfinite(loss).all()


def test_clip_range_in_log_space():
    clip = log_space_clip(0.4)
    assert 1 - clip.clip_low == pytest.approx(math.exp(-0.4), rel=1e-15)
    assert 1 + clip.clip_high == pytest.approx(math.exp(0.4), rel=1e-15)
    bounds = token_bounds(torch.tensor([1.0, -1.0]).double(), clip_level="token", **clip._asdict())
    assert bounds.upper.tolist() == pytest.approx([0.4, math.inf], rel=1e-14)
    assert bounds.lower.tolist() == pytest.approx([-math.inf, -0.4], rel=1e-14)
    for bad in (0.0, -1.0, 20.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="log_space_clip"):
            log_space_clip(bad)


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
    assert statistics.clipped_high.tolist() == [True, False]
    assert statistics.saturated.tolist() == [False, True]
    assert loss[1].item() == pytest.approx(math.exp(MAX_LOG_RHO), rel=1e-5)
    assert (log_prob.grad[1] > 0).all(), "a response far too likely is still pushed down"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_low", 0.0),
        ("clip_low", 1.0),
        ("clip_low", math.nan),
        ("clip_high", -0.1),
        ("clip_level", "tokens"),
        ("dual_clip", 1.3),
        ("sequence_weights", torch.ones(3)),
    ],
)
def test_bad_setting_names_the_field(field, value):
    log_prob, old, advantages, mask = batch()
    with pytest.raises(ValueError, match=field):
        clipped_surrogate(log_prob, old, advantages, mask, p=1.0, **{**CLIP, field: value})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"old": (60, 10)}, "old_log_prob: shape"),
        ({"advantages": (59,)}, "advantages: shape"),
        ({"mask": (60, 10)}, "mask"),
    ],
)
def test_bad_shape_names_the_argument(shapes, message):
    names = ("log_prob", "old", "advantages", "mask")
    arguments = dict(zip(names, batch(), strict=True))
    arguments |= {name: torch.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        clipped_surrogate(*arguments.values(), p=1.0, **CLIP)


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


def test_a_users_aggregate_gets_held_ratios_and_clean_padding():
    log_prob = torch.tensor([[1.0, -1.0, math.nan], [0.5, -0.1, 0.2], [math.inf] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    seen = {}

    def plain_mean(log_ratio, mask, p):
        seen["log_ratio"] = log_ratio.detach()
        return (log_ratio * mask).sum(-1) / mask.sum(-1)

    loss, statistics = clipped_surrogate(
        log_prob.requires_grad_(),
        torch.zeros(3, 3),
        torch.tensor([1.0, -1.0, 1.0]),
        mask,
        p=0.0,
        clip_level="token",
        aggregate=plain_mean,
        **CLIP,
    )
    high, low = math.log(1.3), math.log(0.8)
    held = torch.tensor([[high, -1.0, 0.0], [0.5, 0.0, 0.2], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(seen["log_ratio"], held)
    assert low < 0.2
    assert statistics.held_high.tolist() == pytest.approx([1 / 2, 0, 0])
    assert statistics.held_low.tolist() == [0, 0, 0]
    assert statistics.mean_log_ratio.tolist() == pytest.approx([0.0, 0.35, 0.0])
    loss.sum().backward()
    assert loss[2] == 0
    assert torch.isfinite(log_prob.grad).all()
    assert (log_prob.grad[2] == 0).all()


def test_an_aggregate_of_the_wrong_shape_is_refused():
    log_prob, old, advantages, mask = batch()
    with pytest.raises(ValueError, match=r"aggregate: it returned shape \(60, 1\)"):
        clipped_surrogate(
            log_prob,
            old,
            advantages,
            mask,
            p=1.0,
            aggregate=lambda ratio, mask, p: ratio.mean(-1, keepdim=True),
            **CLIP,
        )


def test_advantages_that_are_nan_are_called_so():
    log_prob, old, advantages, mask = batch()
    per_token = advantages[:, None].expand(-1, 11).clone()
    per_token[0] = math.nan
    with pytest.raises(ValueError, match="advantages: NaN"):
        clipped_surrogate(log_prob, old, per_token, mask, p=1.0, **CLIP)
