"""The measured gradient against autograd, against all partitions, and where theory is exact."""

import itertools
import math

import pytest
import torch

from holderpo.bootstrap import mean_over_pairs, resample_counts
from holderpo.gradient.gradient_report import draw_gradient, to_markdown
from holderpo.gradient.measurement import (
    MeasurementSettings,
    TokenGradients,
    measure,
    token_gradients,
)
from holderpo.objective import clipped_surrogate

NUM_GROUPS, GROUP_SIZE = 4, 3
ORDERS = (-2.0, 0.0, 1.5)
SETTINGS = MeasurementSettings(orders=ORDERS, groups_per_mini_batch=2, num_resamples=200)


def case(spread=0.4):
    """A softmax policy over 5 tokens, 12 responses of different lengths, ratios away from 1."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(3, 5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    responses = []
    for length in [4, 6, 1, 5, 7, 2, 3, 3, 8, 4, 5, 2]:
        features = torch.randn(length, 3, generator=generator, dtype=torch.float64)
        tokens = torch.randint(5, (length, 1), generator=generator)
        noise = torch.randn(length, generator=generator, dtype=torch.float64)
        old_log_prob = log_prob_of(model, features, tokens).detach() - spread * noise
        responses.append((features, tokens, old_log_prob))
    advantages = torch.randn(len(responses), generator=generator, dtype=torch.float64)
    groups = torch.arange(NUM_GROUPS).repeat(GROUP_SIZE)
    return model, responses, advantages, groups


def log_prob_of(model, features, tokens):
    return model(features).log_softmax(-1).gather(-1, tokens).squeeze(-1)


def gradients_of(model, responses):
    for *written, old_log_prob in responses:
        log_prob = log_prob_of(model, *written)
        jacobian = token_gradients(log_prob, model.parameters())
        yield TokenGradients(log_prob - old_log_prob, jacobian)


def autograd(model, response, advantage, p, clip_low, clip_high):
    """Gradient of one response's objective, by one backward pass."""
    *written, old_log_prob = response
    log_prob = log_prob_of(model, *written)
    loss, statistics = clipped_surrogate(
        log_prob[None],
        old_log_prob[None],
        advantage[None],
        torch.ones(1, len(log_prob)),
        p=p,
        clip_low=clip_low,
        clip_high=clip_high,
    )
    parts = torch.autograd.grad(-loss.sum(), list(model.parameters()))
    clipped = statistics.clipped_high | statistics.clipped_low
    return torch.cat([part.flatten() for part in parts]), clipped.item()


def variance_over_all_partitions(gradient_GP):
    """Mean over the three ways to make two mini-batches of two groups out of four."""
    variances = []
    for partner in (1, 2, 3):
        rest = [group for group in (1, 2, 3) if group != partner]
        batches = torch.stack([gradient_GP[[0, partner]].mean(0), gradient_GP[rest].mean(0)])
        variances.append(batches.var(0).sum())
    return torch.stack(variances).mean().item()


def test_token_gradients_are_one_backward_pass_a_token():
    model, responses, *_ = case()
    log_prob = log_prob_of(model, *responses[0][:2])
    unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    # The backward passes below need the graph again.
    again = log_prob_of(model, *responses[0][:2])
    jacobian = token_gradients(again, [*model.parameters(), unused])
    for row, value in zip(jacobian, log_prob, strict=True):
        parts = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
        expected = torch.cat([*(part.flatten() for part in parts), torch.zeros(2)])
        torch.testing.assert_close(row, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["unclipped", "clipped"])
def test_variance_is_that_of_autograds_mini_batches_over_all_partitions(kind):
    model, responses, advantages, groups = case()
    clip = (0.999999, 1e9) if kind == "unclipped" else (SETTINGS.clip_low, SETTINGS.clip_high)
    result = measure(gradients_of(model, responses), advantages, groups, SETTINGS)
    for p, order in zip(ORDERS, result.orders, strict=True):
        pairs = zip(responses, advantages, strict=True)
        gradients, clipped = zip(*(autograd(model, *pair, p, *clip) for pair in pairs), strict=True)
        gradient_GP = torch.stack(gradients).view(GROUP_SIZE, NUM_GROUPS, -1).mean(0)
        measured = getattr(order, kind)
        expected = variance_over_all_partitions(gradient_GP)
        assert measured.total.value == pytest.approx(expected, rel=1e-9)
        pairs = itertools.permutations(gradient_GP, 2)
        square_of_mean = torch.stack([one @ other for one, other in pairs]).mean().item()
        relative = expected / square_of_mean if square_of_mean > 0 else math.inf
        assert measured.relative_to_mean.value == pytest.approx(relative, rel=1e-7)
        if kind == "clipped":
            assert 0 < order.clip_frac == pytest.approx(sum(clipped) / len(clipped))
        else:
            second_moment = torch.stack(gradients).square().sum(-1).mean().item()
            assert order.second_moment == pytest.approx(second_moment, rel=1e-9)
            assert order.variance_bound > expected


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_ratio_one_makes_p_inert_and_only_then(spread):
    model, responses, advantages, groups = case(spread)
    result = measure(gradients_of(model, responses), advantages, groups, SETTINGS)
    variances = [order.unclipped.total.value for order in result.orders]
    ess = [order.ess_frac for order in result.orders]
    inert = spread == 0
    assert (variances == pytest.approx([variances[0]] * len(ORDERS), rel=1e-9)) == inert
    assert (ess == pytest.approx([1.0] * len(ORDERS), abs=1e-9)) == inert


