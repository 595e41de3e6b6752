"""The statements on the sign-matched order of docs/theory.md, section 9.

A row is the log-ratios of one response; ``u`` is the progress of its tokens, ``sign(A) log r``.
"""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from holderpo.control.order import OrderBySign, UniformOrder
from holderpo.objective import clipped_surrogate
from holderpo.power_mean import log_power_mean, token_weights
from tests.holderpo.samples import gaussian

CLIP = {"clip_low": 0.2, "clip_high": 0.2}
UNCLIPPED = {"clip_low": 1 - 1e-9, "clip_high": 1e9}
SIZES = (0.0, 0.3, 1.0, 2.0, 4.0, 16.0, math.inf)


def batch(spread=0.7):
    """Random log-ratios (B, T) and advantages (B,) of both signs, a few rows without spread."""
    log_ratio, advantages = gaussian(200, 15, seed=1, spread=spread), gaussian(200, seed=2)
    log_ratio[:4] = log_ratio[:4, :1]
    return log_ratio, advantages


def surrogate(log_ratio, advantages, p, clip=UNCLIPPED):
    zeros, mask = torch.zeros_like(log_ratio), torch.ones_like(log_ratio)
    return clipped_surrogate(log_ratio, zeros, advantages, mask, p=p, **clip)


def orders(q, log_ratio, advantages):
    """-q for positive advantages, +q for negative ones, as the actors get it."""
    order = OrderBySign(UniformOrder(-q), UniformOrder(q))
    return order.for_rows(log_ratio, torch.ones_like(log_ratio), advantages, **CLIP)


def J(q, log_ratio, advantages):
    return -surrogate(log_ratio, advantages, orders(q, log_ratio, advantages)).loss


def pull(log_ratio, advantages, p):
    """Gradient of the surrogate to each token's log-ratio, over A: ``rho W``; (B, T)."""
    leaf = log_ratio.clone().requires_grad_()
    (-surrogate(leaf, advantages, p).loss).sum().backward()
    return leaf.grad / advantages.unsqueeze(-1)


def progress(log_ratio, advantages):
    return advantages.sign().unsqueeze(-1) * log_ratio


def soft_minimum(u, q):
    return -torch.logsumexp(-q * u, -1).sub(math.log(u.shape[-1])) / q


def test_log_mean_is_a_soft_minimum_of_the_progress():
    log_ratio, advantages = batch()
    u, mask = progress(log_ratio, advantages), torch.ones_like(log_ratio)
    smaller = u.mean(-1)
    for q in SIZES[1:-1]:
        log_rho = log_power_mean(log_ratio, mask, orders(q, log_ratio, advantages))
        m = advantages.sign() * log_rho
        torch.testing.assert_close(m, soft_minimum(u, q), rtol=1e-12, atol=1e-13)
        least = u.amin(-1)
        assert (m >= least - 1e-12).all()
        assert (m <= torch.minimum(u.mean(-1), least + math.log(15) / q) + 1e-12).all()
        assert (m[4:] < smaller[4:]).all(), "it falls with q"
        smaller = m
        expected = advantages.abs() * advantages.sign() * (advantages.sign() * m).exp()
        torch.testing.assert_close(J(q, log_ratio, advantages), expected)


def test_the_surrogate_falls_with_q_from_gspo_to_the_worst_token():
    log_ratio, advantages = batch()
    values = [J(q, log_ratio, advantages) for q in SIZES]
    torch.testing.assert_close(values[0], advantages * log_ratio.mean(-1).exp())
    worst = (advantages.unsqueeze(-1) * log_ratio.exp()).amin(-1)
    torch.testing.assert_close(values[-1], worst)
    for larger, smaller in pairwise(values):
        assert (smaller <= larger + 1e-12).all()
        assert (smaller[4:] < larger[4:]).all()


