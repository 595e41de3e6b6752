"""What this machine or the Ray cluster lacks ends a start at once, and no check."""

import pytest

from recipe.holderpo.checks import packages, this_machine
from recipe.holderpo.checks.from_machine import CPUS_PER_DEVICE, fill_in
from recipe.holderpo.checks.machine import cluster_problems, machine_problems
from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.run.ray_settings import connects_to_ray
from tests.recipe.checks.checking import FOUR_GPUS, MODEL
from tests.recipe.composing import composed

UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
RAY_CPUS = "ray_kwargs.ray_init.num_cpus"
ATTENTION = f"{MODEL}.override_config.attn_implementation"
POOL = "reward.reward_model"


@pytest.fixture
def small_machine(monkeypatch, large_machine):
    """Two CPUs, no GPU, no flash-attn and no Ray instance."""
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 0)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 2)
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (False, None))
    monkeypatch.setattr(this_machine, "why_torch_may_see_none", lambda: "no driver")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


LACKING = [
    # 3 for each of 4 devices, 1 for TransferQueue's controller and 1 for its storage.
    f"{RAY_CPUS}: 13; 4 devices and TransferQueue reserve 14 and would wait for ever: use fewer "
    f"devices, a lower {UNITS} (1), or raise it (Ray only counts)",
    "trainer.n_gpus_per_node * trainer.nnodes: 4; this machine shows 0 GPUs (nvidia-smi, "
    "CUDA_VISIBLE_DEVICES): ask for fewer, or choose device=cpu; with several machines, connect to "
    "their Ray cluster with RAY_ADDRESS (no driver)",
    f"{ATTENTION}: 'flash_attention_2'; flash-attn is not installed here: install it, or choose "
    "'sdpa'",
]


def on_gpus(existing, *more):
    return composed("demo", [*existing, *FOUR_GPUS.split(), *more])


def lacking(config):
    """What a run on this machine's GPUs would find wrong with it."""
    here = this_machine.machine_here()
    fill_in(config, here, on_cluster=connects_to_ray(config))
    return list(machine_problems(config, here))


def lacking_much(existing, *more):
    return on_gpus(existing, f"{RAY_CPUS}=13", f"{ATTENTION}=flash_attention_2", *more)


def test_a_start_is_refused_where_something_is_lacking(existing, small_machine):
    with pytest.raises(ConfigError) as caught:
        check_config(lacking_much(existing))
    assert caught.value.problems == LACKING


def test_a_check_only_warns_of_it(existing, small_machine):
    assert list(check_config(lacking_much(existing, "check=true")).warnings) == LACKING


def test_a_machine_that_has_it_all_is_fit(existing):
    assert lacking(on_gpus(existing)) == []


def test_the_demo_needs_no_more_than_its_own_numbers(existing, small_machine):
    assert list(machine_problems(composed("demo", existing), None)) == []
    many = composed("demo", [*existing, "trainer.n_gpus_per_node=11"])
    (line,) = machine_problems(many, None)
    assert line.startswith(f"{RAY_CPUS}: 32; 11 devices and TransferQueue reserve 35")


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_a_running_ray_is_asked_itself(how, existing, small_machine, monkeypatch):
    more = ["+ray_kwargs.ray_init.address=auto"] if how == "setting" else []
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    config = on_gpus(existing, *more)
    assert lacking(config) == []
    # The trainer runs here.
    monkeypatch.setattr(packages, "is_here", lambda name: False)
    (line,) = lacking(on_gpus(existing, *more))
    assert line.startswith("trainer.logger: 'tensorboard'; tensorboard is not installed here")
    assert list(cluster_problems(config, {"CPU": 21.0, "GPU": 4.0})) == []
    (line,) = cluster_problems(config, {"CPU": 20.0, "GPU": 4.0})
    assert line.startswith(
        "trainer.n_gpus_per_node * trainer.nnodes: 4; the Ray cluster has 20 CPUs, 4 devices and "
        "TransferQueue reserve 21 and would wait for ever"
    )


def test_gpus_that_are_too_few_have_no_driver_to_blame(existing, small_machine, monkeypatch):
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 2)
    (line,) = lacking(on_gpus(existing, f"{RAY_CPUS}=14"))
    assert line.endswith(
        "this machine shows 2 GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES): ask for "
        "fewer, or choose device=cpu; with several machines, connect to their Ray cluster with "
        "RAY_ADDRESS"
    )


def test_a_pool_of_the_reward_model_reserves_too(existing, small_machine):
    more = [f"{POOL}.enable_resource_pool=true", f"{POOL}.n_gpus_per_node=1", f"{POOL}.nnodes=1"]
    cpus, gpus = lacking(on_gpus(existing, *more, f"{RAY_CPUS}=16"))
    assert "5 devices and TransferQueue reserve 17" in cpus
    assert gpus.startswith(
        f"trainer.n_gpus_per_node * trainer.nnodes + those of {POOL}: 5; this machine shows 0 GPUs"
    )


def test_verl_reserves_as_many_cpus_as_counted_here():
    from verl.single_controller.ray.base import ResourcePoolManager

    fields = ResourcePoolManager.__dataclass_fields__
    assert fields["max_colocate_count"].default == CPUS_PER_DEVICE
