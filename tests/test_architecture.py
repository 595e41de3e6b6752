"""How the packages hang together: imports in one direction, no circles, one name for one thing."""

import ast
import graphlib
from collections import defaultdict
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("holderpo", "recipe/holderpo", "data_prep")
# A package is a command through it.
NOT_A_NAME = {"__init__", "__main__"}


def modules():
    """Each module's dotted name, file and tree."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, path, ast.parse(path.read_text(encoding="utf-8"))


MODULES = {name: tree for name, _, tree in modules()}


def dump(node):
    return ast.dump(node.test)


def imported(tree):
    """Names that are imported when the module is, those for type checkers left out."""
    for node in tree.body:
        if isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CH" not in dump(node)):
            yield from imported(node)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


GRAPH = {name: set(imported(tree)) & MODULES.keys() for name, tree in MODULES.items()}


def test_no_module_imports_itself_by_way_of_others():
    # A package's own __init__ imports from its modules, and they never from it.
    try:
        graphlib.TopologicalSorter(GRAPH).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_the_method_knows_neither_its_wiring_nor_the_data():
    for name, names in GRAPH.items():
        if name.startswith("holderpo"):
            assert {other.split(".")[0] for other in names} <= {"holderpo"}, name
        if name.startswith("recipe"):
            assert not any(other.startswith("data_prep") for other in names), name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_or_classes_of_a_package_have_one_name(package):
    places = defaultdict(set)
    for name, path, tree in modules():
        if not name.startswith(package.replace("/", ".")):
            continue
        if path.stem not in NOT_A_NAME:
            places[path.stem].add(name)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