def test_it_is_below_the_surrogate_of_order_one_from_q_one_on():
    log_ratio, advantages = batch()
    log_ratio, advantages = log_ratio[4:], advantages[4:]
    good = advantages > 0
    order_one = advantages * log_ratio.exp().mean(-1)
    geometric = advantages * log_ratio.mean(-1).exp()
    assert (geometric <= order_one)[good].all()
    assert (geometric >= order_one)[~good].all()
    for q in (0.0, 0.5, 0.99, 1.0, 1.01, 2.0, 4.0, math.inf):
        below = J(q, log_ratio, advantages) <= order_one + 1e-12
        assert below[good].all()
        assert below[~good].all() if q >= 1 else not below[~good].any()


@pytest.mark.parametrize("q", [1.0, 2.0, 4.0])
def test_it_is_concave_in_the_ratios_and_touches_order_one_where_they_are_one(q):
    log_ratio, advantages = batch()
    other = gaussian(200, 15, seed=3)
    middle = ((log_ratio.exp() + other.exp()) / 2).log()
    ends = (J(q, log_ratio, advantages) + J(q, other, advantages)) / 2
    assert (J(q, middle, advantages) >= ends - 1e-12).all()

    ones = torch.zeros_like(log_ratio)
    torch.testing.assert_close(J(q, ones, advantages), advantages)
    p = orders(q, ones, advantages)
    torch.testing.assert_close(pull(ones, advantages, p), torch.full_like(ones, 1 / 15))
    # The tangent plane there is the surrogate of order 1.
    plane = advantages + (advantages.unsqueeze(-1) / 15 * (log_ratio.exp() - 1)).sum(-1)
    torch.testing.assert_close(plane, advantages * log_ratio.exp().mean(-1))


def test_a_gain_in_the_lower_bound_is_a_gain_in_order_one():
    advantages = gaussian(8, seed=4)
    gains = []
    for seed in range(300):
        # Steps of all sizes towards what the advantages want, or away from it, with noise.
        size = 0.05 * (1 + seed % 10) * (-1) ** (seed // 150)
        drift = size * advantages.unsqueeze(-1) + gaussian(8, 15, seed=seed, spread=size)
        order_one = (advantages * drift.exp().mean(-1) - advantages).sum()
        gain = (J(2.0, drift, advantages) - advantages).sum()
        assert gain <= order_one + 1e-12
        ratio, sign = drift.exp(), advantages.unsqueeze(-1)
        clipped = torch.minimum(ratio * sign, ratio.clamp(0.8, 1.2) * sign).mean(-1)
        assert (clipped - advantages).sum() <= order_one + 1e-12, "token clipping is one as well"
        gains.append(gain.item())
    assert min(gains) < 0 < max(gains)


@pytest.mark.parametrize("q", [0.5, 2.0, 4.0])
def test_small_spreads_are_the_geometric_surrogate_minus_a_variance_penalty(q):
    log_ratio, advantages = batch(spread=1.0)
    advantages = advantages.sign() * (0.5 + advantages.abs())
    errors = []
    for scale in (1e-2, 5e-3):
        row = scale * log_ratio[4:]
        geometric = advantages[4:] * row.mean(-1).exp()
        penalty = q / 2 * advantages[4:].abs() * row.mean(-1).exp() * row.var(-1, correction=0)
        error = (J(q, row, advantages[4:]) - (geometric - penalty)).abs()
        assert (error < 0.3 * penalty).all()
        errors.append(error.mean())
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.1), "the next term is of third order"
    # A static order: a penalty for one sign, a bonus for the other.
    row = 1e-3 * log_ratio[4:]
    geometric = advantages[4:] * row.mean(-1).exp()
    for p in (q, -q):
        static = -surrogate(row, advantages[4:], p).loss - geometric
        assert ((static > 0) == (p * advantages[4:] > 0)).all()
    wide = 20 * log_ratio[4:]
    lag = wide.mean(-1) - soft_minimum(wide, q)
    assert (lag <= wide.mean(-1) - wide.amin(-1)).all()
    assert (lag < q / 2 * wide.var(-1, correction=0)).all()