def synthetic(jacobian_of, num_tokens=6):
    """Responses whose Jacobian is given, with the log-ratios of `case`."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(NUM_GROUPS * GROUP_SIZE):
        log_ratio = 0.5 * torch.randn(num_tokens, generator=generator, dtype=torch.float64)
        yield TokenGradients(log_ratio, jacobian_of(num_tokens).double())


def test_theorem_7_is_exact_for_orthogonal_token_gradients_of_one_norm():
    _, _, advantages, groups = case()
    result = measure(synthetic(lambda n: 3 * torch.eye(n, 9)), advantages, groups, SETTINGS)
    for order in result.orders:
        assert order.measured_over_predicted.value == pytest.approx(1, rel=1e-12)
        assert order.measured_over_orthogonal.interval == pytest.approx((1, 1), rel=1e-12)
        assert order.second_moment == pytest.approx(order.predicted_second_moment, rel=1e-12)
        assert order.hhi == pytest.approx(1 / 6) if order.p == 0 else order.hhi > 1 / 6
    assert result.directions.mean_absolute == 0
    assert result.directions.square_of_sum_over_sum_of_squares == pytest.approx(1)
    assert (result.mean_square_token_norm, result.largest_token_norm) == pytest.approx((9, 3))


def test_parallel_token_gradients_are_told_from_orthogonal_ones():
    _, _, advantages, groups = case()
    result = measure(synthetic(lambda n: torch.ones(n, 9)), advantages, groups, SETTINGS)
    assert result.directions.quantiles == pytest.approx([1.0] * 5)
    assert result.directions.histogram[-1] == result.directions.num_pairs == 12 * 15
    assert result.directions.square_of_sum_over_sum_of_squares == pytest.approx(6)
    at_zero = next(order for order in result.orders if order.p == 0)
    assert at_zero.measured_over_orthogonal.value == pytest.approx(6)


def test_tokens_without_gradient_have_no_direction():
    _, _, advantages, groups = case()
    jacobian = torch.eye(6, 9)
    jacobian[2] = 0
    result = measure(synthetic(lambda _: jacobian), advantages, groups, SETTINGS)
    assert result.directions.num_pairs == 12 * 10


def test_resamples_centre_on_the_unbiased_value():
    generator = torch.Generator().manual_seed(2)
    gradient_GP = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    gram_GG = gradient_GP @ gradient_GP.T
    values = mean_over_pairs(gram_GG[None], resample_counts(8, 20_000, seed=0))[:, 0]
    without_diagonal = (gram_GG.sum() - gram_GG.trace()) / (8 * 7)
    assert values[0] == pytest.approx(without_diagonal.item(), rel=1e-12)
    standard_error = values[1:].std() / math.sqrt(20_000)
    assert abs(values[1:].mean() - values[0]) < 5 * standard_error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": torch.tensor([0] * 5 + [1] * 7)}, r"groups: sizes \[5, 7\]"),
        ({"groups": torch.zeros(12, dtype=torch.long)}, "at least two"),
        ({"groups": torch.arange(2).repeat(6)}, "groups_per_mini_batch: 3; there are 2"),
        ({"advantages": torch.zeros(12)}, "advantages: all 0"),
        ({"advantages": torch.ones(15), "groups": torch.arange(3).repeat(5)}, "responses: 12"),
        ({"advantages": torch.ones(9), "groups": torch.arange(3).repeat(3)}, "more than 9"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    _, _, advantages, groups = case()
    settings = MeasurementSettings(groups_per_mini_batch=3)
    arguments = {"advantages": advantages, "groups": groups, **change}
    with pytest.raises(ValueError, match=message):
        measure(synthetic(lambda n: torch.eye(n, 9)), settings=settings, **arguments)


@pytest.mark.parametrize("orders", [(), (1.0, 1.0), (math.inf,), (math.nan,)])
def test_orders_that_make_no_table_are_refused(orders):
    with pytest.raises(ValueError, match="orders"):
        MeasurementSettings(orders=orders)


@pytest.mark.parametrize(
    ("advantages", "shown"),
    [
        # The groups' gradients add up to 0.
        ([1.0, -1.0, 1.0, -1.0] * GROUP_SIZE, "| inf ("),
        # All groups have the same gradient.
        ([1.0] * 12, "0 (0 to 0)"),
    ],
)
def test_tables_and_picture_are_written_at_either_end_of_noise(advantages, shown, tmp_path):
    _, _, _, groups = case()
    constant = (TokenGradients(torch.zeros(6), torch.eye(6, 9)) for _ in range(12))
    result = measure(constant, torch.tensor(advantages), groups, SETTINGS)
    tables = to_markdown(result)
    assert "| +1.5 |" in tables
    assert shown in tables
    assert max(len(line) for line in tables.splitlines() if line.startswith("|")) <= 80
    assert all(heading in tables for heading in ("clipped: over squared mean", "Thm 7", "HHI"))
    draw_gradient(result, tmp_path / "gradient.png", title="case")
    assert (tmp_path / "gradient.png").read_bytes().startswith(b"\x89PNG")
