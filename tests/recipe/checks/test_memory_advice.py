"""What is to be changed where a run does not fit its GPUs, or only just."""

import re

import pytest

from holderpo.memory.sizes import GIB
from recipe.holderpo.checks.memory import plan_memory
from recipe.holderpo.checks.memory_advice import Setup, _changes_that_cost, advice
from recipe.holderpo.checks.memory_settings import engine_of, training_of
from tests.holderpo.memory.setups import QWEN25_7B
from tests.recipe.checks.checking import ACTOR, MODEL, ROLLOUT
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import of

__all__ = ["of"]

REF = "actor_rollout_ref.ref"
SHARE = f"{ROLLOUT}.gpu_memory_utilization"
# Where Adam's copy in the step is what does not fit.
ON_ONE = (
    f"trainer.n_gpus_per_node=1 gpu_memory_gib=30.5 {ACTOR}.ppo_max_token_len_per_gpu=4096 "
    f"{MODEL}.use_fused_kernels=true"
)


@pytest.mark.parametrize(
    ("model", "overrides", "fix"),
    [
        ("7b", f"{SHARE}=0.8", f"lower {SHARE} from 0.8 to 0.6"),
        ("7b", f"{ROLLOUT}.free_cache_engine=false", f"set {ROLLOUT}.free_cache_engine=true"),
        (
            "7b",
            f"{MODEL}.enable_gradient_checkpointing=false",
            f"set {MODEL}.enable_gradient_checkpointing=true",
        ),
        (
            "7b",
            f"{ACTOR}.ppo_max_token_len_per_gpu=131072 "
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=16384",
            f"lower {ACTOR}.ppo_max_token_len_per_gpu from 131072 to 65536",
        ),
        (
            "1.5b",
            f"{ACTOR}.ppo_max_token_len_per_gpu=131072 {MODEL}.use_fused_kernels=false "
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=16384 gpu_memory_gib=48",
            f"set {MODEL}.use_fused_kernels=true",
        ),
        (
            "7b",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=262144",
            f": lower {ROLLOUT}.log_prob_max_token_len_per_gpu from 262144 to 131072",
        ),
        (
            "1.5b",
            f"{ON_ONE} {SHARE}=0.25",
            f"30.5 of gpu_memory_gib, 30.9 in the optimiser step: set "
            f"{ACTOR}.optim.override_optimizer_config={{fused:true}}",
        ),
        (
            "1.5b",
            f"{ON_ONE} {SHARE}=0.8",
            f"lower {SHARE} from 0.8 to 0.3, and set {ACTOR}.optim.override_optimizer_config="
            "{fused:true}",
        ),
        (
            "7b",
            "trainer.n_gpus_per_node=1",
            f"set {FSDP}.offload_policy=true (slow: the optimiser step is on the CPU)",
        ),
        # A lower share would leave no room for a single answer.
        (
            "7b",
            f"gpu_memory_gib=40.5 {ACTOR}.ppo_max_token_len_per_gpu=4096",
            f": set {FSDP}.optimizer_offload=true",
        ),
        # Each in its own place: the reference model's are small.
        (
            "7b",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=262144 {ACTOR}.use_kl_loss=true "
            f"{REF}.log_prob_max_token_len_per_gpu=16384",
            f": lower {ROLLOUT}.log_prob_max_token_len_per_gpu from 262144 to 131072",
        ),
        (
            "7b",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=262144 {ACTOR}.use_kl_loss=true "
            f"{REF}.log_prob_use_dynamic_bsz=false {REF}.log_prob_micro_batch_size_per_gpu=64",
            f": lower {ROLLOUT}.log_prob_max_token_len_per_gpu from 262144 to 131072 and lower "
            f"{REF}.log_prob_micro_batch_size_per_gpu from 64 to 32",
        ),
        # It could live in main memory, and has to be loaded on the GPU first.
        (
            "7b",
            "trainer.n_gpus_per_node=1 gpu_memory_gib=24",
            ": no setting is enough: take larger GPUs, or many more",
        ),
        # 28 and 4 heads: not 8 GPUs of one engine, and not 6.
        (
            "7b",
            f"trainer.n_gpus_per_node=8 gpu_memory_gib=16 {FSDP}.optimizer_offload=true "
            f"{FSDP}.param_offload=true {ACTOR}.ppo_max_token_len_per_gpu=4096 "
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=4096",
            f"{ROLLOUT}.tensor_model_parallel_size from 1 to 4",
        ),
        (
            "7b",
            f"trainer.n_gpus_per_node=8 {FSDP}.fsdp_size=2 {ACTOR}.strategy=fsdp gpu_memory_gib=48 "
            f"{ACTOR}.ppo_max_token_len_per_gpu=4096",
            f": raise {FSDP}.fsdp_size from 2 to 8",
        ),
        ("7b", "gpu_memory_gib=8", "no setting is enough: take larger GPUs, or many more"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_to_change(model, overrides, fix, of):
    (warning,) = plan_memory(of(model, overrides)).warnings
    assert warning.startswith("memory: on each GPU more GiB are expected than the ")
    assert fix in warning


def test_more_gpus_hold_less_where_a_copy_is_spread_over_all_of_them(of):
    few = f"gpu_memory_gib=30 {ACTOR}.ppo_max_token_len_per_gpu=4096"
    raised = "raise trainer.n_gpus_per_node from 4 to 8, or take as many machines with"
    setup = Setup(QWEN25_7B, training_of(of("7b", few)), engine_of(of("7b", few)))
    everywhere = [words for words, _ in _changes_that_cost(of("7b", few), setup)]
    assert f"{raised} trainer.nnodes" in everywhere
    # Written out it would stay at 4.
    fixed = of("7b", f"{few} {FSDP}.fsdp_size=4")
    words = [words for words, _ in _changes_that_cost(fixed, setup)]
    assert f"{raised} trainer.nnodes, and {FSDP}.fsdp_size=8" in words


def test_what_almost_fills_a_gpu_is_told(of):
    assert plan_memory(of("7b", f"{SHARE}=0.62")).warnings == ()
    (warning,) = plan_memory(of("7b", f"{SHARE}=0.66")).warnings
    assert warning == (
        "memory: close: on each GPU more than 93% of the 80.0 GiB of gpu_memory_gib is expected, "
        f"75.3 while answers are generated: lower {SHARE} from 0.66 to 0.6"
    )


@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_the_change_that_is_named_makes_it_fit(model, of):
    config = of(model, f"{SHARE}=0.97")
    (warning,) = plan_memory(config).warnings
    lowered = re.search(rf"lower {re.escape(SHARE)} from 0.97 to ([\d.]+)$", warning)[1]
    assert plan_memory(of(model, f"{SHARE}={lowered}")).warnings == ()


def test_a_share_without_room_for_a_response_is_named(of):
    (warning,) = plan_memory(of("7b", f"{SHARE}=0.2")).warnings
    assert warning == (
        f"memory: {SHARE} 0.2 leaves vLLM room for 0 tokens of keys and values beside its "
        "weights, and one row may have 4,024: raise it, or "
        f"{ROLLOUT}.tensor_model_parallel_size to 4"
    )
    (warning,) = plan_memory(of("1.5b", f"{SHARE}=0.03 trainer.n_gpus_per_node=1")).warnings
    assert warning.endswith("4,024: raise it")


def test_a_row_as_long_as_vllm_may_be_given_needs_room(of):
    config = of("7b", f"{SHARE}=0.205 {ROLLOUT}.max_model_len=8000")
    (warning,) = plan_memory(config).warnings
    assert "one row may have 8,000" in warning
    # The advice knows the same limit.
    close = of("7b", f"{SHARE}=0.205 {ROLLOUT}.max_model_len=8000 gpu_memory_gib=80.001")
    assert advice(close, Setup(QWEN25_7B, training_of(close), engine_of(close)), 80 * GIB) == (
        f"raise {ROLLOUT}.tensor_model_parallel_size from 1 to 4"
    )
