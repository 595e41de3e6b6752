"""What is said of old responses, on rows with known answers."""

import math

import pytest
import torch

from holderpo.diagnostics import describe_rows
from holderpo.metrics import METRICS
from holderpo.rollout_age import describe_by_age

# Weights 3/4 and 1/4 at p = 1, 9/10 and 1/10 at p = 2; the second row is padded.
LOG_RATIO = torch.tensor(
    [[math.log(3), 0.0, 9.0], [-0.5, -0.5, -0.5], [0.2, 0.0, -0.2], [1.0, 1.0, 1.0]]
)
# One weight per response, or one per token: 0.4 on average; anything where there is no token.
IS_WEIGHT = torch.tensor([[0.5, 0.5, math.nan], [0.2, 0.4, 0.6], [0.8, 0.8, 0.8], [9.0, 9.0, 9.0]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]])


def test_each_age_has_its_own_responses():
    found = describe_by_age(
        LOG_RATIO,
        MASK,
        torch.tensor([1, 5, 3, 1]),
        torch.tensor([2.0, 1.0, 0.0, 1.0]),
        IS_WEIGHT,
    )
    assert found == pytest.approx(
        {
            "rollout/age_frac_age1": 1 / 3,
            "rollout/log_ratio_mean_age1": math.log(3) / 2,
            "rollout/log_ratio_std_age1": math.log(3) / 2,
            "rollout/ess_frac_age1": 1 / (2 * (0.9**2 + 0.1**2)),
            "rollout/is_weight_mean_age1": 0.5,
            "rollout/age_frac_age3_up": 2 / 3,
            "rollout/log_ratio_mean_age3_up": -0.25,
            "rollout/log_ratio_std_age3_up": math.sqrt(0.08 / 3) / 2,
            "rollout/ess_frac_age3_up": 1.0,
            "rollout/is_weight_mean_age3_up": 0.6,
        }
    )
    assert set(found) <= {metric.name for metric in METRICS}


def test_without_order_or_correction_nothing_is_said_of_them():
    found = describe_by_age(LOG_RATIO[:1], MASK[:1], torch.tensor([0]), None)
    assert set(found) == {
        f"rollout/{name}_age0" for name in ("age_frac", "log_ratio_mean", "log_ratio_std")
    }


def test_a_round_without_tokens_says_nothing():
    assert describe_by_age(LOG_RATIO, torch.zeros_like(MASK), torch.zeros(4), 1.0) == {}


@pytest.mark.parametrize("p", [-4.0, 0.0, 1.5, math.inf])
def test_the_share_is_that_of_the_loss_with_another_ratio(p):
    """As ``holder/ess_frac`` and ``holder/log_ratio_std`` describe the ratio of the loss."""
    log_ratio = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.arange(64)[:, None] % 9 + 1
    rows = describe_rows(log_ratio, mask, p)
    found = describe_by_age(log_ratio, mask, torch.zeros(64), p)
    assert found["rollout/ess_frac_age0"] == pytest.approx(rows.ess_frac.mean().item(), rel=1e-5)
    expected = rows.log_ratio_std.mean().item()
    assert found["rollout/log_ratio_std_age0"] == pytest.approx(expected, rel=1e-5)
