"""Adapters that cannot be trained, or would not reach rollouts and the export, are refused."""

import pytest

from data_prep.tiny_model import save, tiny_qwen2
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import (
    ACTOR,
    ENGINE,
    FOUR_GPUS,
    MODEL,
    ROLLOUT,
    refusals,
    warnings_of,
)
from tests.recipe.composing import composed

LORA = f"{MODEL}.lora_rank=8"
MERGED = f"{LORA} {MODEL}.lora.merge=true"
TARGETS = f"{MODEL}.target_modules"
EXCLUDED = f"{MODEL}.exclude_modules"
CONTENTS = f"{ACTOR}.checkpoint.save_contents"
KL = f"{ACTOR}.use_kl_loss=true"
# With this project's loss it is refused.
BYPASSED = (
    f"algorithm.rollout_correction.bypass_mode=true {ROLLOUT}.calculate_log_probs=true "
    f"{ACTOR}.policy_loss.loss_mode=gspo"
)


@pytest.fixture(scope="module")
def given(existing, tmp_path_factory):
    """A whole model, so that it can be built."""
    folder = tmp_path_factory.mktemp("model")
    save(folder, tiny_qwen2(max_tokens=64))
    return [*existing, f"{MODEL}.path={folder}"]


@pytest.mark.parametrize(
    "overrides",
    [
        LORA,
        MERGED,
        f"{FOUR_GPUS} {LORA}",
        f"{LORA} {MODEL}.lora_alpha=32",
        f"{LORA} {TARGETS}=[q_proj,v_proj]",
        f"{LORA} {TARGETS}=[layers.0.self_attn.q_proj]",
        # A pattern is of whole names.
        rf"{LORA} {TARGETS}='.*\.layers\.0\..*_proj'",
        f"{LORA} {EXCLUDED}='.*mlp.*'",
        f"{MODEL}.lora_rank=1024 {MODEL}.lora.merge=true",
        f"{LORA} {ROLLOUT}.layered_summon=true {ROLLOUT}.load_format=safetensors",
        # No reference model of its own: nothing of it is pinned, and none of its settings is read.
        f"{LORA} {KL}",
        f"{LORA} algorithm.use_kl_in_reward=true",
    ],
)
def test_adapters_are_accepted_without_a_warning(overrides, given):
    lines = warnings_of(given, overrides)
    assert not any("lora" in line or "has no effect" in line for line in lines)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (f"{MODEL}.lora_rank=8.5", f"{MODEL}.lora_rank: 8.5; give a whole number; 0 for no"),
        (f"{MODEL}.lora_rank=-1", f"{MODEL}.lora_rank: -1; give a whole number"),
        (f"{LORA} {MODEL}.lora_alpha=0", f"{MODEL}.lora_alpha: 0; give a whole number above 0"),
        (f"{LORA} {MODEL}.lora_alpha=16.5", f"{MODEL}.lora_alpha: 16.5; give a whole number"),
        (f"{LORA} {MODEL}.lora_alpha=null", f"{MODEL}.lora_alpha: None; give a whole number"),
        (f"{LORA} {TARGETS}=[]", f"{TARGETS}: []; give a list of names, a pattern"),
        (f"{LORA} {TARGETS}=null", f"{TARGETS}: None; give a list of names, a pattern"),
        (f"{LORA} {TARGETS}=[q_proj,3]", f"{TARGETS}: ['q_proj', 3]; give a list of names"),
        (f"{LORA} {TARGETS}=[q_proj,v_prj]", f"{TARGETS}: 'v_prj'; no module of "),
        (f"{LORA} {TARGETS}='[a'", f"{TARGETS}: '[a'; no module of "),
        (f"{LORA} {EXCLUDED}=q_proj", f"{EXCLUDED}: 'q_proj'; no module of "),
        (f"{LORA} {EXCLUDED}=3", f"{EXCLUDED}: 3; give a pattern of whole names"),
        (f"{LORA} {EXCLUDED}=[q_proj]", f"{EXCLUDED}: ['q_proj']; give a pattern of whole names"),
        (f"{LORA} {TARGETS}=[q_proj] {EXCLUDED}='.*q_proj'", f"{TARGETS}: ['q_proj']; "),
        (f"{LORA} {TARGETS}=[input_layernorm]", f"{TARGETS}: ['input_layernorm']; "),
        (
            f"{LORA} {TARGETS}=[q_proj,lm_head]",
            f"{TARGETS}: ['q_proj', 'lm_head']; adapters on lm_head, outside the model's layers, ",
        ),
        (
            f"{MERGED} {TARGETS}=[q_proj,embed_tokens]",
            f"{TARGETS}: ['q_proj', 'embed_tokens']; adapters on model.embed_tokens, outside ",
        ),
        (f"{LORA} +{MODEL}.target_parameters=[w]", f"{MODEL}.target_parameters: ['w']; adapters"),
        (f"{MODEL}.lora_rank=1024", f"{MODEL}.lora_rank: 1024; vLLM takes adapters of at most 512"),
        (
            f"{LORA} {ROLLOUT}.layered_summon=true",
            f"{ROLLOUT}.layered_summon: true; it needs the weights under the adapters in vLLM",
        ),
        (
            f"{LORA} {CONTENTS}=[model,optimizer,extra,hf_model]",
            f"{CONTENTS}: ['model', 'optimizer', 'extra', 'hf_model']; with adapters verl writes",
        ),
        (
            f"{LORA} {KL} {BYPASSED}",
            f"{ENGINE}.reshard_after_forward: false; with adapters, ",
        ),
    ],
)
def test_adapters_that_would_be_lost_are_refused(overrides, expected, given):
    (line,) = refusals(given, overrides)
    assert line.startswith(expected)


def test_with_weights_gathered_anew_the_reference_may_come_first(given):
    overrides = f"{LORA} {KL} {BYPASSED}"
    check_config(
        composed("demo", [*given, *overrides.split(), f"{ENGINE}.reshard_after_forward=true"])
    )


@pytest.mark.parametrize(
    ("overrides", "field", "why"),
    [
        (f"{MODEL}.lora.merge=true", f"{MODEL}.lora.merge", "it belongs to adapters"),
        (f"{MODEL}.lora_alpha=32", f"{MODEL}.lora_alpha", "it belongs to adapters"),
        (f"{LORA} {MODEL}.lora.alpha=8", f"{MODEL}.lora.alpha", "it belongs to Megatron"),
        (f"{MERGED} {ROLLOUT}.layered_summon=true", f"{ROLLOUT}.layered_summon", "it belongs to a"),
        (
            f"{LORA} {KL} actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=7",
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu",
            "there is no reference model of its own",
        ),
    ],
)
def test_settings_of_adapters_that_nothing_reads_are_told(overrides, field, why, given):
    lines = warnings_of(given, overrides)
    assert any(line.startswith(f"{field} has no effect: {why}") for line in lines)
