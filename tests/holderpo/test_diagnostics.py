"""Row diagnostics on rows with known answers, and the table of metrics."""

import itertools
import math

import numpy as np
import pytest
import torch

from holderpo.diagnostics import (
    describe_rows,
    nonfinite_rows,
    second_moment,
    token_clip_fractions,
)
from holderpo.metrics import METRICS
from holderpo.objective import token_bounds
from holderpo.power_mean import TokenBounds


def test_known_answers():
    log_ratio = torch.tensor(
        [
            [0.0, 0.0, 0.0, 0.0],
            [math.log(3), 0.0, 9.0, 9.0],
            [5.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 1.0],
        ]
    )
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    rows = describe_rows(log_ratio, mask, 1.0)
    # Weights of the second row: 3/4 and 1/4.
    assert rows.ess_frac.tolist() == pytest.approx([1.0, 1 / (2 * (9 / 16 + 1 / 16)), 1.0, 0.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert rows.weight_entropy_frac.tolist() == pytest.approx([1.0, entropy, 1.0, 0.0])
    assert rows.log_ratio_std.tolist() == pytest.approx([0.0, math.log(3) / 2, 0.0, 0.0])
    assert rows.log_ratio_max.tolist() == pytest.approx([0.0, math.log(3), 5.0, 0.0])
    assert rows.log_ratio_min.tolist() == pytest.approx([0.0, 0.0, 5.0, 0.0])


def test_ess_falls_with_the_magnitude_of_p():
    log_ratio = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 20)
    curve = [describe_rows(log_ratio, mask, p).ess_frac for p in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert (curve[0] == 1).all()
    for larger, smaller in itertools.pairwise(curve):
        assert (smaller < larger).all()


def test_names_are_unique_and_in_the_projects_form():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.count("/") == 1 for name in names)


def test_known_concentration():
    """Weights 3/4 and 1/4 at p = 1; ratio 2, so the second moment is 4 * 5/8."""
    log_ratio = torch.tensor([[math.log(3), 0.0, 9.0], [1.0, 1.0, 1.0]])
    rows = describe_rows(log_ratio, torch.tensor([[1, 1, 0], [0, 0, 0]]), 1.0)
    assert rows.hhi.tolist() == pytest.approx([10 / 16, 0.0])
    assert rows.top_token_share.tolist() == pytest.approx([0.75, 0.0])
    assert rows.second_moment.tolist() == pytest.approx([2.5, 0.0])


@pytest.mark.parametrize("p", [-2.0, -0.5, 0.0, 1.0, 3.0])
def test_ragged_rows_against_numpy(p):
    generator = np.random.default_rng(0)
    mask = generator.random((6, 37)) < 0.7
    log_ratio = np.where(mask, generator.normal(size=(6, 37)), 50.0)
    rows = describe_rows(torch.tensor(log_ratio), torch.tensor(mask), p)
    for index in range(6):
        ratios = log_ratio[index, mask[index]]
        weights = np.exp(p * ratios)
        weights /= weights.sum()
        num_top = math.ceil(len(ratios) / 10)
        rho = np.exp(ratios).prod() ** (1 / len(ratios))
        if p != 0:
            rho = np.mean(np.exp(p * ratios)) ** (1 / p)
        expected = {
            "ess_frac": 1 / (len(ratios) * (weights**2).sum()),
            "hhi": (weights**2).sum(),
            "weight_entropy_frac": -(weights * np.log(weights)).sum() / np.log(len(ratios)),
            "top_token_share": np.sort(weights)[-num_top:].sum(),
            "second_moment": rho**2 * (weights**2).sum(),
            "log_ratio_std": ratios.std(),
            "log_ratio_min": ratios.min(),
            "log_ratio_max": ratios.max(),
            "log_ratio_q05": np.quantile(ratios, 0.05),
            "log_ratio_q95": np.quantile(ratios, 0.95),
        }
        assert set(expected) == set(rows._fields)
        for name, value in expected.items():
            assert getattr(rows, name)[index].item() == pytest.approx(value, rel=1e-10)


def test_weights_are_those_of_the_held_ratios():
    log_ratio = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    bounds = TokenBounds(lower=torch.tensor([-0.5, -0.5]), upper=torch.tensor([0.0, math.inf]))
    rows = describe_rows(log_ratio, torch.ones(2, 2), 1.0, bounds)
    assert rows.ess_frac[0] == 1
    assert rows.ess_frac[1] < 1
    assert rows.log_ratio_max.tolist() == [1.0, 1.0]


def test_token_clip_fractions_count_each_side_on_its_advantage():
    log_ratio = torch.tensor([[1.0, 0.0, -1.0, 5.0]] * 4)
    mask = torch.tensor([[1, 1, 1, 0]] * 3 + [[0, 0, 0, 0]])
    advantages = torch.tensor([1.0, -1.0, 0.0, 1.0])
    bounds = token_bounds(advantages, clip_low=0.2, clip_high=0.2, clip_level="token")
    fractions = token_clip_fractions(log_ratio, mask, bounds)
    assert fractions.high.tolist() == pytest.approx([1 / 3, 0, 0, 0])
    assert fractions.low.tolist() == pytest.approx([0, 1 / 3, 0, 0])


def test_a_saturated_ratio_keeps_the_second_moment_finite():
    rows = describe_rows(torch.full((1, 3), 80.0), torch.ones(1, 3), 2.0)
    assert torch.isfinite(rows.second_moment).all()


@pytest.mark.parametrize("p", [-2.0, 0.0, 0.5, torch.tensor([1.0, -3.0, 0.0, 2.0])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_second_moment_alone_is_the_one_of_the_description(p, dtype):
    log_ratio = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.rand(4, 30, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[3] = False
    log_ratio[0, ~mask[0]] = math.nan
    bounds = TokenBounds(torch.full((4,), -0.5), torch.full((4,), 0.5))
    for within in (None, bounds):
        alone = second_moment(log_ratio, mask, p, within)
        torch.testing.assert_close(alone, describe_rows(log_ratio, mask, p, within).second_moment)
        assert alone[3] == 0


@pytest.mark.parametrize(
    "bounds", [None, TokenBounds(torch.full((4,), -0.5), torch.full((4,), 0.5))]
)
def test_a_nan_among_the_tokens_reaches_every_description_of_its_row(bounds):
    log_ratio = torch.tensor([[0.1, math.nan, 0.3, math.nan]] * 4)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    rows = describe_rows(log_ratio, mask, 2.0, bounds)
    for values in rows:
        assert values.isnan().tolist() == [True, False, False, True]
    assert rows.log_ratio_max[1] == pytest.approx(0.3)


def test_rows_that_are_not_finite_are_found_in_ratios_and_losses():
    log_ratio = torch.zeros(6, 3)
    log_ratio[0, 1], log_ratio[1, 0], log_ratio[2, 2], log_ratio[3, 2] = math.nan, math.inf, -1e9, 0
    mask = torch.ones(6, 3)
    mask[5] = 0
    log_ratio[5] = math.nan
    assert nonfinite_rows(log_ratio, mask).tolist() == [True, True, False, False, False, False]
    losses = torch.tensor([0.0, 0.0, 0.0, math.nan, -math.inf, math.nan])
    found = nonfinite_rows(log_ratio, mask, losses)
    assert found.tolist() == [True, True, False, True, True, False]
