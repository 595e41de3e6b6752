"""The method stands alone: nothing of verl, ray, vllm or hydra is imported with it."""

import json
import pkgutil
import subprocess
import sys

import holderpo

HEAVY = ("verl", "ray", "vllm", "hydra", "transformers")


def test_importing_every_module_of_holderpo_imports_nothing_heavy():
    modules = [
        module.name for module in pkgutil.walk_packages(holderpo.__path__, prefix="holderpo.")
    ]
    assert "holderpo.power_mean" in modules
    code = (
        "import importlib, json, sys\n"
        f"[importlib.import_module(name) for name in {modules!r}]\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(shown.stdout)) & set(HEAVY)
