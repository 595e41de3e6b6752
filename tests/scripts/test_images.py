"""What goes into the images, and that the set-up inside finds all it needs."""

import fnmatch
import re

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


def test_the_gpu_image_takes_pins_that_are_in_the_lock():
    (names,) = re.findall(r"'\^\(([\w|-]+)\)==\[\^ \]\+' requirements.lock", DOCKERFILE)
    pinned = re.findall(
        r"^([\w-]+)==", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE
    )
    assert {*names.split("|")} <= {*pinned}
