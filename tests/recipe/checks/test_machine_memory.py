"""Memory of this machine and of its GPUs, as the driver and the system tell it."""

import subprocess
import sys
from pathlib import Path

import pytest

from recipe.holderpo.checks import machine_memory

GIB = 2**30
# Taken as they are, before what the tests share puts others in their place.
gpu_memory_here, own_memory = machine_memory.gpu_memory_here, machine_memory.own_memory
TWO = "0, GPU-aaaa-1, 81559\n1, GPU-bbbb-2, 24576\n"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program called nvidia-smi that says what it is given to say."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def says(output, code=0, seconds=0):
        program = tmp_path / "nvidia-smi"
        lines = ["#!/bin/sh", f"sleep {seconds}", "cat <<'END'", f"{output}END", f"exit {code}"]
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)

    return says


@pytest.mark.parametrize(
    ("visible", "count", "mib"),
    [
        (None, 8, 24_576),
        # Only those that are used.
        (None, 1, 81_559),
        ("1", 1, 24_576),
        ("1,0", 1, 24_576),
        ("GPU-aaaa-1", 1, 81_559),
        ("GPU-bb", 2, 24_576),
        # CUDA stops at the first that is not there.
        ("0,7,1", 8, 81_559),
        ("", 1, None),
        ("MIG-aaaa", 1, None),
    ],
)
def test_the_smallest_gpu_that_a_run_would_use_counts(visible, count, mib, driver, monkeypatch):
    driver(TWO)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_memory_here(count) == (mib and mib * 2**20)


@pytest.mark.parametrize(
    ("output", "code"), [("No devices were found\n", 0), ("0, GPU-a, [N/A]\n", 0), (TWO, 9)]
)
def test_a_driver_that_cannot_tell_is_no_gpu(output, code, driver):
    driver(output, code)
    assert gpu_memory_here(1) is None


def test_a_driver_that_hangs_is_no_gpu(driver, monkeypatch):
    monkeypatch.setattr(machine_memory, "_SECONDS", 0.2)
    driver(TWO, seconds=3)
    assert gpu_memory_here(1) is None


def test_without_a_driver_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_here(1) is None


def test_this_process_does_not_load_torch_for_it(tmp_path):
    code = (
        "import sys; from recipe.holderpo.checks.machine_memory import gpu_memory_here; "
        "gpu_memory_here(1); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def lay(root, lines, limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("lines", "limits", "least"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": f"{8 * GIB}\n"}, 8),
        ("0::/job/step\n", {"job/step/memory.max": "max\n", "job/memory.max": f"{4 * GIB}\n"}, 4),
        (
            "0::/job/step\n",
            {"job/step/memory.max": f"{2 * GIB}\n", "job/memory.max": f"{4 * GIB}\n"},
            2,
        ),
        # The whole of a container, whose own name is not known in it.
        ("0::/outside/here\n", {"memory.max": f"{8 * GIB}\n"}, 8),
        (
            "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n",
            {"memory/job/memory.limit_in_bytes": f"{3 * GIB}\n"},
            3,
        ),
        ("4:memory:/outside\n", {"memory/memory.limit_in_bytes": f"{5 * GIB}\n"}, 5),
        # Version 1's way to say that there is none.
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 2**33 - 1),
        ("", {"memory.max": f"{6 * GIB}\n"}, 6),
    ],
)
def test_a_control_groups_limit_counts(lines, limits, least, tmp_path):
    lay(tmp_path, lines, limits)
    found = min(machine_memory._limits(tmp_path), default=None)
    assert (found and found // GIB) == least


def test_main_memory_is_the_smaller_of_machine_and_limit(monkeypatch):
    monkeypatch.setattr(machine_memory, "_limits", lambda root: iter([5 * GIB, 7 * GIB]))
    assert own_memory() == 5 * GIB
    monkeypatch.setattr(machine_memory, "_limits", lambda root: iter([2**62]))
    assert GIB // 4 < own_memory() < 2**50
    monkeypatch.setattr(machine_memory, "_limits", lambda root: iter([]))
    assert own_memory() > GIB // 4


def test_a_system_without_control_groups_has_no_limit(tmp_path):
    assert list(machine_memory._limits(tmp_path)) == []
