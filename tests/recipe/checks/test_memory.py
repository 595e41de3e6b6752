"""The memory that a plan expects: from which settings, shown how, and what is to be lowered."""

import re

import pytest

from holderpo.memory.gpu_memory import STEP
from holderpo.memory.sizes import GIB
from recipe.holderpo.checks import machine_memory, plan
from recipe.holderpo.checks.memory import MemoryPlan, plan_memory
from recipe.holderpo.checks.memory_advice import Setup, _changes_that_cost, advice
from recipe.holderpo.checks.memory_settings import engine_of, training_of
from recipe.holderpo.checks.same_settings import compare
from recipe.holderpo.checks.settings import check_config
from tests.holderpo.memory.setups import QWEN25_7B
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT, refusals
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import AS_MEASURED, of
from tests.recipe.composing import composed

__all__ = ["of"]

REF = "actor_rollout_ref.ref"
SHARE = f"{ROLLOUT}.gpu_memory_utilization"
FEW = f"{ROLLOUT}.agent.num_workers=1 reward.num_workers=1"
# Where Adam's copy in the step is what does not fit.
ON_ONE = (
    f"trainer.n_gpus_per_node=1 gpu_memory_gib=30.5 {ACTOR}.ppo_max_token_len_per_gpu=4096 "
    f"{MODEL}.use_fused_kernels=true"
)


def plan_on(config, gib, monkeypatch):
    monkeypatch.setattr(machine_memory, "gpu_memory_here", lambda count: int(gib * GIB))
    return plan_memory(config)


def test_adapters_alone_are_saved_and_vllms_weights_sleep_in_main_memory(of):
    lora = f"{MODEL}.lora_rank=8"
    lines = plan_memory(of("7b", lora)).lines
    assert lines[-1].startswith("disk       30.7 GB")
    # 4 engines of 14.2 GiB in bfloat16, each matrix in a power of two, and 40 of processes.
    assert "147.9 in training, 261.7 while the weights under the adapters go over" in lines[-2]
    merged = plan_memory(of("7b", f"{lora} {MODEL}.lora.merge=true")).lines
    assert "40.0 in training; 40.0 of each is of processes" in merged[-2]
    only = plan_memory(of("7b", f"{lora} ++{ACTOR}.checkpoint.save_lora_only=true")).lines
    assert only[-1].startswith("disk       0.2 GB")


def test_the_measured_run_is_shown_with_every_moment(of, monkeypatch):
    lines = plan_on(of("1.5b", AS_MEASURED), 139.8, monkeypatch).lines
    assert lines[0] == (
        "memory     1.54 B parameters; on each GPU, in GiB: weights 5.8, gradients 5.8, optimiser "
        "state 11.5, its step 5.8, activations 1.6, logits 1.4 (of 8,192 tokens)"
    )
    assert re.search(r"expected, in GiB: 88\.4 while answers are generated, ", lines[1])
    assert lines[1].endswith("at most 63% of the 139.8 of the GPU here")
    assert [line[:11].strip() for line in lines] == ["memory", "", "", "", "disk"]
    assert lines[-1].startswith("disk       18.5 GB for each checkpoint, 37.0 GB for the 2 that")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("", "37.0 GB for the 2 that are kept, and one more while it is written"),
        ("trainer.max_actor_ckpt_to_keep=null", "92.6 GB for the 5 that are kept"),
        ("trainer.total_training_steps=150", "37.0 GB for the 2 that are kept"),
        ("trainer.total_training_steps=60", "18.5 GB for the one that is kept"),
        ("trainer.save_freq=-1", "no checkpoints are written"),
    ],
)
def test_disk_is_of_all_checkpoints_that_are_kept(overrides, line, of):
    assert plan_memory(of("1.5b", overrides)).lines[-1].endswith(line)


def test_without_a_gpu_the_setting_is_the_card_and_without_both_there_is_none(of):
    assert "of the 80.0 of gpu_memory_gib" in plan_memory(of("7b")).lines[1]
    made = plan_memory(of("7b", "gpu_memory_gib=null"))
    assert made.lines[1].endswith("share, 0.5 of a GPU: give gpu_memory_gib to compare")
    assert made.warnings == ()


def test_the_gpu_at_hand_counts_unless_the_run_is_on_a_cluster(of, monkeypatch):
    assert "of the 24.0 of the GPU here" in plan_on(of("7b"), 24, monkeypatch).lines[1]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "of the 80.0 of gpu_memory_gib" in plan_on(of("7b"), 24, monkeypatch).lines[1]


