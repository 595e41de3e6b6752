"""The folder of an evaluation: lines that are added as results come, and the settings behind them.

The same command goes on after an interruption; ``evaluation.json`` says what made the lines, and
other settings are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holderpo.whole_files import write_whole

SETTINGS_FILE = "evaluation.json"
# Where a model or games lie does not matter; what tells them apart does.
UNCOMPARED = ("model.path", "games.path")
# Of a value; a digest needs no more to be told from another.
_MOST_CHARACTERS = 20
# Who has played: what another evaluation is compared for.
_WHOSE = ("model.", "episodes.policy")


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file so far; a last one that is cut off is none.

    Args:
        path: JSON Lines; need not exist.

    Returns:
        Lines, without their ends.
    """
    if not path.exists():
        return []
    return path.read_bytes().split(b"\n")[:-1]


def remove_cut_off_line(path: Path) -> None:
    """Make what follows start on a line of its own.

    A last line without its end was cut off while it was written.

    Args:
        path: JSON Lines that nobody else writes now; need not exist.
    """
    if path.exists():
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.truncate(path, whole)


def settings_conflicts(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Where the results in a folder were made otherwise.

    Args:
        folder: of an evaluation; need not exist.
        settings: of this one, mappings by section. What only one of the two has in a section, such
            as further sets, is no conflict.

    Returns:
        A sentence for each difference, naming it; empty if there is none.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        if any(folder.glob("*.jsonl")):
            return [f"{folder}: has answers but no {SETTINGS_FILE}; give another --out"]
        return []
    try:
        present = json.loads(path.read_text(encoding="utf-8"))
        conflicts = [
            f"{path}: {name} is {old!r} there and {new!r} here; give another --out"
            for name, old, new in _differences(present, settings)
        ]
    except (ValueError, AttributeError):
        return [f"{path}: broken; give another --out"]
    if not conflicts and present.keys() != settings.keys():
        conflicts = [f"{path}: of another kind of evaluation; give another --out"]
    return conflicts


def settings_differences(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """How another evaluation differs, apart from whose it is.

    Args:
        folder: of the other one.
        settings: of this one, as of :func:`settings_conflicts`.

    Returns:
        ``name is value`` for each setting that both have, with the value of the other.
    """
    try:
        present = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        differences = _differences(present, settings)
    except (OSError, ValueError, AttributeError):
        return [f"{SETTINGS_FILE} is missing or broken"]
    return [
        f"{name} is {str(value)[:_MOST_CHARACTERS]}"
        for name, value, _ in differences
        if not name.startswith(_WHOSE)
    ]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name and both values of what both have."""
    before, now = _flat(old), _flat(json.loads(json.dumps(new)))
    return [
        (name, before[name], now[name])
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name] and name not in UNCOMPARED
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def write_settings(
    folder: Path, settings: Mapping[str, Any], *, growing: str | None = None
) -> None:
    """Note what makes the results of this folder.

    Args:
        folder: of the evaluation; made if it is not there.
        settings: as in :func:`settings_conflicts`, which found none.
        growing: a section that keeps the entries that are there already, such as further sets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS_FILE
    merged = dict(settings)
    if growing is not None:
        present = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        merged[growing] = {**present.get(growing, {}), **settings[growing]}
    write_whole(path, json.dumps(merged, indent=2) + "\n")
