"""What follows from the machine that a run starts on, with machines of all sizes."""

import os
import sys
import types

import pytest
from omegaconf import OmegaConf

from recipe.holderpo import this_machine
from recipe.holderpo.checks.settings import check_config
from recipe.holderpo.this_machine import (
    ATTENTION,
    FLASH,
    RAY_CPUS,
    SDPA,
    STORAGE_UNITS,
    Machine,
    fill_in,
    usable_cpus,
)
from tests.recipe.checks.checking import ACTOR, ENGINE, MODEL, ROLLOUT
from tests.recipe.composing import composed
from tests.recipe.data_files import write_data

LOOPS, REWARDS = f"{ROLLOUT}.agent.num_workers", "reward.num_workers"
# Read before the tests' large machine takes its place.
find_flash_attention, count_gpus = this_machine.flash_attention_error, this_machine.visible_gpus


@pytest.fixture(scope="module")
def existing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("existing")
    write_data(folder)
    return [
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/heldout.parquet",
        f"{MODEL}.path={folder}/model",
    ]


@pytest.fixture(autouse=True)
def no_running_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def filled(name, machine, *overrides):
    config = composed(name, overrides)
    fill_in(config, machine)
    return config


def values(config):
    return {
        name: OmegaConf.select(config, name)
        for name in (LOOPS, REWARDS, STORAGE_UNITS, ATTENTION, RAY_CPUS)
    }


@pytest.mark.parametrize(
    ("cpus", "loops", "rewards", "units", "ray"),
    [
        # Ray has to count 3 for the GPU, 1 for the controller and the storage, whatever there is.
        (1, 1, 1, 1, 5),
        (4, 1, 1, 1, 5),
        (8, 2, 1, 1, 8),
        (16, 4, 2, 2, 16),
        (64, 8, 8, 8, 64),
        (256, 8, 8, 8, 256),
    ],
)
def test_processes_follow_the_number_of_cpus(cpus, loops, rewards, units, ray):
    config = filled("demo", Machine(cpus, 1, None), "device=cuda")
    assert values(config) == {
        LOOPS: loops,
        REWARDS: rewards,
        STORAGE_UNITS: units,
        ATTENTION: FLASH,
        RAY_CPUS: ray,
    }


@pytest.mark.parametrize(
    ("gpus", "cpus"), [(1, 1), (1, 2), (1, 12), (1, 192), (8, 8), (4, 96), (8, 256)]
)
def test_the_demo_needs_no_further_setting_on_any_machine(gpus, cpus, existing, monkeypatch):
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: cpus)
    config = composed("demo", [*existing, "device=cuda"])
    plan = check_config(config)
    assert plan.warnings == ()
    assert "devices    1 x 1 cuda" in plan.lines
    assert config.actor_rollout_ref.rollout.tensor_model_parallel_size == 1


def test_what_is_given_stands():
    given = {LOOPS: 3, REWARDS: 5, STORAGE_UNITS: 2, ATTENTION: "eager", RAY_CPUS: 7}
    config = composed("demo", ["device=cuda", *(f"{name}={given[name]}" for name in given)])
    assert fill_in(config, Machine(64, 1, None)).names == ()
    assert values(config) == given


def test_the_paper_s_machines_keep_their_own_numbers():
    config = composed("math_qwen25_math_7b")
    assert REWARDS not in fill_in(config, Machine(96, 4, "no module")).names
    assert values(config)[REWARDS] == 2
    assert values(config)[ATTENTION] == FLASH


def test_environments_are_counted_too():
    config = filled("alfworld_qwen25_1_5b", Machine(2, 4, None), "agent.environment.num_workers=3")
    # 3 for each of 4 devices, 1 and 1 for TransferQueue, 1.5 for environments.
    assert values(config)[RAY_CPUS] == 16


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_a_running_ray_keeps_its_own_count(how, monkeypatch):
    more = ["+ray_kwargs.ray_init.address=auto"] if how == "setting" else []
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    config = filled("demo", Machine(16, 1, None), "device=cuda", *more)
    assert values(config)[RAY_CPUS] is None
    assert values(config)[LOOPS] == 4


