"""The paper's lemmas and theorems as statements about this project's functions.

docs/theory.md has the algebra. Rows are log-ratios of one response; curves are taken over orders.
"""

import math
import re
from pathlib import Path

import pytest
import torch

from holderpo.objective import CLIP_LEVELS, SEQUENCE, TOKEN, TOKEN_THEN_SEQUENCE, clipped_surrogate
from holderpo.power_mean import log_power_mean, token_weights
from tests.holderpo.samples import gaussian

CLIP = {"clip_low": 0.2, "clip_high": 0.2}
UNCLIPPED = {"clip_low": 1 - 1e-9, "clip_high": 1e9}
# -6 to 6 in steps of 0.1, with an exact 0 in the middle.
ORDERS = torch.arange(-60, 61, dtype=torch.float64) / 10
ZERO = 60
STEP = 1e-4  # of central differences; their error is about STEP**2 times a third derivative


def rows():
    """Non-constant rows: two tokens, narrow, wide, skewed, with ties at both ends."""
    return [
        torch.tensor([-0.3, 0.9], dtype=torch.float64),
        gaussian(40, seed=1, spread=0.1),
        gaussian(12, seed=2),
        gaussian(30, seed=3).exp(),
        torch.tensor([-1.0, -1.0, -0.4, 0.1, 0.6, 0.6, 0.6], dtype=torch.float64),
    ]


def curve(row, orders):
    """Log power mean (P,) and weights (P, T) of one row at every order."""
    orders = torch.as_tensor(orders, dtype=torch.float64)
    copies = row.expand(len(orders), -1)
    mask = torch.ones_like(copies)
    return log_power_mean(copies, mask, orders), token_weights(copies, mask, orders)


def entropy(weights):
    return torch.special.entr(weights).sum(-1)


def divergence_from_uniform(weights):
    return math.log(weights.shape[-1]) - entropy(weights)


def mean_under(weights, row):
    return weights @ row


def variance_under(weights, row):
    return (weights * (row - mean_under(weights, row).unsqueeze(-1)).square()).sum(-1)


def log_second_moment(row, orders):
    """``log(rho_p^2 sum_t W_t^2)``: Thm 7 with A = M = 1."""
    log_rho, weights = curve(row, orders)
    return 2 * log_rho + weights.square().sum(-1).log()


def half_slope_of_log_second_moment(row, orders):
    """``KL(W || U) / p^2 + mu(2p) - mu(p)``; orders other than 0."""
    orders = torch.as_tensor(orders, dtype=torch.float64)
    weights, doubled = curve(row, orders)[1], curve(row, 2 * orders)[1]
    change = mean_under(doubled, row) - mean_under(weights, row)
    return divergence_from_uniform(weights) / orders.square() + change


