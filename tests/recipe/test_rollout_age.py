"""Ages and log-ratios of a round, through the driver's queue."""

import math

import pytest
import torch

from holderpo.control.order import OrderBySign, UniformOrder
from recipe.holderpo.rollout_age import age_metrics
from tests.recipe.composing import composed
from tests.recipe.turn_batches import Queue


def fill(queue, rows):
    """Put rows of (log-ratio of each token, weights' number, advantage, weight) into the queue."""
    keys, tags = [], []
    for number, (log_ratio, version, advantage, weight) in enumerate(rows):
        keys.append(f"prompt_{number}_0")
        tags.append({"min_global_steps": version, "is_padding": log_ratio == []})
        tokens = torch.tensor(log_ratio or [0.0])
        mask = torch.ones(len(tokens), dtype=torch.int64) * bool(log_ratio)
        queue.rows[keys[-1]] = {
            "old_log_probs": tokens - 2.0,
            "rollout_log_probs": torch.full_like(tokens, -2.0),
            "response_mask": mask,
            "advantages": advantage * mask.float(),
            "rollout_is_weights": weight * mask.float(),
        }
        queue.tags[keys[-1]] = tags[-1]
    return type("Batch", (), {"keys": keys, "tags": tags, "partition_id": "train"})


@pytest.fixture
def batch(monkeypatch):
    return fill(
        Queue(monkeypatch),
        [
            ([math.log(3), 0.0], 7, 1.0, 0.5),
            ([math.log(3), 0.0], 7, -1.0, 1.5),
            ([0.1, 0.1, 0.1], 6, 1.0, 1.1),
            ([], 0, 0.0, 0.0),
        ],
    )


def test_each_response_has_its_age_and_the_order_of_its_sign(batch):
    config = composed("demo", ["algorithm.rollout_correction.rollout_is=sequence"])
    order = OrderBySign(UniformOrder(2.0), UniformOrder(0.0))
    found = age_metrics(batch, config, 7, order)
    assert found["rollout/age_frac_age0"] == pytest.approx(2 / 3)
    assert found["rollout/age_frac_age1"] == pytest.approx(1 / 3)
    # At p = 2 weights of 9/10 and 1/10; at p = 0 all are the same.
    assert found["rollout/ess_frac_age0"] == pytest.approx((1 / (2 * 0.82) + 1) / 2)
    assert found["rollout/is_weight_mean_age0"] == pytest.approx(1.0)
    assert found["rollout/log_ratio_mean_age1"] == pytest.approx(0.1)
    assert not any("age2" in name or "age3" in name for name in found)


def test_a_loss_without_an_order_and_no_correction_say_less(batch):
    found = age_metrics(batch, composed("demo"), 7, None)
    assert found["rollout/log_ratio_std_age0"] == pytest.approx(math.log(3) / 2)
    assert not any("ess_frac" in name or "is_weight" in name for name in found)
