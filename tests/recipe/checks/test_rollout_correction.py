"""The correction for the rollout engine is made, and leaves the loss what it is."""

import pytest
import torch
from omegaconf import OmegaConf
from verl.protocol import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch

from recipe.holderpo.advantage import compute_holder_advantage
from tests.recipe.checks.checking import CORRECTION, LOSS, ROLLOUT, refusals, warnings_of

RS = f"{CORRECTION}.rollout_rs"
THRESHOLD = f"{CORRECTION}.rollout_rs_threshold"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            f"{CORRECTION}.rollout_is=sequence {ROLLOUT}.calculate_log_probs=false",
            f"{CORRECTION}.rollout_is: 'sequence'; it compares with the log-probabilities of the "
            f"rollout engine, set {ROLLOUT}.calculate_log_probs=true",
        ),
        (
            f"{RS}=seq_mean_k1 {THRESHOLD}=2 {ROLLOUT}.calculate_log_probs=false",
            f"{RS}: 'seq_mean_k1'; it compares with",
        ),
        (f"{RS}=seq_mean_k1", f"{THRESHOLD}: null; give the threshold of rollout_rs 'seq_mean_k1'"),
        (
            f"{RS}=token_k1 {THRESHOLD}=2",
            f"{RS}: token_k1; rejected tokens would leave the mean over a response",
        ),
        (f"{RS}='seq_mean_k1,token_k3' {THRESHOLD}=2", f"{RS}: token_k3; rejected tokens"),
        (
            f"{RS}=seq_k1 {THRESHOLD}=2",
            f"{RS}: 'seq_k1' with rollout_rs_threshold 2; verl: Invalid",
        ),
        (f"{RS}=seq_mean_k1 {THRESHOLD}=0", f"{RS}: 'seq_mean_k1' with rollout_rs_threshold 0"),
        (
            f"{CORRECTION}.rollout_is=sequence {CORRECTION}.rollout_is_threshold=high",
            f"{CORRECTION}.rollout_is: 'sequence' with rollout_is_threshold 'high'; verl: Invalid",
        ),
        (
            f"{LOSS}.loss_mode=vanilla {CORRECTION}.rollout_is=tokens",
            f"{CORRECTION}.rollout_is: 'tokens' with rollout_is_threshold 2.0; verl: Invalid",
        ),
    ],
)
def test_a_correction_that_is_none_or_another_loss_is_refused(overrides, expected, existing):
    (line,) = refusals(existing, overrides)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        f"{CORRECTION}.rollout_is=sequence",
        f"{CORRECTION}.rollout_is=sequence {CORRECTION}.rollout_is_threshold='0.5_2'",
        f"{RS}=seq_mean_k1 {THRESHOLD}='0.5_2'",
        f"{RS}='seq_sum_k1,seq_max_k3' {THRESHOLD}='0.5_2,1.5'",
        f"{LOSS}.loss_mode=vanilla {RS}=token_k1 {THRESHOLD}=2",
        f"{ROLLOUT}.calculate_log_probs=false",
    ],
)
def test_the_others_pass_in_silence(overrides, existing):
    assert warnings_of(existing, overrides) == []


def test_a_rejected_response_leaves_the_baseline_here_and_stays_in_that_of_verl():
    """As docs/settings.md says."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0])
    mask = torch.ones(4, 2)
    batch = DataProto.from_dict(
        tensors={
            "old_log_probs": torch.tensor([[0.0, 0.0]] * 3 + [[2.0, 2.0]]),
            "rollout_log_probs": torch.zeros(4, 2),
            "response_mask": mask,
        }
    )
    settings = OmegaConf.create({"rollout_rs": "seq_mean_k1", "rollout_rs_threshold": 2.0})
    batch, _ = compute_rollout_correction_and_add_to_batch(batch, settings)
    kept = batch.batch["response_mask"]
    assert kept.sum(-1).tolist() == [2, 2, 2, 0]

    arguments = {
        "token_level_rewards": torch.stack([torch.zeros(4), rewards], -1),
        "response_mask": kept,
        "index": ["prompt"] * 4,
    }
    ours, _ = compute_holder_advantage(**arguments, config={"norm_adv_by_std_in_grpo": False})
    verls, _ = get_adv_estimator_fn("grpo")(**arguments, norm_adv_by_std_in_grpo=False)
    assert ours[:, 0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3, 0])
    assert verls[:, 0].tolist() == pytest.approx([1 / 2, -1 / 2, -1 / 2, 0])