def test_tokens_ahead_of_the_others_lose_weight_for_both_signs():
    q = 2.0
    ahead = math.log(2) / q
    for sign in (1.0, -1.0):
        advantages = torch.tensor([sign], dtype=torch.float64)
        log_ratio = torch.tensor([[0.0, 0.0, sign * ahead]], dtype=torch.float64)
        weight = pull(log_ratio, advantages, orders(q, log_ratio, advantages))[0]
        assert (weight[2] / weight[0]).item() == pytest.approx(0.5, abs=1e-12)
        for p in (2.0, -2.0):
            static = pull(log_ratio, advantages, p)[0]
            assert (static[2] < static[0]) == (p * sign < 0), "a static order fits one sign only"
    log_ratio, advantages = batch()
    p = orders(q, log_ratio, advantages)
    u = progress(log_ratio, advantages)
    expected = torch.softmax(-q * u, -1)
    torch.testing.assert_close(
        token_weights(log_ratio, torch.ones_like(log_ratio), p), expected, rtol=1e-12, atol=1e-14
    )


def test_order_of_size_one_weighs_tokens_by_the_inverse_ratio_or_the_ratio():
    log_ratio, advantages = batch()
    of_a_fresh_token = 15 * pull(log_ratio, advantages, orders(1.0, log_ratio, advantages))
    ratio, is_good = log_ratio.exp(), advantages > 0
    harmonic = 1 / (1 / ratio).mean(-1, keepdim=True)
    expected = torch.where(is_good[:, None], harmonic.square() / ratio, ratio)
    torch.testing.assert_close(of_a_fresh_token, expected, rtol=1e-12, atol=0)
    # Relative to each other, the tokens of a response weigh 1/r or r.
    shares = of_a_fresh_token / of_a_fresh_token.sum(-1, keepdim=True)
    bare = torch.where(is_good[:, None], 1 / ratio, ratio)
    torch.testing.assert_close(shares, bare / bare.sum(-1, keepdim=True), rtol=1e-12, atol=0)
    sums = (of_a_fresh_token[is_good] / 15).sum(-1)
    torch.testing.assert_close(sums, harmonic[is_good, 0], rtol=1e-12, atol=0)


def flow(log_ratio, advantages, p, num_steps, step_size):
    """Progress along gradient ascent with orthogonal token gradients of norm 1; (steps, B, T)."""
    path = [progress(log_ratio, advantages)]
    for _ in range(num_steps):
        log_ratio = log_ratio + step_size * advantages.unsqueeze(-1) * pull(
            log_ratio, advantages, p
        )
        path.append(progress(log_ratio, advantages))
    return torch.stack(path)


def test_spread_shrinks_along_the_flow_for_both_signs_and_grows_for_a_mismatch():
    log_ratio, advantages = gaussian(20, 10, seed=5, spread=0.4), gaussian(20, seed=6)
    for q in (0.5, 2.0, 4.0):
        p = orders(q, log_ratio, advantages)
        assert (flow(log_ratio, advantages, p, 60, 0.02).var(-1).diff(dim=0) < 0).all()
        # A mismatch runs away in finite time: shorter.
        assert (flow(log_ratio, advantages, -p, 20, 0.005).var(-1).diff(dim=0) > 0).all()
        static = flow(log_ratio, advantages, q, 20, 0.005).var(-1).diff(dim=0)
        assert (static[:, advantages > 0] > 0).all()
        assert (static[:, advantages < 0] < 0).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("q", [1.0, 2.0, 4.0])
def test_one_token_moves_logarithmically(sign, q):
    num_tokens, num_steps, step = 4000, 200, 0.02
    advantages = torch.tensor([sign], dtype=torch.float64)

    def end(p):
        """Where the first token gets to if it alone may move; pull n times as hard: k = 1."""
        log_ratio = torch.zeros(1, num_tokens, dtype=torch.float64)
        for _ in range(num_steps):
            force = num_tokens * pull(log_ratio, advantages, p)[0, 0]
            # Midpoint rule.
            half = log_ratio.clone()
            half[0, 0] += sign * step / 2 * force
            force = num_tokens * pull(half, advantages, p)[0, 0]
            log_ratio[0, 0] += sign * step * force
            if log_ratio[0, 0].abs() > 6:
                return math.inf
        return sign * log_ratio[0, 0].item()

    elapsed = num_steps * step
    assert end(-sign * q) == pytest.approx(math.log1p(q * elapsed) / q, abs=3e-3)
    if sign > 0 and q == 1:
        assert end(1.0) == math.inf, "order 1 diverges at time 1"