@pytest.mark.parametrize(
    ("overrides", "error", "attention"),
    [
        ([], None, FLASH),
        ([], "undefined symbol", SDPA),
        # Nothing else could share a response between devices: refused where it is not there.
        ([f"{ACTOR}.ulysses_sequence_parallel_size=2"], "undefined symbol", FLASH),
        ([f"+{ENGINE}.mixed_precision.param_dtype=fp32"], None, SDPA),
        ([f"+{ENGINE}.mixed_precision.param_dtype=bf16"], None, FLASH),
    ],
)
def test_flash_attention_is_taken_where_it_can_be(overrides, error, attention):
    overrides = [text.replace("+", "++") for text in overrides]
    config = filled("demo", Machine(16, 1, error), "device=cuda", *overrides)
    assert values(config)[ATTENTION] == attention


def shown(existing, monkeypatch, *overrides):
    """The plan on a machine of 16 CPUs and 2 GPUs without flash-attn."""
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 2)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 16)
    monkeypatch.setattr(this_machine, "flash_attention_error", lambda: "No module flash_attn")
    return check_config(composed("demo", [*existing, "device=cuda", *overrides]))


def test_the_plan_shows_what_was_taken_from_the_machine(existing, monkeypatch):
    plan = shown(existing, monkeypatch, f"{REWARDS}=1")
    first = plan.lines.index("devices    1 x 1 cuda") + 1
    assert plan.lines[first : first + 5] == (
        "machine    16 CPUs, 2 GPUs of which 1 is used, no flash-attn",
        f"from it    {LOOPS}=4",
        f"from it    {STORAGE_UNITS}=2",
        f"from it    {ATTENTION}=sdpa",
        f"from it    {RAY_CPUS}=16",
    )


def test_the_want_of_flash_attention_is_said_with_its_cost(existing, monkeypatch):
    # 64 rows of at most 18 + 18 tokens.

    def said(*overrides):
        warnings = shown(existing, monkeypatch, *overrides).warnings
        (warning,) = [warning for warning in warnings if warning.startswith(ATTENTION)]
        return warning

    warning = said()
    assert warning == (
        f"{ATTENTION} is 'sdpa', because flash-attn cannot be imported here (No module "
        "flash_attn): attention goes over whole micro-batches of up to 2,304 tokens, 64 times its "
        "arithmetic for rows of 36 tokens, more for shorter ones (install flash-attn "
        f"(README, Train on GPUs), or lower {ACTOR}.ppo_micro_batch_size_per_gpu)"
    )
    by_tokens = [f"{ACTOR}.use_dynamic_bsz=true", f"{ACTOR}.ppo_max_token_len_per_gpu=360"]
    warning = said(*by_tokens)
    assert "up to 360 tokens, 10 times its arithmetic" in warning
    assert warning.endswith(f"or lower {ACTOR}.ppo_max_token_len_per_gpu)")
    padded = said(f"{MODEL}.use_remove_padding=false")
    assert "attention goes over rows padded to the longest one" in padded


def test_who_chooses_sdpa_knows_it(existing, monkeypatch):
    assert shown(existing, monkeypatch, f"{ATTENTION}=sdpa").warnings == ()


def test_a_run_on_a_cpu_takes_nothing_from_the_machine(existing, monkeypatch):
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: pytest.fail("not asked"))
    config = composed("demo", existing)
    before = config.copy()
    plan = check_config(config)
    assert config == before
    assert not [line for line in plan.lines if line.startswith(("machine", "from it"))]


def test_settings_of_a_wrong_kind_are_left_to_the_checks(existing):
    wrong = ["trainer.n_gpus_per_node=two", f"{STORAGE_UNITS}=many"]
    config = filled("demo", Machine(16, 1, None), "device=cuda", *wrong)
    assert values(config)[RAY_CPUS] is None
    assert values(config)[STORAGE_UNITS] == "many"


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        (None, 16),
        ("max 100000", 16),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9900000 100000", 16),
        ("garbage", 16),
    ],
)
def test_cpus_are_those_that_a_container_leaves(quota, cpus, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cpus(tmp_path / "cpu.max") == cpus


def test_flash_attention_that_cannot_be_imported_is_not_there(tmp_path, monkeypatch):
    package = tmp_path / "flash_attn"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "flash_attn_interface.py").write_text("raise ImportError('undefined symbol: _Z3')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("flash_attn", "flash_attn.flash_attn_interface"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert find_flash_attention() == "undefined symbol: _Z3"
    working = types.ModuleType("flash_attn.flash_attn_interface")
    monkeypatch.setitem(sys.modules, "flash_attn.flash_attn_interface", working)
    assert find_flash_attention() is None


def test_gpus_are_counted_as_torch_counts_them(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert count_gpus() == 3
