"""What the pages name exists, and what they repeat from the code is what the code says."""

import ast
import importlib.util
import re

import pytest
import yaml
from omegaconf import OmegaConf

from holderpo.metrics import metrics_table
from recipe.holderpo.checks.defaults import leaves
from tests.docs.pages import (
    CONTRIBUTING,
    NAMES,
    README,
    REPOSITORY,
    anchors,
    blocks,
    links,
    prose,
    text_of,
)
from tests.recipe.composing import composed

FOLDERS = "holderpo|recipe|configs|data_prep|docs|scripts|tests"
PATH = re.compile(rf"(?<![\w/.<])(?:{FOLDERS})/[\w./-]*[\w/]")
MODULE = re.compile(r"-m ((?:holderpo|recipe|data_prep|verl)(?:\.\w+)+)")


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(name):
    page = REPOSITORY / name
    for link in links(text_of(name)):
        if link.startswith(("http:", "https:")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", NAMES)
def test_every_path_and_module_exists(name):
    text = text_of(name)
    for path in PATH.findall(text):
        assert (REPOSITORY / path).exists(), path
    for module in MODULE.findall(text):
        assert importlib.util.find_spec(module) is not None, module


def test_every_page_is_reachable_from_the_readme_which_is_short():
    text = README.read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in links(text)}
    assert set(NAMES) - {"README.md"} <= linked
    assert len(text.splitlines()) <= 180


def test_every_picture_is_shown_somewhere_and_small():
    shown = {
        ((REPOSITORY / name).parent / link).resolve()
        for name in NAMES
        for link in links(text_of(name))
        if link.endswith(".svg")
    }
    pictures = set((REPOSITORY / "docs" / "pictures").iterdir())
    assert {path.resolve() for path in pictures} == shown
    assert all(path.stat().st_size < 80_000 for path in pictures)


def test_the_map_names_what_is_there():
    (tree,) = [content for _, content in blocks(text_of("README.md")) if "power_mean.py" in content]
    parent = ""
    for line in tree.splitlines():
        names = re.findall(r"[\w/]+(?:/|\.py)(?= |$)", line[:24])
        assert names, line
        if line.startswith(" "):
            names = [f"{parent}/{name}" for name in names]
        else:
            parent = names[0]
        for name in names:
            assert (REPOSITORY / name).exists(), name
    first_words = {line.split()[0].rstrip("/") for line in tree.splitlines() if line[0] != " "}
    packages = {path.parent.relative_to(REPOSITORY) for path in REPOSITORY.glob("*/__init__.py")}
    assert {path.as_posix() for path in packages} <= first_words


def test_the_table_of_metrics_is_the_generated_one():
    assert metrics_table() in text_of("docs/metrics.md")


def test_the_table_of_settings_shows_the_defaults_of_the_base():
    config, with_agent = composed("base"), composed("alfworld")
    row = r"^\| `([\w.]+)`(?:, `\w+`)? \| (.+?) \| .+ \|$"
    table = re.findall(row, text_of("docs/settings.md"), re.MULTILINE)
    assert len(table) > 10
    for setting, default in table:
        key = setting.replace("...policy_loss", "actor_rollout_ref.actor.policy_loss")
        if key in ("p", "run_dir", "cpu.shortcuts"):
            continue  # A file, a path made of others, and a setting of one device.
        of = with_agent if key.startswith("agent.") else config
        value = OmegaConf.select(of, key, throw_on_missing=True)
        shown = yaml.safe_load(default.strip("`"))
        assert value == shown or (shown == "none" and not value), setting
    named = {setting for setting, _ in table}
    of_agent = OmegaConf.to_container(with_agent.agent)
    assert {f"agent.{name}" for name, _ in leaves(of_agent)} <= named


@pytest.mark.parametrize("name", NAMES)
def test_no_page_tells_its_history(name):
    past = r"anymore|previously|formerly|was tried|(has|have) been (changed|moved|renamed)"
    assert not re.search(rf"\b({past}|TODO)\b", prose(text_of(name)), re.IGNORECASE)


def test_contributing_lists_the_files_that_a_new_verl_touches():
    upstream = {"verl", "ray", "vllm", "transfer_queue"}
    touched = set()
    for path in (REPOSITORY / "recipe").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if upstream & {name.partition(".")[0] for name in names}:
                touched.add(path.relative_to(REPOSITORY).as_posix())
    listed = re.findall(r"^- `(recipe/[\w/]+\.py)`", CONTRIBUTING.read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(touched)
