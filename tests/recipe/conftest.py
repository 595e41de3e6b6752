"""What the tests of the recipe share."""

import pytest

from recipe.holderpo.checks import machine, machine_memory


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """Configurations are checked as on a machine that lacks nothing, whatever runs the tests."""
    monkeypatch.setattr(machine, "visible_gpus", lambda: 64)
    monkeypatch.setattr(machine, "own_cpus", lambda: 1024)
    monkeypatch.setattr(machine, "has_flash_attention", lambda: True)
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 2**42)
    monkeypatch.setattr(machine_memory, "gpu_memory_here", lambda count: None)
