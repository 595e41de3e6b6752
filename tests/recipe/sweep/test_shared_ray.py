"""The Ray instance that the runs of a sweep share."""

import signal

import pytest
import ray

from recipe.holderpo.checks import this_machine
from recipe.holderpo.sweep import __main__ as sweep
from recipe.holderpo.sweep.shared_ray import ray_for_runs
from tests.recipe.composing import composed

PROCESSES = {
    "actor_rollout_ref.rollout.agent.num_workers": 2,
    "reward.num_workers": 1,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
}


@pytest.fixture(autouse=True)
def small_machine(monkeypatch, large_machine):
    """Eight CPUs and a GPU, without flash-attn."""
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 8)
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 1)
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (False, None))


@pytest.fixture
def started(monkeypatch):
    """What ray.init is told, without a Ray."""
    told = {}

    class Context:
        gcs_address = "10.0.0.1:6379"

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", lambda **settings: told.update(settings))
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray, "shutdown", lambda: told.update(ended=True))
    yield told
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("overrides", "cpus"),
    [(["device=cuda"], 8), (["device=cuda", "ray_kwargs.ray_init.num_cpus=20"], 20), ([], 32)],
)
def test_a_shared_instance_counts_what_the_first_run_would(overrides, cpus, started):
    with ray_for_runs("shared", lambda: composed("demo", overrides)) as address:
        assert address == "10.0.0.1:6379"
        assert (started["address"], started["num_cpus"]) == ("local", cpus)
        assert "ended" not in started
    assert started["ended"]


@pytest.mark.parametrize(("choice", "address"), [("own", None), ("10.0.0.2:1", "10.0.0.2:1")])
def test_without_a_shared_instance_none_is_started(choice, address, started):
    with ray_for_runs(choice, lambda: pytest.fail("not composed")) as found:
        assert found == address
    assert started == {}


def commands(tmp_path, *words):
    arguments = sweep.parse_arguments(["--methods", "grpo", f"--out={tmp_path}", *words])
    (run,) = sweep.plan_runs(arguments)
    return sweep._command(run, arguments, run.folder(tmp_path))


def test_runs_on_a_shared_instance_take_what_they_would_take_by_themselves(tmp_path):
    """They see an instance that is up, and not that it is on this machine."""
    command = commands(tmp_path, "--ray=shared", "device=cuda")
    assert command[-4:] == [f"++{name}={value}" for name, value in PROCESSES.items()]
    given = commands(tmp_path, "--ray=shared", "device=cuda", "reward.num_workers=5")
    assert given[-3:] == [word for word in command[-4:] if "reward" not in word]


@pytest.mark.parametrize(
    "words", [["--ray=shared"], ["--ray=own", "device=cuda"], ["--ray=10.0.0.2:1", "device=cuda"]]
)
def test_other_runs_find_out_for_themselves(words, tmp_path):
    assert not [word for word in commands(tmp_path, *words) if word.startswith("++")]
