"""The launcher for a Ray cluster: what it submits, and what the job runs there."""

import os
import shlex
import shutil
import subprocess

import pytest

from tests.recipe.launching import REPOSITORY
from tests.scripts.cluster_programs import PYTHON, calls, write_program

ADDRESS = "http://head:8265"
WORDS = [
    "seed=1",
    "a='b c'",
    'data.train_files=[x.parquet, "y z"]',
    "+e={k: $HOME}",
    "~f",
    "b=\\",
    "",
]


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a checkout"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    shutil.copytree(REPOSITORY / "configs", folder / "configs")
    write_program(folder / ".venv/bin/python", PYTHON)
    return folder


def submit(checkout, *arguments, **environment):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RAY"))}
    own |= {"CALLS": str(checkout / "calls"), "RAY_ADDRESS": ADDRESS}
    return subprocess.run(
        ["bash", checkout / "scripts/train_ray.sh", *arguments],
        env={k: v for k, v in (own | environment).items() if v is not None},
        capture_output=True,
        text=True,
    )


def run_job(checkout, join, **environment):
    """Runs what was submitted as a Ray cluster does: one line for a shell, in another folder."""
    (submitted,) = calls(checkout / "calls")
    (checkout / "calls").unlink()
    words = submitted["words"]
    expected = ["-m", "ray.scripts.scripts", "job", "submit", f"--address={ADDRESS}", "--"]
    assert words[:6] == expected
    own = {"PATH": os.environ["PATH"], "CALLS": str(checkout / "calls"), "RAY_ADDRESS": "gcs:6379"}
    return subprocess.run(["sh", "-c", join(words[6:])], cwd="/", env=own | environment)


# How Ray makes a line of the words: on Linux in 2.60, and elsewhere and in earlier versions.
@pytest.mark.parametrize("join", [shlex.join, subprocess.list2cmdline])
def test_the_job_looks_at_the_cluster_then_trains_with_the_same_words(join, checkout):
    assert submit(checkout, "demo", *WORDS).returncode == 0
    assert run_job(checkout, join).returncode == 0
    called = calls(checkout / "calls")
    for call, module in zip(called, ("preflight", "main"), strict=True):
        assert call["words"] == ["-m", f"recipe.holderpo.{module}", "--config-name=demo", *WORDS]
        assert call["address"] == "gcs:6379"


def test_what_the_preflight_refuses_is_not_trained(checkout):
    submit(checkout, "demo")
    assert run_job(checkout, shlex.join, PREFLIGHT="1").returncode == 1
    assert [call["words"][1] for call in calls(checkout / "calls")] == ["recipe.holderpo.preflight"]


def test_data_are_prepared_with_the_callers_folder(checkout):
    submit(checkout, "math_qwen25_math_7b", MATH_SOURCE="my sets")
    assert run_job(checkout, shlex.join).returncode == 0
    prepared = calls(checkout / "calls")[1]["words"]
    assert prepared == ["-m", "data_prep.math", "--source-folder", "my sets"]


def test_the_callers_interpreter_is_the_jobs(checkout, tmp_path):
    python = write_program(tmp_path / "other/python", PYTHON)
    submit(checkout, "demo", PYTHON="python", PATH=f"{python.parent}:{os.environ['PATH']}")
    # Found here, and not where the job runs.
    (checkout / ".venv/bin/python").unlink()
    assert run_job(checkout, shlex.join).returncode == 0
    assert len(calls(checkout / "calls")) == 2


@pytest.mark.parametrize(
    ("arguments", "address", "line"),
    [
        ([], ADDRESS, "CONFIG: not given; give a file of configs/ first"),
        (["--config-dir=x", "demo"], ADDRESS, "CONFIG: --config-dir=x; "),
        (["demo"], None, "RAY_ADDRESS: not set; give that of the cluster's dashboard"),
        (["demo"], "head:6379", "RAY_ADDRESS: head:6379; give that of the cluster's dashboard"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(arguments, address, line, checkout):
    run = submit(checkout, *arguments, RAY_ADDRESS=address)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert run.stderr.startswith(line)
    assert not calls(checkout / "calls")