@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_the_papers_machine_is_large_enough(model, of):
    assert plan_memory(of(model)).warnings == ()


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


def test_a_reward_model_on_the_same_gpus_is_said_to_be_left_out(of):
    pool = "reward.reward_model"
    line = "           a reward model on the same GPUs is not counted"
    assert line not in plan_memory(of("7b")).lines
    shared = of("7b", f"{pool}.enable=true {pool}.enable_resource_pool=false")
    assert line in plan_memory(shared).lines
    apart = of("7b", f"{pool}.enable=true {pool}.enable_resource_pool=true")
    assert line not in plan_memory(apart).lines


@pytest.mark.parametrize(
    ("model", "overrides", "fix"),
    [
        ("7b", "", "most is of processes: lower actor_rollout_ref.rollout.agent.num_workers"),
        (
            "1.5b",
            f"trainer.n_gpus_per_node=16 {FEW}",
            "most is of copies that are loaded: each GPU's",
        ),
        ("7b", f"{FSDP}.optimizer_offload=true", "most is of what is offloaded: offload less"),
        (
            "7b",
            f"{ACTOR}.use_kl_loss=true {FEW}",
            "while the reference model is loaded, this machine has 16.0; most is of copies that "
            "are loaded: do without the reference model",
        ),
        (
            "7b",
            f"{FEW} {FSDP}.fsdp_size=1",
            "most is of copies that are loaded: the first process of each copy loads",
        ),
        (
            "7b",
            f"{MODEL}.lora_rank=8",
            f"go over, this machine has 16.0; most is of copies that are loaded: set "
            f"{ROLLOUT}.load_format=safetensors",
        ),
        (
            "7b",
            f"{MODEL}.lora_rank=8 {ROLLOUT}.load_format=safetensors",
            f"most is of weights of sleeping engines: set {MODEL}.lora.merge=true",
        ),
    ],
)
def test_what_most_of_main_memory_is_for_is_to_be_lowered(model, overrides, fix, of, monkeypatch):
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 16 * GIB)
    warnings = plan_on(of(model, overrides), 180, monkeypatch).warnings
    (warning,) = (one for one in warnings if one.startswith("main memory: "))
    assert fix in warning


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


def test_main_memory_is_compared_where_the_run_is_to_be(of, monkeypatch):
    assert plan_on(of("7b"), 80, monkeypatch).warnings == ()
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 16 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert "main memory: " in warning
    assert "68.4 GiB expected while the model is loaded, this machine has 16.0" in warning
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 70 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert warning.startswith("main memory: close: 68.4 GiB expected")
    # On a cluster the machines are others.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert plan_memory(of("7b")).warnings == ()


def test_the_plan_shows_it_on_gpus_only(existing):
    made = check_config(composed("demo", existing))
    assert not any(line.startswith(("memory", "disk")) for line in made.lines)
    lines = check_config(composed("demo", [*existing, *FOUR_GPUS.split()])).lines
    after = [line.split(" ")[0] for line in lines]
    assert after.index("memory") == after.index("devices") + 1


def test_the_plan_has_its_warnings(existing, monkeypatch):
    told = MemoryPlan(("memory     much",), ("memory: too much",))
    monkeypatch.setattr(plan, "plan_memory", lambda config: told)
    made = check_config(composed("demo", existing))
    assert told.lines[0] in made.lines
    assert made.warnings == told.warnings


def test_a_run_may_go_on_with_gpus_of_another_size():
    then, now = (composed("math", [f"gpu_memory_gib={gib}"]) for gib in (40, 80))
    assert compare(then, now, now).differences == ()


def test_a_gpus_memory_means_nothing_on_a_cpu():
    made = plan_memory(composed("demo", ["gpu_memory_gib=80"]))
    assert made.lines == ()
    assert made.warnings == (
        "gpu_memory_gib has no effect: it belongs to GPUs, this is device=cpu",
    )


@pytest.mark.parametrize("value", ["0", "-80", "eighty", "true"])
def test_a_memory_that_is_no_number_is_refused(value, existing):
    (line,) = refusals(existing, f"{FOUR_GPUS} gpu_memory_gib={value}")
    assert line.startswith("gpu_memory_gib: ")
    assert line.endswith("give a number above 0, or null")


def test_a_moment_is_named_as_in_the_lines(of):
    assert STEP in plan_memory(of("7b")).lines[1]
