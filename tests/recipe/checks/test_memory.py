"""The memory that a plan expects: from which settings, and shown how."""

import re

import pytest

from holderpo.memory.gpu_memory import STEP
from recipe.holderpo.checks import plan
from recipe.holderpo.checks.memory import MemoryPlan, plan_memory
from recipe.holderpo.checks.same_settings import compare
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, refusals
from tests.recipe.checks.memory_runs import AS_MEASURED, of, plan_on
from tests.recipe.composing import composed

__all__ = ["of"]


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


def test_a_reward_model_on_the_same_gpus_is_said_to_be_left_out(of):
    pool = "reward.reward_model"
    line = "           a reward model on the same GPUs is not counted"
    assert line not in plan_memory(of("7b")).lines
    shared = of("7b", f"{pool}.enable=true {pool}.enable_resource_pool=false")
    assert line in plan_memory(shared).lines
    apart = of("7b", f"{pool}.enable=true {pool}.enable_resource_pool=true")
    assert line not in plan_memory(apart).lines


def test_the_plan_shows_it_on_gpus_only(existing):
    made = check_config(composed("demo", existing))
    assert not any(line.startswith(("memory", "disk")) for line in made.lines)
    lines = check_config(composed("demo", [*existing, *FOUR_GPUS.split()])).lines
    after = [line.split(" ")[0] for line in lines]
    assert after.index("devices") < after.index("machine") < after.index("memory")
    assert after.index("memory") < after.index("seed")


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
