"""Models are spread over devices in ways that exist."""

import pytest

from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, ENGINE, FOUR_GPUS, MODEL, ROLLOUT, refusals
from tests.recipe.composing import composed

ATTENTION = f"{MODEL}.override_config.attn_implementation"
ULYSSES = f"{ACTOR}.ulysses_sequence_parallel_size"
PACKED = f"{MODEL}.use_remove_padding=true"
POOL = "reward.reward_model"
REWARD_MODEL = f"{POOL}.enable=true {POOL}.rollout.name=vllm {POOL}"
OWN_POOL = f"{POOL}.enable=true {POOL}.rollout.name=vllm {POOL}.enable_resource_pool=true"
REF = "actor_rollout_ref.ref"
REFERENCE = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            f"{FOUR_GPUS} {ROLLOUT}.tensor_model_parallel_size=3",
            f"{ROLLOUT}.tensor_model_parallel_size: 3; an engine takes 3 devices, which must "
            "divide the 4 of trainer.n_gpus_per_node * trainer.nnodes",
        ),
        (
            f"{FOUR_GPUS} {ROLLOUT}.tensor_model_parallel_size=2 {ROLLOUT}.data_parallel_size=4",
            f"{ROLLOUT}.tensor_model_parallel_size: 2 (with data_parallel_size 4); an engine takes "
            "8 devices, which must divide the 4 of",
        ),
        (
            f"{FOUR_GPUS} trainer.nnodes=3 trainer.n_gpus_per_node=4 "
            f"{ACTOR}.ppo_mini_batch_size=24 data.train_batch_size=24 "
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=16 "
            f"{ROLLOUT}.tensor_model_parallel_size=6",
            f"{ROLLOUT}.tensor_model_parallel_size: 6; an engine takes 6 devices and would lie "
            "across machines of 4",
        ),
        (
            f"{FOUR_GPUS} {ROLLOUT}.pipeline_model_parallel_size=2",
            f"{ROLLOUT}.pipeline_model_parallel_size: 2; verl 0.9.1 has no pipelines",
        ),
        (
            f"{FOUR_GPUS} {ROLLOUT}.tensor_model_parallel_size=2 {ROLLOUT}.expert_parallel_size=4",
            f"{ROLLOUT}.expert_parallel_size: 4; give 1, or the 2 devices of an engine",
        ),
        (
            f"{FOUR_GPUS} {ENGINE}.fsdp_size=3",
            f"{ENGINE}.fsdp_size: 3; give -1 for all, or a number that divides the 4 devices",
        ),
        (
            f"{FOUR_GPUS} {ULYSSES}=2 {PACKED} {ATTENTION}=sdpa",
            f"{ULYSSES}: 2 with {ATTENTION} 'sdpa'; only flash attention exchanges the parts",
        ),
        (
            f"{FOUR_GPUS} {ULYSSES}=2 {PACKED} {ATTENTION}=eager",
            f"{ULYSSES}: 2 with {ATTENTION} 'eager'; only flash attention",
        ),
        (
            f"{FOUR_GPUS} {ULYSSES}=2 {MODEL}.use_remove_padding=false",
            f"{ULYSSES}: 2, but {MODEL}.use_remove_padding is false; verl shares out packed rows",
        ),
        (
            f"{FOUR_GPUS} {ULYSSES}=3 {PACKED}",
            f"{ULYSSES}: 3; give a number that divides the 4 devices",
        ),
        (
            f"{FOUR_GPUS} {ENGINE}.ulysses_sequence_parallel_size=2 {PACKED}",
            f"{ENGINE}.ulysses_sequence_parallel_size: 2; leave it at 1 and set {ULYSSES}",
        ),
        (
            f"{FOUR_GPUS} {ATTENTION}=flash_attention_2 "
            f"++{ENGINE}.mixed_precision.param_dtype=fp32",
            f"{ATTENTION}: 'flash_attention_2' with {ENGINE}.mixed_precision.param_dtype float32; "
            "flash attention computes in 16 bits",
        ),
        (
            f"{FOUR_GPUS} {REWARD_MODEL}.rollout.tensor_model_parallel_size=3",
            f"{POOL}.rollout.tensor_model_parallel_size: 3; an engine's devices must divide "
            "the 4 that training has",
        ),
        (
            f"{FOUR_GPUS} {REWARD_MODEL}.rollout.pipeline_model_parallel_size=2",
            f"{POOL}.rollout.pipeline_model_parallel_size: 2; verl 0.9.1 has no pipelines in its",
        ),
        (
            f"{FOUR_GPUS} {OWN_POOL} {POOL}.n_gpus_per_node=2 {POOL}.nnodes=1 "
            f"{POOL}.rollout.tensor_model_parallel_size=4",
            f"{POOL}.rollout.tensor_model_parallel_size: 4; an engine's devices must divide the 2 "
            "of its own",
        ),
        (
            f"{FOUR_GPUS} {POOL}.enable_resource_pool=true",
            f"{POOL}.nnodes: 0; with {POOL}.enable_resource_pool=true give a whole number above 0",
        ),
        (
            f"{FOUR_GPUS} {ACTOR}.use_kl_loss=true {REFERENCE} {REF}.fsdp_config.fsdp_size=3",
            f"{REF}.fsdp_config.fsdp_size: 3; give -1 for all, or a number that divides the 4",
        ),
        (
            f"{FOUR_GPUS} {ACTOR}.use_kl_loss=true {REFERENCE} {PACKED} "
            f"{REF}.ulysses_sequence_parallel_size=3",
            f"{REF}.ulysses_sequence_parallel_size: 3; give a number that divides the 4 devices",
        ),
        (f"{ATTENTION}=flash_attention_2", f"{ATTENTION}: 'flash_attention_2'; a CPU has none"),
        (
            f"{ATTENTION}=kernels-community/flash-attn2",
            f"{ATTENTION}: 'kernels-community/flash-attn2'; a CPU has none",
        ),
        *[
            (
                f"{FOUR_GPUS} {ATTENTION}={name} {ACTOR}.use_kl_loss=true {REFERENCE} "
                f"++{section}.fsdp_config.mixed_precision.param_dtype={dtype}",
                f"{ATTENTION}: {name!r} with {section}.fsdp_config.mixed_precision.param_dtype "
                "float32; flash attention computes in 16 bits",
            )
            for name, section, dtype in (
                ("flash_attention_2", ACTOR, "fp32"),
                ("flash_attention_2", REF, "float32"),
                ("kernels-community/flash-attn3", REF, "32"),
            )
        ],
        (f"{ENGINE}.offload_policy=true", f"{ENGINE}.offload_policy: true; its pinned memory"),
        (
            f"{ACTOR}.use_kl_loss=true {REFERENCE}",
            f"{ACTOR}.use_kl_loss: true; verl keeps the reference model in pinned memory",
        ),
        (
            f"algorithm.use_kl_in_reward=true {REFERENCE}",
            "algorithm.use_kl_in_reward: true; verl keeps the reference model in pinned memory",
        ),
    ],
)
def test_what_does_not_fit_the_devices_is_refused(overrides, expected, existing):
    (line,) = refusals(existing, overrides)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        FOUR_GPUS,
        f"{FOUR_GPUS} {ROLLOUT}.tensor_model_parallel_size=4",
        f"{FOUR_GPUS} {ROLLOUT}.tensor_model_parallel_size=1",
        f"{FOUR_GPUS} {ENGINE}.fsdp_size=2",
        f"{FOUR_GPUS} {ULYSSES}=2 {PACKED}",
        f"{FOUR_GPUS} {ULYSSES}=2 {PACKED} {ATTENTION}=flash_attention_3",
        f"{FOUR_GPUS} {ULYSSES}=2 {PACKED} {ATTENTION}=kernels-community/flash-attn3",
        # Of a reference model that is not there.
        f"{FOUR_GPUS} ++{REF}.fsdp_config.mixed_precision.param_dtype=fp32",
        f"{FOUR_GPUS} {ACTOR}.use_kl_loss=true {REFERENCE}",
        # Nothing reads it without a reference model.
        f"{FOUR_GPUS} {REF}.fsdp_config.fsdp_size=3",
        f"{FOUR_GPUS} {ULYSSES}=2 {PACKED} {ACTOR}.use_kl_loss=true {REFERENCE}",
        f"{FOUR_GPUS} {ENGINE}.offload_policy=true",
    ],
)
def test_what_fits_them_is_not(overrides, existing):
    assert check_config(composed("demo", [*existing, *overrides.split(), "check=true"])).lines
