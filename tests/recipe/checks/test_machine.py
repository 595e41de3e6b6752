"""What this machine or the Ray cluster lacks ends a start at once, and no check."""

import pytest

from recipe.holderpo.checks import machine
from recipe.holderpo.checks.machine import cluster_problems, machine_problems
from recipe.holderpo.checks.settings import ConfigError, check_config
from tests.recipe.checks.checking import FOUR_GPUS, MODEL, ROLLOUT
from tests.recipe.composing import composed

UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"


@pytest.fixture
def small_machine(monkeypatch, large_machine):
    """Two CPUs, no GPU, no flash-attn and no Ray instance."""
    monkeypatch.setattr(machine, "visible_gpus", lambda: 0)
    monkeypatch.setattr(machine, "own_cpus", lambda: 2)
    monkeypatch.setattr(machine, "has_flash_attention", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


LACKING = [
    # 3 for each of 4 devices, 1 for TransferQueue's controller and 1 for its storage.
    "ray_kwargs.ray_init.num_cpus: null, and this machine has 2; 4 devices and TransferQueue "
    f"reserve 14 and would wait for ever: use fewer devices, a lower {UNITS} (1), or raise it "
    "(Ray only counts)",
    "trainer.n_gpus_per_node * trainer.nnodes: 4; this machine shows 0 GPUs (nvidia-smi, "
    "CUDA_VISIBLE_DEVICES): ask for fewer, or choose device=cpu; with several machines, connect to "
    "their Ray cluster with RAY_ADDRESS",
    f"{MODEL}.override_config.attn_implementation: 'flash_attention_2'; flash-attn is not "
    f"installed here: install it, or choose 'sdpa' with {MODEL}.use_remove_padding=false",
]


def on_gpus(existing, *more):
    return composed("demo", [*existing, *FOUR_GPUS.split(), f"{UNITS}=1", *more])


def test_a_start_is_refused_where_something_is_lacking(existing, small_machine):
    with pytest.raises(ConfigError) as caught:
        check_config(on_gpus(existing))
    assert caught.value.problems == LACKING


def test_a_check_only_warns_of_it(existing, small_machine):
    assert list(check_config(on_gpus(existing, "check=true")).warnings) == LACKING


def test_a_machine_that_has_it_all_is_fit(existing):
    assert list(machine_problems(on_gpus(existing))) == []


@pytest.mark.parametrize("setting", ["ray_kwargs.ray_init.num_cpus=14", None])
def test_cpus_are_logical_to_ray(setting, existing, small_machine):
    config = on_gpus(existing, *([setting] if setting else []))
    lines = [line for line in machine_problems(config) if line.startswith("ray_kwargs")]
    assert len(lines) == (0 if setting else 1)


def test_the_demo_needs_no_more_than_its_own_numbers(existing, small_machine):
    assert list(machine_problems(composed("demo", existing))) == []
    (line,) = machine_problems(composed("demo", [*existing, "trainer.n_gpus_per_node=11"]))
    assert line.startswith(
        "ray_kwargs.ray_init.num_cpus: 32; 11 devices and TransferQueue reserve 35"
    )


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_a_running_ray_is_asked_itself(how, existing, small_machine, monkeypatch):
    more = ["+ray_kwargs.ray_init.address=auto"] if how == "setting" else []
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    config = on_gpus(existing, *more)
    assert list(machine_problems(config)) == []
    assert list(cluster_problems(config, {"CPU": 14.0, "GPU": 4.0})) == []
    (line,) = cluster_problems(config, {"CPU": 13.0, "GPU": 4.0})
    assert line.startswith(
        "trainer.n_gpus_per_node * trainer.nnodes: 4; the Ray cluster has 13 CPUs, 4 devices and "
        "TransferQueue reserve 14 and would wait for ever"
    )


def test_a_pool_of_the_reward_model_reserves_too(existing, small_machine):
    pool = "reward.reward_model"
    more = [f"{pool}.enable_resource_pool=true", f"{pool}.n_gpus_per_node=1", f"{pool}.nnodes=1"]
    first = next(machine_problems(on_gpus(existing, *more)))
    assert "5 devices and TransferQueue reserve 17" in first


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.logger=[swanlab]", "trainer.logger: 'swanlab'; it is not installed here"),
        (f"{ROLLOUT}.name=sglang", f"{ROLLOUT}.name: 'sglang'; it is not installed here"),
    ],
)
def test_a_package_that_is_not_there_is_named(override, expected, existing, monkeypatch):
    find = machine.importlib.util.find_spec
    absent = ("swanlab", "sglang")
    monkeypatch.setattr(
        machine.importlib.util, "find_spec", lambda name: None if name in absent else find(name)
    )
    (line,) = machine_problems(on_gpus(existing, override))
    assert line.startswith(expected)


def test_verl_reserves_as_many_cpus_as_counted_here():
    from verl.single_controller.ray.base import ResourcePoolManager

    fields = ResourcePoolManager.__dataclass_fields__
    assert fields["max_colocate_count"].default == machine.CPUS_PER_DEVICE
