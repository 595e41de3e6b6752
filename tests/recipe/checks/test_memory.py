"""The memory that a plan expects: from which settings, shown how, and what is to be lowered."""

import re

import pytest

from holderpo.memory.gpu_memory import STEP
from holderpo.memory.sizes import GIB
from recipe.holderpo.checks import machine, plan
from recipe.holderpo.checks.memory import MemoryPlan, plan_memory
from recipe.holderpo.checks.same_settings import compare
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT, refusals
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import AS_MEASURED, of
from tests.recipe.composing import composed

__all__ = ["of"]

SHARE = f"{ROLLOUT}.gpu_memory_utilization"
# Where Adam's copy in the step is what does not fit.
ON_ONE = (
    f"trainer.n_gpus_per_node=1 gpu_memory_gib=29 {ACTOR}.ppo_max_token_len_per_gpu=4096 "
    f"{MODEL}.use_fused_kernels=true"
)


def plan_on(config, gib, monkeypatch):
    monkeypatch.setattr(machine, "gpu_memory_here", lambda: int(gib * GIB))
    return plan_memory(config)


def test_adapters_alone_are_saved_and_vllms_weights_sleep_in_main_memory(of):
    lora = f"{MODEL}.lora_rank=8"
    lines = plan_memory(of("7b", lora)).lines
    assert lines[-1].startswith("disk       30.7 GB")
    # 4 engines of 15.2 GB in bfloat16.
    assert "56.7 offloaded" in lines[-2]
    merged = plan_memory(of("7b", f"{lora} {MODEL}.lora.merge=true")).lines
    assert "0.0 offloaded" in merged[-2]
    only = plan_memory(of("7b", f"{lora} ++{ACTOR}.checkpoint.save_lora_only=true")).lines
    assert only[-1].startswith("disk       0.2 GB")


def test_the_measured_run_is_shown_with_every_moment(of, monkeypatch):
    lines = plan_on(of("1.5b", AS_MEASURED), 139.8, monkeypatch).lines
    assert lines[0] == (
        "memory     1.54 B parameters; on each GPU, in GiB: weights 5.8, gradients 5.8, optimiser "
        "state 11.5, its step 5.8, activations 1.6, logits 1.4 (of 8,192 tokens)"
    )
    assert re.search(r"expected, in GiB: 87\.\d while answers are generated, ", lines[1])
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
        ("7b", f"{SHARE}=0.8", f"lower {SHARE} from 0.8 to 0.7"),
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
            "in actor_rollout_ref.rollout lower log_prob_max_token_len_per_gpu from 262144 to",
        ),
        (
            "1.5b",
            f"{ON_ONE} {SHARE}=0.25",
            f"29.0 of gpu_memory_gib, 30.9 in the optimiser step: set "
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
        ("7b", "gpu_memory_gib=8", "no setting is enough: take larger GPUs, or many more"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_to_change(model, overrides, fix, of):
    (warning,) = plan_memory(of(model, overrides)).warnings
    assert warning.startswith("memory: on each GPU more GiB are expected than the ")
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
        f"{ROLLOUT}.tensor_model_parallel_size"
    )


def test_main_memory_is_compared_where_the_run_is_to_be(of, monkeypatch):
    assert plan_on(of("7b"), 80, monkeypatch).warnings == ()
    monkeypatch.setattr(machine, "own_memory", lambda: 16 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert "main memory: " in warning
    assert "this machine has 16.0: lower" in warning
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
