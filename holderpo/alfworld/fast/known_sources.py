"""Which textworld the fast engine may stand in for."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path

VERSIONS: Mapping[str, str] = {
    "alfworld": "0.4.2",
    "textworld": "1.7.0",
    "TatSu": "5.8.3",
    "fast-downward-textworld": "20.6.4",
}
"""The packages whose behaviour is reproduced."""

SOURCES: Mapping[str, str] = {
    "textworld/envs/pddl/pddl.py": "fbf823a0cb21920b",
    "textworld/envs/pddl/logic/__init__.py": "ef71f8ad36dab77f",
    "textworld/envs/pddl/logic/model.py": "2e3415b2add8e010",
    "textworld/envs/pddl/logic/parser.py": "2e8de05cfc779951",
    "textworld/envs/pddl/textgen/__init__.py": "30dde4ebcfcf95ff",
    "textworld/envs/pddl/textgen/model.py": "f59553d05a492a5e",
    "textworld/envs/pddl/textgen/parser.py": "91f8b07555b16ed2",
    "textworld/logic/__init__.py": "99ff5996d0122643",
    "textworld/logic/model.py": "fad13da3565f26e7",
    "textworld/logic/parser.py": "0eb01c87ae557c7a",
    "fast_downward/interface.py": "73f91add314dd7be",
    "alfworld/agents/utils/misc.py": "ba63aaad408e5c06",
    "alfworld/agents/environment/alfred_tw_env.py": "983ff94bf6804c5f",
}
"""Beginning of the sha256 of each source whose behaviour is reproduced, without line ends."""


@functools.cache
def difference() -> str | None:
    """What is installed that the fast engine was not compared with.

    Returns:
        The first difference in words; none if all is as expected.
    """
    for package, expected in VERSIONS.items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return f"{package} is not installed"
        if installed != expected:
            return f"{package} is {installed}, not {expected}"
    for path, expected in SOURCES.items():
        if digest(path) != expected:
            return f"{path} is not that of {', '.join(map(' '.join, VERSIONS.items()))}"
    return None


def digest(path: str) -> str:
    """Of an installed source file.

    Args:
        path: from its top package on.

    Returns:
        16 hexadecimal digits; empty if there is no such file.
    """
    package, _, rest = path.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / rest
        if file.is_file():
            content = b"\n".join(file.read_bytes().splitlines())
            return hashlib.sha256(content).hexdigest()[:16]
    return ""
