"""The advantage hook behind verl's estimator signature."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from holderpo.advantage import AdvantageSettings
from recipe.holderpo.advantage import (
    AdvantageCall,
    advantage_call,
    compute_holder_advantage,
)


def batch():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(6) < torch.tensor([[6], [3], [1], [6], [2], [4]])).long()
    rewards = torch.rand(6, 6, generator=generator) * mask
    index = np.array(["a", "b", "a", "b", "a", "b"], dtype=object)
    return rewards, mask, index


def test_equals_verls_grpo_where_that_is_right():
    rewards, mask, index = batch()
    ours, _ = compute_holder_advantage(rewards, mask, index)
    theirs, _ = compute_grpo_outcome_advantage(rewards.clone(), mask, index)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    without, _ = compute_holder_advantage(
        rewards, mask, index, config={"norm_adv_by_std_in_grpo": False}
    )
    theirs, _ = compute_grpo_outcome_advantage(
        rewards.clone(), mask, index, norm_adv_by_std_in_grpo=False
    )
    torch.testing.assert_close(without, theirs, rtol=1e-5, atol=1e-6)


def test_verls_grpo_gives_a_group_of_equal_rewards_an_advantage_and_ours_does_not():
    rewards = torch.zeros(8, 2)
    rewards[:, 0] = 9.9
    mask, index = torch.ones(8, 2), np.array(["a"] * 8)
    theirs, _ = compute_grpo_outcome_advantage(rewards.clone(), mask, index)
    assert theirs.abs().max() > 0.1
    assert (compute_holder_advantage(rewards, mask, index)[0] == 0).all()


def test_padding_rows_belong_to_no_group_and_settings_and_metrics_pass_through():
    rewards, mask, index = batch()
    mask[5] = 0
    rewards[5] = torch.nan
    rewards[[0, 2, 4]] = 0.5 * (torch.arange(6) == 0)
    settings = AdvantageSettings(transforms=[{"name": "clamp", "limit": 0.25}])
    with advantage_call(AdvantageCall(settings, max_response_tokens=6)) as call:
        advantages, _ = compute_holder_advantage(rewards, mask, index)
    assert (advantages[5] == 0).all()
    assert (advantages[[0, 2, 4]] == 0).all()
    assert advantages.abs().max() == 0.25
    assert call.metrics == {"group/no_signal_frac": 0.5}


def test_what_the_reward_manager_calls_truncated_is_dropped_in_the_order_of_the_rows():
    rewards, mask, index = batch()
    mask[1] = 0
    truncated = np.array([False, True, True, False, False, True])
    settings = AdvantageSettings(transforms=[{"name": "drop_truncated"}])
    call = AdvantageCall(settings, max_response_tokens=6, truncated=truncated)
    with advantage_call(call):
        advantages, _ = compute_holder_advantage(rewards, mask, index)
    # Rows 0 and 3 fill the length, but ended there.
    assert [row for row in range(6) if advantages[row].any()] == [0, 3, 4]


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_under_this_projects_trainer_the_settings_must_come_with_the_call(make):
    rewards, mask, index = batch()
    taken_away = make({"norm_adv_by_std_in_grpo": None})
    with pytest.raises(ValueError, match=r"norm_adv_by_std_in_grpo: null, .*_compute_advantage"):
        compute_holder_advantage(rewards, mask, index, config=taken_away)
    settings = AdvantageSettings(normalize_by_std=False)
    with advantage_call(AdvantageCall(settings, max_response_tokens=6)):
        ours, _ = compute_holder_advantage(rewards, mask, index, config=taken_away)
    verls, _ = compute_holder_advantage(
        rewards, mask, index, config=make({"norm_adv_by_std_in_grpo": False})
    )
    torch.testing.assert_close(ours, verls)
