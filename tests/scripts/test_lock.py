"""The lock for GPUs: what verl asks for, whole, and found again by uv."""

import re
import runpy
import subprocess
import sys
from importlib.metadata import metadata

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recipe.holderpo.checks.versions import SUPPORTED_VERL
from tests.recipe.launching import REPOSITORY

lock = runpy.run_path(str(REPOSITORY / "scripts/lock.py"))
UV = [sys.executable, "-m", "uv"]
TEXT = lock["GPU_LOCK"].read_text()
PIN = re.compile(r"^([\w.-]+)==([^\s\\]+)", re.MULTILINE)
PINS = {canonicalize_name(name): version for name, version in PIN.findall(TEXT)}
# As the lock has it, when markers are evaluated.
MACHINE = {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}


@pytest.fixture
def extras(monkeypatch):
    declared = {}
    monkeypatch.setattr(setuptools, "setup", declared.update)
    monkeypatch.chdir(REPOSITORY)
    runpy.run_path("setup.py")
    return declared["extras_require"] | {"": declared["install_requires"]}


def of_verl(extra):
    """What an extra of verl asks for, those that it names in turn included."""
    for text in metadata("verl").get_all("Requires-Dist"):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(MACHINE | {"extra": extra}):
            continue
        if requirement.name == "verl":
            for inner in requirement.extras:
                yield from of_verl(inner)
        else:
            yield requirement


def test_the_extras_for_gpus_name_extras_that_verl_has(extras):
    provided = metadata("verl").get_all("Provides-Extra")
    for name in ("gpu", "fsdp"):
        (requirement,) = map(Requirement, extras[name])
        assert str(requirement.specifier) == f"=={SUPPORTED_VERL}"
        assert requirement.extras
        assert requirement.extras <= set(provided)


def test_only_one_extra_builds_flash_attention(extras):
    """It cannot be built before torch is there, so the first of them must not bring it."""
    for name, brings_it in (("gpu", False), ("fsdp", True)):
        (requirement,) = map(Requirement, extras[name])
        names = {asked.name for extra in requirement.extras for asked in of_verl(extra)}
        assert (lock["NOT_LOCKED"] in names) is brings_it


def test_the_lock_has_what_the_project_and_verl_ask_for(extras):
    asked = [Requirement(text) for name in ("", "gpu", "fsdp") for text in extras[name]]
    asked += [*of_verl("vllm"), *of_verl("fsdp")]
    assert len(asked) > 40
    built = lock["NOT_LOCKED"]
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        if name != built:
            assert requirement.specifier.contains(PINS[name]), requirement
    assert built not in PINS


def test_the_page_builds_the_flash_attention_that_verl_names():
    (version,) = {str(one.specifier) for one in of_verl("fsdp") if one.name == lock["NOT_LOCKED"]}
    page = (REPOSITORY / "README.md").read_text()
    assert f"--no-build-isolation {lock['NOT_LOCKED']}{version}\n" in page
    # Its setup.py imports wheel.bdist_wheel, which wheel is about to drop.
    assert "--no-deps wheel==0.46.3\n" in page
    assert f"(verl names {version.removeprefix('==')})" in TEXT


def test_every_pin_for_gpus_has_a_hash_and_no_index():
    entries = TEXT.replace("\\\n", "").splitlines()
    pinned = [entry for entry in entries if entry and not entry.startswith("#")]
    assert len(pinned) == len(PINS)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in pinned)
    assert "://" not in TEXT
    assert "index" not in " ".join(pinned)


def test_what_is_no_pin_is_refused_and_not_left_out():
    pins = ["numpy==2.3.5", "colorama==0.4.6 ; sys_platform == 'win32'"]
    assert lock["pins_of"]("\n".join([*pins, ""])) == pins
    for other in ("verl @ file:///x", "ray[default]==2.5", "-e .", "torch>=2", "torch==2.11.0+cpu"):
        with pytest.raises(ValueError, match="no pins: "):
            lock["pins_of"]("\n".join([*pins, other]))


@pytest.mark.parametrize(
    ("output", "is_one"),
    [
        # What uv 0.13.9 says to a refused connection, an unknown host, and when told to stay away.
        ("error: Failed to fetch: x\n  cause: error sending request for url (x)\n", True),
        ("hint: Packages were unavailable because the network was disabled.", True),
        ("error: Failed to fetch: x\n  cause: HTTP status client error (403 Forbidden)", False),
        ("  x No solution found when resolving dependencies:\n  because verl==0.9.1", False),
        ("No module named uv", False),
        ("error: unexpected argument '--no-dep' found", False),
    ],
)
def test_only_a_connection_that_fails_is_one(output, is_one):
    assert is_connection_failure(output) is is_one


def is_connection_failure(output):
    return "error sending request" in output or "network was disabled" in output


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_uv_finds_the_same_packages_again(tmp_path):
    """With the lock as its constraints uv comes to all of it and to nothing else.

    So the lock is whole and goes together. Whether it is the newest that setup.py allows cannot be
    seen so: ``scripts/lock.py --resolve-gpu`` finds out.
    """
    version = subprocess.run([*UV, "--version"], capture_output=True, text=True)
    assert version.returncode == 0, version.stderr
    probe = tmp_path / "probe.txt"
    probe.write_text(f"verl=={SUPPORTED_VERL}\n")
    reachable = subprocess.run(
        [*lock["UV"], "--no-deps", str(probe)], capture_output=True, text=True
    )
    if reachable.returncode and is_connection_failure(reachable.stderr):
        pytest.skip("needs a package index")
    assert reachable.returncode == 0, reachable.stderr
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in PINS.items()))
    found = lock["resolve_gpu"](["--constraints", str(constraints)])
    resolved = {canonicalize_name(name): version for name, version in map(split, found)}
    assert resolved.pop(lock["NOT_LOCKED"])
    assert resolved == PINS


def split(pin):
    return pin.split("==")
