"""What a start does before anything of verl runs; beside a Ray that only notes what it is told."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from recipe.holderpo.run import launch
from recipe.holderpo.run.cluster import ClusterError
from recipe.holderpo.run.progress import Progress
from tests.recipe.composing import composed

WAITS = "the nodes of the Ray cluster"


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts a run; the names of what it did, in order, and Ray's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("RAY_ADDRESS", None)

    def run(config, check=lambda: None, connect=lambda: None):
        done, settings, progress = [], {}, Progress()

        def init(**given):
            done.append("ray")
            settings.update(given)
            connect()

        def checked(config, say):
            done.append(f"check, limited {progress.is_limited}, {progress.waiting_for}")
            check()

        modules = {
            "ray": {"init": init},
            "transfer_queue": {"init": lambda config: done.append("queue")},
            "verl.trainer.constants_ppo": {
                "get_ppo_ray_runtime_env": lambda config: {"env_vars": {}}
            },
        }
        for name, content in modules.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(launch, "check_before_start", checked)

        def fit(config, console, phases, plan, progress):
            done.append(f"fit, limited {progress.is_limited}")

        monkeypatch.setattr(launch, "_fit", fit)
        Path(config.run_dir).mkdir(parents=True)
        console = SimpleNamespace(phase=lambda *phase: None, say=lambda line: None)
        watch = SimpleNamespace(ray_is_up=lambda: None)
        try:
            launch._train(config, console, None, watch, progress)
        except ClusterError as error:
            done.append(error)
        return done, settings

    return run


def test_the_nodes_are_looked_at_before_transfer_queue_and_may_take_their_time(start):
    done, _ = start(composed("demo"))
    assert done == ["ray", f"check, limited False, {WAITS}", "queue", "fit, limited True"]


def test_after_a_refusal_nothing_is_started(start):
    refusal = ClusterError(["one", "two"])

    def refuse():
        raise refusal

    done, _ = start(composed("demo"), refuse)
    assert done == ["ray", f"check, limited False, {WAITS}", refusal]


@pytest.mark.parametrize("why", ["InvalidAuthToken: missing", "nobody there"])
def test_a_cluster_that_asks_for_its_token_is_told_from_none(why, start):
    error = ConnectionError("Failed to connect")
    error.__cause__ = RuntimeError(why)

    def refuse():
        raise error

    config = composed("demo", ["+ray_kwargs.ray_init.address=head:6379"])
    if "Token" not in why:
        with pytest.raises(ConnectionError, match="Failed to connect"):
            start(config, connect=refuse)
        return
    (_, refusal), _ = start(config, connect=refuse)
    (line,) = refusal.problems
    assert line.startswith("RAY_ADDRESS: head:6379; that Ray cluster asks for its token: set RAY_")


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_ranks_on_other_nodes_write_checkpoints_into_the_runs_folder(how, start, tmp_path):
    """Each from the folder in which its Ray was started."""
    config = composed("demo", ["+ray_kwargs.ray_init.address=auto"] if how == "setting" else [])
    if how == "variable":
        os.environ["RAY_ADDRESS"] = "head:6379"
    _, settings = start(config)
    assert config.trainer.default_local_dir == f"{tmp_path}/{config.run_dir}/checkpoints"
    assert settings["address"] == ("auto" if how == "setting" else "head:6379")
    assert "num_cpus" not in settings


@pytest.mark.parametrize("overrides", [[], ["+ray_kwargs.ray_init.address=local"]])
def test_a_ray_of_the_runs_own_gets_its_settings(overrides, start):
    config = composed("demo", overrides)
    _, settings = start(config)
    assert config.trainer.default_local_dir == f"{config.run_dir}/checkpoints"
    assert (settings["address"], settings["num_cpus"]) == ("local", 32)
    assert settings["runtime_env"]["env_vars"]["TRANSFER_QUEUE_ENABLE"] == "1"
