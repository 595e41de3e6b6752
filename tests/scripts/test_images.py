"""What goes into the images, and that the set-up inside finds all it needs."""

import fnmatch
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from holderpo import power_mean
from tests.recipe.launching import REPOSITORY
from tests.scripts.test_setup import FILES

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
RULES = [
    line
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]
KEPT = [rule[1:] for rule in RULES if rule.startswith("!")]


def test_only_what_is_named_goes_into_the_context_and_all_of_it_is_there():
    assert RULES[0] == "*"
    assert [name for name in KEPT if not (REPOSITORY / name).exists()] == []
    assert not {".git", ".venv", "data", "outputs", "tests"} & {*KEPT}


def test_the_context_has_what_the_set_up_and_the_package_read():
    package = power_mean.__name__.split(".")[0]
    for path in (*FILES, "scripts/demo.sh", "data_prep", "recipe", "configs", package):
        assert any(fnmatch.fnmatch(path, name) or path.startswith(f"{name}/") for name in KEPT), (
            path
        )


def test_both_images_are_pinned_and_run_without_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [re.search(r"AS (\w+)", stage)[1] for stage in stages] == ["cpu", "gpu"]
    for stage in stages:
        assert re.match(r"\S+:\S+@sha256:[0-9a-f]{64} ", stage)
        assert re.findall(r"^USER (\d+)$", stage, re.MULTILINE)[-1] != "0"
        (check,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", stage, re.MULTILINE)
        assert "import verl, vllm, ray, holderpo, recipe.holderpo.plugin" in check


def installation(folder, versions, **after):
    """The last RUN of the image on GPUs, with programs beside which it ends as bash does there.

    Args:
        folder: for the programs.
        versions: that the image brings, by distribution.
        after: versions that pip has changed.

    Returns:
        Exit status, and the constraints that pip gets, none if it does not come to that.
    """
    gpu = DOCKERFILE[DOCKERFILE.index(" AS gpu") :]
    shell = json.loads(re.search(r"^SHELL (\[.*\])$", gpu, re.MULTILINE)[1])
    (command,) = re.findall(r"^RUN (export (?:.*\\\n)+.*)$", gpu, re.MULTILINE)
    fake = folder / "bin/python3"
    fake.parent.mkdir()
    fake.write_text(
        f"""#!{sys.executable}
import importlib.metadata, os, sys
if sys.argv[1:4] == ["-m", "pip", "install"]:
    assert os.environ["PIP_BREAK_SYSTEM_PACKAGES"] == "1"
    path = sys.argv[sys.argv.index("--constraint") + 1]
    print(open(path).read())
    sys.exit()
versions = {versions!r}
def version(name):
    if name not in versions:
        raise importlib.metadata.PackageNotFoundError(name)
    return versions[name]
importlib.metadata.version = version
for name in ("torch", "vllm", "transformers", "transformers.audio_utils"):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__version__ = {versions | after!r}.get(name)
exec(sys.argv[2])
"""
    )
    fake.chmod(0o755)
    command = command.replace("/tmp/", f"{folder}/").replace("\\\n", "")
    path = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}
    words = [*shell, command]
    run = subprocess.run(words, cwd=REPOSITORY, env=path, capture_output=True, text=True)
    return run.returncode, [line for line in run.stdout.splitlines() if line]


BROUGHT = {
    "torch": "2.11.0+cu130",
    "torchvision": "0.26.0",
    "torchaudio": "2.11.0",
    "vllm": "0.24.0",
    "flash-attn": "2.8.3",
}


def test_the_gpu_image_keeps_what_it_brings_and_takes_pins_that_are_in_the_lock(tmp_path):
    status, constraints = installation(tmp_path, BROUGHT)
    assert status == 0
    assert constraints[:5] == [f"{name}=={version}" for name, version in BROUGHT.items()]
    assert constraints[5] == "torchcodec==0.11.*"
    locked = (REPOSITORY / "requirements.lock").read_text()
    (names,) = re.findall(r"'\^\(([\w|-]+)\)==\[\^ \]\+' requirements.lock", DOCKERFILE)
    assert {line.split("==")[0] for line in constraints[6:]} == {*names.split("|")}
    assert all(f"{line} " in locked for line in constraints[6:])


@pytest.mark.parametrize(
    "brought",
    [
        {"vllm": "0.25.0"},
        {"torch": "2.12.0"},
        {name: BROUGHT[name] for name in BROUGHT if name != "vllm"},
    ],
)
def test_an_image_that_brings_something_else_is_not_built(brought, tmp_path):
    found = brought if len(brought) > 1 else BROUGHT | brought
    assert installation(tmp_path, found) == (1, [])


def test_an_installation_that_has_changed_torch_is_no_image(tmp_path):
    status, constraints = installation(tmp_path, BROUGHT, torch="2.13.0")
    assert (status, bool(constraints)) == (1, True)


def test_the_gpu_image_starts_what_it_is_told():
    assert re.search(r"^ENTRYPOINT \[\]$", DOCKERFILE[DOCKERFILE.index(" AS gpu") :], re.MULTILINE)


def test_scripts_are_looked_at_the_same_way_before_a_commit():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    entries = [hook["entry"] for hook in hooks]
    assert "make --no-print-directory lint-scripts" in entries
    makefile = (REPOSITORY / "Makefile").read_text()
    for tool in ("shellcheck", "hadolint"):
        # One that has no wheel for the machine is left out in one place.
        assert not [entry for entry in entries if tool in entry]
    lint = makefile[makefile.index("lint: setup") : makefile.index("lint-scripts: ##")]
    assert "lint-scripts" in lint
