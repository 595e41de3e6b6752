"""What the tests of the recipe share."""

import pytest

from recipe.holderpo.checks import machine_memory, this_machine


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """Configurations are checked as on a machine that lacks nothing, whatever runs the tests."""
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 64)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 1024)
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (True, None))
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 2**42)
    monkeypatch.setattr(machine_memory, "gpu_memory_here", lambda count: None)