def root(function, low, high):
    """Where an increasing function of one number crosses 0."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def least_noisy_order(row):
    return root(lambda p: half_slope_of_log_second_moment(row, [p]).item(), -1.0, -0.05)


def slope(values_at, orders):
    """Central difference along the orders."""
    return (values_at(orders + STEP) - values_at(orders - STEP)) / (2 * STEP)


def response_gradients(log_ratio, directions, advantages, p, clip_level=SEQUENCE, clip=UNCLIPPED):
    """Ascent direction (B, D) of each response whose token gradients are ``directions`` (B, T, D).

    Log-probabilities are linear in the parameters, of which every response has its own copy.
    """
    parameters = torch.zeros_like(directions[:, 0]).requires_grad_()
    log_prob = log_ratio + torch.einsum("btd,bd->bt", directions, parameters)
    loss = clipped_surrogate(
        log_prob,
        torch.zeros_like(log_ratio),
        advantages,
        torch.ones_like(log_ratio),
        p=p,
        clip_level=clip_level,
        **clip,
    ).loss
    return -torch.autograd.grad(loss.sum(), parameters)[0]


def aligned(log_ratio, signs):
    """Token gradients of norm 1 that all point the same way, up to a sign per response."""
    return signs[:, None, None].expand(*log_ratio.shape, 1)


def random_signs(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(2, (size,), generator=generator).double() - 1


def variance_of_batch_mean(gradients, batch_size):
    """Trace of the covariance of the mean over a batch, measured over disjoint batches."""
    means = gradients.unflatten(0, (-1, batch_size)).mean(1)
    return means.var(0, correction=0).sum()


# Weights: Thm 1, Lemmas 2 and 3, Thm 5.


def test_weight_entropy_peaks_at_order_zero_and_falls_with_the_size_of_the_order():
    for row in rows():
        entropies = entropy(curve(row, ORDERS)[1])
        assert abs(entropies[ZERO] - math.log(len(row))) < 1e-13
        assert (entropies[: ZERO + 1].diff() > 0).all()
        assert (entropies[ZERO:].diff() < 0).all()
    constant = torch.full((9,), 0.7, dtype=torch.float64)
    flat = entropy(curve(constant, ORDERS)[1])
    torch.testing.assert_close(flat, torch.full_like(flat, math.log(9)), rtol=0, atol=1e-13)


def test_entropy_slope_is_minus_p_times_the_weighted_variance():
    for row in rows():
        p = ORDERS.clone().requires_grad_()
        weights = torch.softmax(p[:, None] * row, -1)
        measured = torch.autograd.grad(-(weights * weights.log()).sum(), p)[0]
        expected = -ORDERS * variance_under(curve(row, ORDERS)[1], row)
        torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("sign", "extreme"), [(1, torch.amax), (-1, torch.amin)])
def test_weights_become_uniform_over_the_extreme_tokens(sign, extreme):
    for row in rows():
        at_extreme = (row == extreme(row, -1)).double()
        limit = at_extreme / at_extreme.sum()
        log_rho, weights = curve(row, [sign * 1e3, sign * math.inf])
        assert torch.equal(weights[1], limit)
        assert log_rho[1] == extreme(row, -1)
        torch.testing.assert_close(weights[0], limit, rtol=0, atol=1e-4)


def test_weight_slope_is_the_weight_times_the_centred_log_ratio():
    for row in rows():
        weights = curve(row, ORDERS)[1]
        expected = weights * (row - mean_under(weights, row).unsqueeze(-1))
        measured = slope(lambda p, row=row: curve(row, p)[1], ORDERS)
        torch.testing.assert_close(measured, expected, rtol=0, atol=1e-6)


def test_weighted_mean_log_ratio_rises_by_the_weighted_variance():
    for row in rows():
        weights = curve(row, ORDERS)[1]
        measured = slope(lambda p, row=row: mean_under(curve(row, p)[1], row), ORDERS)
        expected = variance_under(weights, row)
        torch.testing.assert_close(measured, expected, rtol=0, atol=2e-6)
        assert (expected > 0).all()
        assert (mean_under(weights, row).diff() > 0).all()


def test_largest_tokens_gain_weight_with_p_and_share_all_of_it_in_the_end():
    for row in rows():
        largest = row == row.max()
        weights = curve(row, ORDERS)[1][:, largest]
        assert (weights.diff(dim=0) > 0).all()
        assert (weights < 1 / largest.sum()).all()
        far = curve(row, [1e4])[1][0]
        torch.testing.assert_close(
            far[largest], 1 / largest.sum().expand(int(largest.sum())).double()
        )


def test_every_other_token_peaks_where_the_weighted_mean_passes_it():
    row = torch.tensor([-1.0, -0.4, 0.1, 0.6, 1.0, 1.0], dtype=torch.float64)
    orders = torch.arange(-300, 301, dtype=torch.float64) / 10
    weights = curve(row, orders)[1]
    for token in (1, 2, 3):
        peak = root(
            lambda p, token=token: (mean_under(curve(row, [p])[1], row) - row[token]).item(),
            -30,
            30,
        )
        before, after = orders < peak - 0.1, orders > peak + 0.1
        assert (weights[before, token].diff() > 0).all()
        assert (weights[after, token].diff() < 0).all()
        at_peak = curve(row, [peak])[1][0, token]
        assert (weights[before | after, token] < at_peak).all()
        assert weights[-1, token] < 1e-4 * at_peak
    # The mean never reaches the smallest ratio: its weight only falls, over all of R.
    assert (weights[:, 0].diff() < 0).all()


# The mean: derivative in p, the limit p -> 0 (Lemma 1, Thm 4), small spreads.


def test_log_mean_rises_by_the_divergence_over_p_squared():
    orders = torch.cat([ORDERS[:ZERO], ORDERS[ZERO + 1 :]])
    for row in rows():
        measured = slope(lambda p, row=row: curve(row, p)[0], orders)
        expected = divergence_from_uniform(curve(row, orders)[1]) / orders.square()
        torch.testing.assert_close(measured, expected, rtol=0, atol=2e-6)
        at_zero = slope(lambda p, row=row: curve(row, p)[0], torch.zeros(1).double()).item()
        assert at_zero == pytest.approx(row.var(correction=0).item() / 2, abs=1e-6)


def test_the_mean_is_continuous_at_order_zero():
    for row in rows():
        half_variance = row.var(correction=0) / 2
        for p in (1e-3, 1e-6, 1e-9, -1e-9, -1e-6, -1e-3):
            change = curve(row, [p])[0] - row.mean()
            # Next term of the series: p^2 times a third cumulant over 6.
            bound = p**2 * (row - row.mean()).abs().pow(3).mean() + 1e-14
            assert (change - p * half_variance).abs() <= bound


def test_the_gradient_of_a_network_is_continuous_at_order_zero():
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5)
    ).double()
    with torch.no_grad():
        for seed, parameter in enumerate(net.parameters()):
            parameter.copy_(gaussian(*parameter.shape, seed=40 + seed, spread=0.5))
    inputs = gaussian(4, 6, 3)
    actions = torch.randint(5, (4, 6, 1), generator=torch.Generator().manual_seed(34))
    advantages = torch.tensor([1.0, -0.5, -1.5, 2.0], dtype=torch.float64)
    old = gaussian(4, 6, seed=1, spread=0.5)

    def gradient(p):
        log_prob = net(inputs).log_softmax(-1).gather(-1, actions).squeeze(-1)
        moved = log_prob.detach() + old
        mask = torch.ones_like(old)
        loss = clipped_surrogate(log_prob, moved, advantages, mask, p=p, **UNCLIPPED).loss.mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])

    at_zero = gradient(0.0)
    size = at_zero.norm()
    for sign in (1, -1):
        change = {p: (gradient(sign * p) - at_zero).norm() / size for p in (1e-2, 1e-3, 1e-9)}
        assert change[1e-3] > 1e-6, "p matters"
        assert change[1e-2] / change[1e-3] == pytest.approx(10, rel=0.05)
        assert change[1e-9] < 1e-8


@pytest.mark.parametrize("p", [-2.0, -0.5, 1.0, 2.0])
def test_small_spreads_see_mean_and_variance_only(p):
    row = gaussian(50, seed=4).exp()

    def errors(spread):
        log_rho, weights = curve(spread * row, [p])
        mean, variance = spread * row.mean(), spread**2 * row.var(correction=0)
        log_hhi = (50 * weights.square().sum()).log()
        return torch.stack(
            [log_rho[0] - (mean + p * variance / 2), log_hhi - p**2 * variance]
        ).abs()

    # What is left is of third order in the spread.
    torch.testing.assert_close(
        errors(2e-3) / errors(1e-3), torch.full((2,), 8.0, dtype=torch.float64), rtol=0.05, atol=0
    )


# Variance of the gradient: Thm 6 (no clip) and Thm 2 (one clip per response).


def simulated_policy_gradients(p, clip):
    """Independent responses of a softmax policy, each with its own gradient, by autograd."""
    generator = torch.Generator().manual_seed(5)
    size, tokens, features, actions = 8192, 8, 3, 4
    states = gaussian(size, tokens, features, seed=6)
    states /= states.norm(dim=-1, keepdim=True)
    old_parameters = gaussian(actions, features, seed=7)
    new_parameters = old_parameters + gaussian(actions, features, seed=8, spread=0.4)
    old_table = (states @ old_parameters.T).log_softmax(-1)
    chosen = torch.multinomial(
        old_table.exp().flatten(0, 1), 1, replacement=True, generator=generator
    ).view(size, tokens, 1)
    advantages = torch.where((chosen == 0).sum((1, 2)) >= 2, 1.5, -0.5).double()

    copies = new_parameters.expand(size, -1, -1).clone().requires_grad_()
    table = torch.einsum("btf,baf->bta", states, copies).log_softmax(-1)
    log_prob, old = table.gather(-1, chosen).squeeze(-1), old_table.gather(-1, chosen).squeeze(-1)
    mask = torch.ones_like(old)
    loss = clipped_surrogate(log_prob, old, advantages, mask, p=p, **clip).loss.sum()
    gradients = torch.autograd.grad(loss, copies)[0].flatten(1)
    return gradients, advantages, (log_prob - old).detach()


@pytest.mark.parametrize("clip", [UNCLIPPED, CLIP], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("p", [-2.0, 0.0, 1.0, 3.0])
def test_measured_variance_of_a_policy_gradient_is_below_the_bound(p, clip):
    gradients, advantages, log_ratio = simulated_policy_gradients(p, clip)
    rho = log_power_mean(log_ratio, torch.ones_like(log_ratio), p).exp()
    # The gradient of a token is (one-hot - probabilities) x state, with a state of norm 1.
    largest_norm = math.sqrt(2)
    assert (gradients.norm(dim=-1) <= largest_norm * advantages.abs() * rho + 1e-12).all()
    bound = largest_norm**2 / 8 * (advantages * rho).square().mean()
    assert 0 < variance_of_batch_mean(gradients, 8) < bound


@pytest.mark.parametrize("p", [-2.0, 0.0, 2.0])
def test_aligned_token_gradients_attain_the_bound_and_clipping_only_removes(p):
    log_ratio = gaussian(32768, 6, seed=9, spread=0.3)
    advantages = gaussian(32768, seed=10)
    rho = log_power_mean(log_ratio, torch.ones_like(log_ratio), p).exp()
    directions = aligned(log_ratio, random_signs(32768, seed=11))
    bound = (advantages * rho).square().mean() / 8
    free = response_gradients(log_ratio, directions, advantages, p)
    # Measured over 4,096 batches: relative standard error below 3 %.
    assert variance_of_batch_mean(free, 8).item() == pytest.approx(bound.item(), rel=0.12)
    clipped = response_gradients(log_ratio, directions, advantages, p, clip=CLIP)
    removed = clipped.norm(dim=-1) == 0
    assert 0.05 < removed.double().mean() < 0.95
    torch.testing.assert_close(clipped[~removed], free[~removed])
    assert variance_of_batch_mean(clipped, 8) < variance_of_batch_mean(free, 8)


def test_the_variance_bound_rises_with_p_over_all_orders():
    log_ratio, advantages = gaussian(256, 10, seed=12, spread=0.5), gaussian(256, seed=13)
    mask = torch.ones_like(log_ratio)
    orders = [-math.inf, -1e3, -50.0, *ORDERS.tolist(), 50.0, 1e3, math.inf]
    bounds = [
        (advantages * log_power_mean(log_ratio, mask, p).exp()).square().mean() for p in orders
    ]
    assert (torch.stack(bounds).diff() > 0).all()


def test_responses_of_one_group_do_not_average_their_noise_away():
    prompts, group = 1024, 8
    log_ratio = gaussian(prompts * group, 6, seed=14, spread=0.3)
    advantages = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(prompts * group // 2)
    # The prompt decides the direction; what good responses gain, bad ones of the prompt lose.
    signs = random_signs(prompts, seed=15).repeat_interleave(group) * advantages
    gradients = response_gradients(log_ratio, aligned(log_ratio, signs), advantages, -1.0)
    rho = log_power_mean(log_ratio, torch.ones_like(log_ratio), -1.0).exp()
    second_moment = (advantages * rho).square().mean()
    measured = variance_of_batch_mean(gradients, group)
    assert measured > 5 * second_moment / group, "1/B is wrong with B responses of one prompt"
    assert measured < second_moment, "1/B is right with B prompts"


# Annealing: Thm 3.


@pytest.mark.parametrize("outlier", [2.0, 5.0, 20.0, 31.0])
@pytest.mark.parametrize("p_high", [1.0, 2.0])
def test_a_high_order_amplifies_a_rare_token_by_a_power_of_its_ratio(outlier, p_high):
    low, high, num_tokens, p_low = 0.8, 1.25, 1000, -2.0
    ratios = low + (high - low) * torch.rand(
        num_tokens, generator=torch.Generator().manual_seed(16), dtype=torch.float64
    )
    ratios[0] = outlier
    saturation = outlier**p_high / (num_tokens - 1)
    assert saturation < 1
    orders = torch.linspace(p_low, p_high, 41, dtype=torch.float64)
    weight = curve(ratios.log(), orders)[1][:, 0]
    smallest = torch.minimum(low**orders, high**orders)
    constant = smallest / (max(low**p_high, high**p_high) + saturation)
    assert (weight[-1] / weight >= constant * outlier ** (p_high - orders)).all()
    assert constant.min() > 0.2


def test_the_amplification_is_lost_once_the_token_has_saturated():
    ratios = torch.ones(1000, dtype=torch.float64)
    ratios[0] = 1e4
    static, high = curve(ratios.log(), [1.0, 2.0])[1][:, 0]
    # Far from saturation the constant is 1 here; the gain stays below 1 / W(static) = 1.1.
    assert 1.05 < high / static < 1.1
    assert high / static < 1e-3 * 1e4 ** (2.0 - 1.0)


def test_the_last_order_of_a_falling_schedule_has_the_smallest_bound():
    log_ratio, advantages = gaussian(64, 10, seed=17, spread=0.5), gaussian(64, seed=18)
    mask = torch.ones_like(log_ratio)

    def bound(p):
        return (advantages * log_power_mean(log_ratio, mask, p).exp()).square().mean()

    assert all(bound(-2.0) < bound(p) for p in torch.linspace(-1.9, 2, 40).tolist())


# Exact second moment with orthogonal token gradients: Thm 7.


@pytest.mark.parametrize("p", [-math.inf, -3.0, -0.5, 0.0, 1.0, 3.0])
def test_orthogonal_token_gradients_have_the_stated_second_moment(p):
    length, log_ratio = 1.7, gaussian(5, 9, seed=19)
    advantages = torch.tensor([0.5, -1.0, 2.0, -0.1, 1.0], dtype=torch.float64)
    directions = length * torch.linalg.qr(gaussian(5, 9, 9, seed=20))[0]
    squared = response_gradients(log_ratio, directions, advantages, p).square().sum(-1)
    mask = torch.ones_like(log_ratio)
    rho = log_power_mean(log_ratio, mask, p).exp()
    concentration = token_weights(log_ratio, mask, p).square().sum(-1)
    expected = advantages.square() * length**2 * rho.square() * concentration
    torch.testing.assert_close(squared, expected, rtol=1e-12, atol=1e-14)


def test_second_moment_falls_from_plus_infinity_to_zero_and_a_little_further():
    for row in rows():
        falling = log_second_moment(row, [math.inf, 1e3, 50.0, *ORDERS[ZERO:].flip(0).tolist()])
        # At 1e3 and inf it may be the same to every digit.
        assert (falling.diff()[2:] < 0).all()
        assert (falling.diff() <= 1e-12).all()
        at_zero = slope(
            lambda p, row=row: log_second_moment(row, p), torch.zeros(1).double()
        ).item()
        assert at_zero == pytest.approx(row.var(correction=0).item(), abs=1e-5)
        assert log_second_moment(row, [-1e-3]) < log_second_moment(row, [0.0])


def test_slope_of_the_second_moment_is_the_stationarity_condition():
    orders = torch.cat([ORDERS[:ZERO], ORDERS[ZERO + 1 :]])
    for row in rows():
        measured = slope(lambda p, row=row: log_second_moment(row, p), orders)
        expected = 2 * half_slope_of_log_second_moment(row, orders)
        torch.testing.assert_close(measured, expected, rtol=0, atol=5e-6)


def test_concentration_tends_to_one_over_the_number_of_smallest_tokens():
    unique = torch.tensor([-1.0, -0.5, 0.0, 0.4], dtype=torch.float64)
    tied = torch.tensor([-1.0, -1.0, 0.0, 0.4], dtype=torch.float64)
    for row, limit in ((unique, 1.0), (tied, 0.5)):
        concentration = curve(row, [0.0, -2.0, -5.0, -100.0, -math.inf])[1].square().sum(-1)
        assert (concentration[:4].diff() > 0).all()
        assert concentration[3].item() == pytest.approx(limit, abs=1e-12)
        assert concentration[4] == limit


def test_a_finite_order_below_zero_is_least_noisy_for_moderate_spreads():
    for row in (gaussian(200, seed=21, spread=0.1), gaussian(200, seed=22, spread=0.5)):
        num_smallest = (row == row.min()).sum()
        assert row.mean() - row.min() < 0.5 * math.log(len(row) / num_smallest)
        best = least_noisy_order(row)
        assert -1 < best < 0
        assert half_slope_of_log_second_moment(row, [best]).abs() < 1e-10
        others = [-math.inf, -1e3, -100.0, -30.0, *ORDERS.tolist(), best - 1e-3, best + 1e-3]
        assert (log_second_moment(row, others) > log_second_moment(row, [best])).all()


def test_wide_spreads_have_no_finite_least_noisy_order():
    two_tokens = torch.tensor([-5.0, 5.0], dtype=torch.float64)
    noise = log_second_moment(two_tokens, [-math.inf, -1e3, -50.0, *ORDERS.tolist()])
    assert (noise.diff() > 0).all()
    many = gaussian(1000, seed=23, spread=2.0)
    finite = log_second_moment(many, [-1e3, -50.0, *ORDERS.tolist()])
    assert log_second_moment(many, [-math.inf]) < finite.min()
    # The last approach to -inf is always downhill.
    for row in rows():
        assert half_slope_of_log_second_moment(row, [-1e3]) > 0


def test_near_gaussian_ratios_are_least_noisy_at_minus_one_half():
    num_tokens, spread = 4096, 0.1
    row = gaussian(num_tokens, seed=24, spread=spread)
    # Skewness of a Gaussian sample: 5 standard errors. It moves p* by 5/24 of it times the spread.
    skewness = 5 * math.sqrt(6 / num_tokens)
    assert least_noisy_order(row) == pytest.approx(-0.5, abs=5 / 24 * skewness * spread + 1e-3)

    at = dict(zip((-2, -1, 0, 1, 2), log_second_moment(row, [-2, -1, 0, 1, 2]), strict=True))
    variance = spread**2
    assert abs(at[-1] - at[0]) < 2 / 3 * skewness * spread * variance + 10 * variance**2
    assert abs(at[-2] - at[1]) < 8 * skewness * spread * variance + 10 * variance**2
    assert at[1] - at[0] == pytest.approx(2 * variance, rel=0.1)
    assert at[2] - at[0] == pytest.approx(6 * variance, rel=0.1)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_skewness_moves_the_least_noisy_order(side):
    uniform = torch.rand(4096, generator=torch.Generator().manual_seed(25), dtype=torch.float64)
    row = side * 0.02 * -uniform.log()
    centred = row - row.mean()
    shift = 5 / 24 * centred.pow(3).mean() / centred.square().mean()
    assert abs(shift) > 5e-3
    assert least_noisy_order(row) == pytest.approx(-0.5 - shift.item(), abs=1e-3)


def test_bound_and_second_moment_disagree_below_minus_one():
    row = gaussian(4096, seed=26, spread=0.1)
    bound = 2 * curve(row, [-2.0, -1.0])[0]
    exact = log_second_moment(row, [-2.0, -1.0])
    assert bound[0] < bound[1], "the bound prefers -2"
    assert exact[0] > exact[1], "the gradient is noisier at -2"


# Clip levels.


def test_token_clipping_lowers_the_gradient_as_p_rises_where_one_clip_raises_it():
    ratios = torch.tensor([[0.95] * 7 + [1.6]], dtype=torch.float64)
    log_ratio, advantages = ratios.log(), torch.ones(1, dtype=torch.float64)
    directions = aligned(log_ratio, advantages)
    orders = torch.arange(-40, 41, 5).double() / 10

    def norms(level):
        return torch.stack(
            [
                response_gradients(log_ratio, directions, advantages, p, level, CLIP).norm()
                for p in orders
            ]
        )

    torch.testing.assert_close(norms(SEQUENCE), curve(log_ratio[0], orders)[0].exp())
    assert (norms(SEQUENCE).diff() > 0).all()
    assert (norms(TOKEN).diff() < 0).all()
    far = response_gradients(log_ratio, directions, advantages, 300.0, TOKEN, CLIP)
    assert far.norm() < 1e-12, "all weight is on the token that is held"


@pytest.mark.parametrize("p", [-4.0, -1.0, 0.0])
def test_token_clipping_breaks_the_bound_in_rho_but_not_the_one_in_the_clipped_mean(p):
    log_ratio = torch.tensor([[0.1, 1.0]], dtype=torch.float64).log()
    advantages = -torch.ones(1, dtype=torch.float64)
    directions = aligned(log_ratio, advantages)
    norm = response_gradients(log_ratio, directions, advantages, p, TOKEN, CLIP).norm()
    mask = torch.ones_like(log_ratio)
    rho = log_power_mean(log_ratio, mask, p).exp()
    held = clipped_surrogate(
        log_ratio, torch.zeros_like(mask), advantages, mask, p=p, clip_level=TOKEN, **CLIP
    ).statistics.log_rho.exp()
    assert norm > 1.3 * rho
    assert norm <= held
    assert response_gradients(log_ratio, directions, advantages, p, SEQUENCE, CLIP).norm() == 0


def test_the_bound_in_the_clipped_mean_holds_for_random_rows_and_rises_with_p():
    log_ratio, advantages = gaussian(512, 7, seed=27), gaussian(512, seed=28)
    directions = aligned(log_ratio, torch.ones(512, dtype=torch.float64))
    mask, zeros = torch.ones_like(log_ratio), torch.zeros_like(log_ratio)
    bounds = []
    for p in (-4.0, -1.0, 0.0, 1.0, 2.0, 4.0):
        gradients = response_gradients(log_ratio, directions, advantages, p, TOKEN, CLIP)
        held = clipped_surrogate(
            log_ratio, zeros, advantages, mask, p=p, clip_level=TOKEN, **CLIP
        ).statistics.log_rho.exp()
        bounds.append((advantages * held).square())
        assert (gradients.square().sum(-1) <= bounds[-1] * (1 + 1e-12)).all()
        above = gradients.norm(dim=-1) > advantages.abs() * (
            log_power_mean(log_ratio, mask, p).exp() * (1 + 1e-12)
        )
        assert above.any() == (p < 1), "the bound in rho fails below order 1 only"
        assert not above[advantages > 0].any()
    assert (torch.stack(bounds).mean(-1).diff() > 0).all()


@pytest.mark.parametrize("clip_level", CLIP_LEVELS)
def test_ratio_one_makes_every_order_the_same(clip_level):
    log_prob, advantages = -gaussian(20, 7, seed=29).abs(), gaussian(20, seed=30)
    mask = torch.rand(20, 7, generator=torch.Generator().manual_seed(31)) > 0.3
    mask[:, 0] = True
    expected = -(advantages / mask.sum(-1))[:, None] * mask
    for p in (-math.inf, -2.0, -1e-8, 0.0, 1.0, 3.0, math.inf):
        leaf = log_prob.clone().requires_grad_()
        clipped_surrogate(
            leaf, log_prob, advantages, mask, p=p, clip_level=clip_level, **CLIP
        ).loss.sum().backward()
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-14, atol=0)


def gspo(log_ratio, advantages):
    rho = log_ratio.mean(-1).exp()
    return -torch.minimum(rho * advantages, rho.clamp(0.8, 1.2) * advantages)


def grpo(log_ratio, advantages):
    ratio, advantage = log_ratio.exp(), advantages[:, None]
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean(-1)


def gmpo(log_ratio, advantages):
    ratio, sign = log_ratio.exp(), advantages.sign()[:, None]
    pessimistic = torch.minimum(ratio * sign, ratio.clamp(0.8, 1.2) * sign).abs()
    return -pessimistic.prod(-1).pow(1 / ratio.shape[-1]) * advantages


def clip_once_on_the_mean_ratio(log_ratio, advantages):
    rho = log_ratio.exp().mean(-1)
    return -torch.minimum(rho * advantages, rho.clamp(0.8, 1.2) * advantages)


def gspo_on_held_ratios(log_ratio, advantages):
    return gspo(log_ratio.clamp(-math.log(1.2), math.log(1.2)), advantages)


@pytest.mark.parametrize(
    ("clip_level", "p", "known"),
    [
        (SEQUENCE, 0.0, gspo),
        (SEQUENCE, 1.0, clip_once_on_the_mean_ratio),
        (TOKEN, 1.0, grpo),
        (TOKEN, 0.0, gmpo),
        (TOKEN_THEN_SEQUENCE, 0.0, gspo_on_held_ratios),
    ],
)
def test_special_cases_are_known_objectives_in_value_and_gradient(clip_level, p, known):
    log_prob, advantages = gaussian(60, 9, seed=32, spread=0.4), gaussian(60, seed=33)
    leaf, other = log_prob.clone().requires_grad_(), log_prob.clone().requires_grad_()
    zeros, mask = torch.zeros_like(log_prob), torch.ones_like(log_prob)
    loss = clipped_surrogate(leaf, zeros, advantages, mask, p=p, clip_level=clip_level, **CLIP).loss
    expected = known(other, advantages)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-12, atol=1e-14)


def test_order_one_is_grpo_with_token_clipping_only():
    log_prob, advantages = gaussian(60, 9, seed=32, spread=0.4), gaussian(60, seed=33)
    zeros, mask = torch.zeros_like(log_prob), torch.ones_like(log_prob)
    once = clipped_surrogate(log_prob, zeros, advantages, mask, p=1.0, **CLIP).loss
    assert (once - grpo(log_prob, advantages)).abs().max() > 1e-2


def test_the_document_names_every_statement():
    document = Path(__file__).parents[2] / "docs" / "theory.md"
    named = set(re.findall(r"`::(test_\w+)`", document.read_text(encoding="utf-8")))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_the_document_names_every_statement"}
