"""Adapters through the whole stack: rollouts follow them, a run resumes, the export has them."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from holderpo.studies.run_files import read_rows
from recipe.holderpo import export
from tests.e2e.conftest import MAIN, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


MODEL = "actor_rollout_ref.model"
# How adapters go to vLLM, and how far its probabilities are from the actor's then: verl rounds
# merged weights to bfloat16, and adapters not at all.
WAYS = {
    "merged": ([f"{MODEL}.lora.merge=true"], 0.1),
    # With a KL term, whose reference is the actor without them.
    "apart": (
        [f"{MODEL}.exclude_modules='.*k_proj'", "actor_rollout_ref.actor.use_kl_loss=true"],
        1e-3,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_rollouts_resume_and_export_follow_the_adapters(way, demo_data, tmp_path):
    overrides, limit = WAYS[way]
    command = [
        *[*MAIN, "--config-name=demo", *demo_data, f"run_dir={tmp_path}/run"],
        *[f"{MODEL}.lora_rank=8", *overrides],
        # So that untrained weights in vLLM would show.
        "actor_rollout_ref.actor.optim.lr=1e-2",
        "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
        "actor_rollout_ref.rollout.calculate_log_probs=true",
        *["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=1"],
        *["trainer.resume_mode=auto", "resume_with=[trainer.total_training_steps,p]"],
    ]
    for last in (3, 4):
        status, output = launch([*command, f"trainer.total_training_steps={last}"])
        assert status == 0, output[-4000:]
    assert "resumed after step 3" in output
    rounds = read_rows(tmp_path / "run" / "metrics.jsonl", [])
    assert [row["step"] for row in rounds] == [1, 2, 3, 4]
    # A token's ratio of new over old weights, and its probability in vLLM beside the actor's.
    moved = max(row["holder/log_ratio_max"] for row in rounds)
    apart = max(row["training/rollout_probs_diff_max"] for row in rounds)
    assert moved > 0.5
    assert apart < limit, f"{apart:g} apart, moved {moved:g}"
    if way == "apart":
        assert rounds[-1]["actor/kl_loss"] > 10 * abs(rounds[-1]["actor/ppo_kl"])
    assert export.main([f"{tmp_path}/run", f"{tmp_path}/out"]) == 0
    (path,) = [word.partition("=")[2] for word in demo_data if word.startswith(f"{MODEL}.path=")]
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (path, tmp_path / "out")
    )
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(before[name].float(), after[name].float(), atol=1e-3)
