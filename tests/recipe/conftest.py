"""What the tests of the recipe share."""

import contextlib
import io
import runpy
import subprocess
import sys

import pytest

from recipe.holderpo import export
from recipe.holderpo.checks import machine_memory, this_machine


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """Configurations are checked as on a machine that lacks nothing, whatever runs the tests."""
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 64)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 1024)
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (True, None))
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 2**42)
    monkeypatch.setattr(machine_memory, "gpu_memory_here", lambda count: None)


@pytest.fixture
def merger(monkeypatch):
    """The export's merger in this process, which may have imported verl already."""

    def run_here(command, **_):
        interpreter, option, module, *arguments = command
        assert (interpreter, option) == (sys.executable, "-m")
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        shown, status = io.StringIO(), 0
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            try:
                runpy.run_module(module, run_name="__main__")
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(command, status, stdout=shown.getvalue())

    monkeypatch.setattr(export.subprocess, "run", run_here)
