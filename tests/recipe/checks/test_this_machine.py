"""What is found of the machine that this process runs on."""

import os
import sys
from pathlib import Path

import pytest
import torch

# By name: in the tests' large machine others stand in the module.
from recipe.holderpo.checks.this_machine import (
    look_for_flash_attention,
    usable_cpus,
    visible_gpus,
    why_torch_may_see_none,
)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        (None, 16),
        ("max 100000", 16),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9900000 100000", 16),
        ("garbage", 16),
    ],
)
def test_cpus_are_those_that_a_container_leaves(quota, cpus, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cpus(tmp_path / "cpu.max") == cpus


def install(folder, name, interface):
    """A distribution whose package flash_attn has this as its interface."""
    information = folder / f"{name.replace('-', '_')}-2.8.3.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.8.3\n")
    (folder / "flash_attn").mkdir()
    (folder / "flash_attn/__init__.py").write_text("")
    if interface is not None:
        (folder / "flash_attn/flash_attn_interface.py").write_text(interface)


@pytest.mark.parametrize(
    ("name", "interface", "found"),
    [
        ("flash-attn", "", (True, None)),
        (
            "flash-attn",
            "raise ImportError('undefined symbol: _Z3')",
            (True, "undefined symbol: _Z3"),
        ),
        ("flash-attn", None, (True, "No module named 'flash_attn.flash_attn_interface'")),
        # It brings a package of the same name.
        ("flash-attn-4", None, (False, None)),
    ],
)
def test_flash_attention_is_there_broken_or_absent(name, interface, found, tmp_path, monkeypatch):
    install(tmp_path, name, interface)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("flash_attn", "flash_attn.flash_attn_interface"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert look_for_flash_attention() == found


def test_without_the_distribution_there_is_no_flash_attention():
    assert look_for_flash_attention() == (False, None)


def test_gpus_are_counted_as_torch_counts_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_gpus() == 3


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (None, f"torch {torch.__version__} is a build without CUDA"),
        ("13.0", "its driver may be too old for torch's CUDA 13.0: CUDA 13 takes one of the 580"),
    ],
)
def test_a_machine_without_gpus_says_what_may_hide_them(cuda, expected, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert expected in why_torch_may_see_none()


def test_ray_by_itself_counts_what_the_scheduler_keeps_back(monkeypatch):
    """So that a run tells it a number."""
    import multiprocessing

    from ray._private.utils import get_num_cpus

    monkeypatch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
    monkeypatch.setattr(multiprocessing, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert get_num_cpus() == 64
    assert usable_cpus(Path("no quota")) == 2