def test_the_clip_zeroes_a_subset_that_shrinks_with_q():
    log_ratio, advantages = batch(spread=0.5)
    zeroed = []
    for q in (0.0, 0.5, 1.0, 2.0, 4.0):
        p = orders(q, log_ratio, advantages)
        happened = surrogate(log_ratio, advantages, p, CLIP).statistics
        zeroed.append(happened.clipped_high | happened.clipped_low)
    for more, fewer in pairwise(zeroed):
        assert not (fewer & ~more).any()
    assert zeroed[0].sum() > 2 * zeroed[-1].sum() > 0


def test_a_common_move_is_the_same_for_every_order():
    for sign in (1.0, -1.0):
        advantages = torch.tensor([sign], dtype=torch.float64)
        moved = torch.full((1, 9), 1.3, dtype=torch.float64)
        for q in SIZES:
            p = orders(q, moved, advantages)
            torch.testing.assert_close(J(q, moved, advantages), advantages * math.exp(1.3))
            expected = torch.full_like(moved, math.exp(1.3) / 9)
            torch.testing.assert_close(pull(moved, advantages, p), expected)


def single(log_ratio, num_tokens):
    row = torch.zeros(1, num_tokens, dtype=torch.float64)
    row[0, 0] = log_ratio
    return row


@pytest.mark.parametrize("num_tokens", [5, 18, 400])
@pytest.mark.parametrize("q", [1.0, 2.0, 4.0])
def test_a_single_risen_token_of_a_bad_response_takes_all_the_weight(num_tokens, q):
    advantages = -torch.ones(1, dtype=torch.float64)
    last = 0.0
    for log_ratio in (0.5, 1.0, 2.0, 4.0, 8.0, 12.0):
        row = single(log_ratio, num_tokens)
        rho = log_power_mean(row, torch.ones_like(row), q).exp().item()
        force = num_tokens * pull(row, advantages, q)[0]
        expected = math.exp(q * log_ratio) * rho ** (1 - q)
        assert force[0].item() == pytest.approx(expected, rel=1e-9)
        assert force[0] > last, "without end"
        last = force[0].item()
    assert last == pytest.approx(num_tokens ** ((q - 1) / q) * math.exp(12.0), rel=0.01)
    # At order 1 its share is large too, but the others' pull stays what it was.
    if q > 1:
        assert force[1] < 0.1


@pytest.mark.parametrize("num_tokens", [5, 18, 400])
@pytest.mark.parametrize("q", [1.0, 2.0, 4.0])
def test_a_single_fallen_token_of_a_good_response_has_a_bounded_pull(num_tokens, q):
    advantages = torch.ones(1, dtype=torch.float64)
    n = num_tokens
    where = -math.log(q * (n - 1)) / q
    largest = q * (n - 1) * (n / ((1 + q) * (n - 1))) ** ((1 + q) / q)
    at = {
        shift: n * pull(single(where + shift, n), advantages, -q)[0, 0].item()
        for shift in (-8.0, -1.0, -0.01, 0.0, 0.01, 1.0)
    }
    assert at[0.0] == pytest.approx(largest, rel=1e-9)
    assert max(at.values()) == at[0.0]
    assert at[-8.0] < 0.01 * largest
    if (n, q) == (18, 2.0):
        assert largest == pytest.approx(7.1, abs=0.05)


def test_the_document_names_every_statement():
    document = Path(__file__).parents[3] / "docs" / "theory.md"
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"`test_sign_matched\.py::(test_\w+)`", text))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_the_document_names_every_statement"}
