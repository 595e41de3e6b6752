"""What the installed alfworld says about its world: read from the package's files, copied nowhere.

Importing alfworld itself makes a folder in the user's home, so its modules are run by path.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Places to stand in, not receptacles: what is put there goes in their basins.
_NO_RECEPTACLES = {"Sink", "Bathtub"}


@dataclass(frozen=True)
class Tables:
    """Types, what they may do, and the texts of goals and games."""

    receptacle_types: tuple[str, ...]
    object_types: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    """Object types that may be put in or on each type of receptacle."""
    openable: frozenset[str]
    movable: frozenset[str]
    """Objects that could hold others."""
    abilities: Mapping[str, frozenset[str]]
    """Object types by ``cleanable``, ``heatable``, ``coolable``, ``sliceable``."""
    goals: Mapping[str, Mapping[str, Any]]
    """By task type: ``pddl``, a format string, and ``templates`` of the sentence."""
    rooms: Mapping[str, frozenset[str]]
    """By task type, the kinds of rooms it is done in."""
    unseen_scenes: frozenset[int]
    """Rooms that are never trained in."""
    domain: str
    grammar: str


def read_tables() -> Tables:
    """Read the installed package.

    Returns:
        Its tables; every order is fixed.

    Raises:
        ModuleNotFoundError: without the extra ``alfworld``.
    """
    spec = importlib.util.find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'alfworld'", name="alfworld")
    package = Path(spec.submodule_search_locations[0])
    constants = _run(package / "gen" / "constants.py")
    movable = frozenset(constants.MOVABLE_RECEPTACLES)
    receptacles = {*constants.STATIC_RECEPTACLES} - _NO_RECEPTACLES
    return Tables(
        receptacle_types=tuple(sorted(receptacles)),
        object_types=tuple(sorted({*constants.OBJECTS} - receptacles | _NO_RECEPTACLES)),
        contents={
            name: tuple(sorted(kinds))
            for name, kinds in sorted(constants.VAL_RECEPTACLE_OBJECTS.items())
            if name in receptacles
        },
        openable=frozenset(constants.OPENABLE_CLASS_SET) - movable,
        movable=movable,
        abilities={
            name.lower(): frozenset(kinds) for name, kinds in constants.VAL_ACTION_OBJECTS.items()
        },
        goals=_run(package / "gen" / "goal_library.py").gdict,
        rooms={name: frozenset(kinds) for name, kinds in constants.GOALS_VALID.items()},
        unseen_scenes=frozenset(constants.TEST_SCENE_NUMBERS),
        domain=(package / "data" / "alfred.pddl").read_text(encoding="utf-8"),
        grammar=(package / "data" / "alfred.twl2").read_text(encoding="utf-8"),
    )


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"alfworld_{path.stem}", path)
    assert spec is not None, "a Python file"
    assert spec.loader is not None, "a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
