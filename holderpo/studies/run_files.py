"""The files of a run's folder as they are found: finished, unfinished, cut off, copied.

What cannot be read is never passed over in silence: it ends up in the list of notes, each naming
the file.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yaml"
SUMMARY_FILE = "summary.json"
SWEEP_FILE = "sweep.json"

# How a metrics file has the values that JSON has no numbers for.
NOT_FINITE: Mapping[str, float] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Row = Mapping[str, float]


def find_runs(folder: Path) -> tuple[list[Path], list[str]]:
    """Run folders anywhere below a folder: those with a metrics file or a configuration.

    Args:
        folder: of a sweep.

    Returns:
        The folders, sorted, and notes on runs that another one moved aside (``name.1``).

    Raises:
        ValueError: if there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"--sweep: {folder} is no folder; give one with run folders below it")
    found = sorted(_walk(folder))
    kept, notes = [], []
    for path in found:
        original = re.sub(r"\.\d+$", "", path.name)
        if original != path.name and path.with_name(original) in found:
            notes.append(
                f"{path}: moved aside by {path.with_name(original)}, left out; name it to have it"
            )
        else:
            kept.append(path)
    return kept, notes


def _walk(folder: Path) -> Iterator[Path]:
    """Run folders; what is inside one is its own, and hidden folders are skipped."""
    for current, folders, files in os.walk(folder):
        if METRICS_FILE in files or CONFIG_FILE in files:
            folders.clear()
            yield Path(current)
        folders[:] = [name for name in folders if not name.startswith(".")]


def read_rows(path: Path, notes: list[str]) -> list[Row]:
    """Steps of a metrics file, in order.

    Args:
        path: JSON Lines, one object per step.
        notes: what was wrong is appended here.

    Returns:
        The numbers of each step, sorted by step, finite or not; other values are left out. A step
        logged twice has the later line.
    """
    if not path.exists():
        notes.append(f"{path}: not there, no step has been logged")
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows: dict[int, Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parse_row(line)
        if row is None:
            why = "cut off or broken" if number == len(lines) else "broken"
            notes.append(f"{path}: line {number} of {len(lines)} is {why}, left out")
            continue
        step = int(row["step"])
        if step in rows:
            notes.append(f"{path}: step {step} is there twice, the later line counts")
        rows[step] = row
    steps = sorted(rows)
    gaps = sorted(set(range(1, steps[-1] + 1)) - set(steps)) if steps else []
    if gaps:
        notes.append(f"{path}: no line for {_step_word(gaps)}")
    return [rows[step] for step in steps]


def _parse_row(line: str) -> Row | None:
    try:
        row = json.loads(line, parse_int=float)
    except ValueError:
        return None
    if not isinstance(row, dict) or not _is_number(row.get("step")):
        return None
    if not math.isfinite(row["step"]) or row["step"] != int(row["step"]):
        return None
    numbers = {
        name: NOT_FINITE.get(value, value) if isinstance(value, str) else value
        for name, value in row.items()
    }
    return {name: float(value) for name, value in numbers.items() if _is_number(value)}


def writable(row: Row) -> dict[str, float | str]:
    """A row as JSON can have it: what is not finite as one of the texts of :data:`NOT_FINITE`.

    Args:
        row: numbers of a step.

    Returns:
        The same, in the same order; :func:`read_rows` turns it back.
    """
    return {
        name: value if math.isfinite(value) else str(float(value)) for name, value in row.items()
    }


def not_finite_steps(rows: Iterable[Row]) -> dict[str, list[int]]:
    """Which metrics are not finite, and where.

    Args:
        rows: of :func:`read_rows`.

    Returns:
        Steps by metric; only metrics that have such steps.
    """
    wrong: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if not math.isfinite(value):
                wrong.setdefault(name, []).append(int(row["step"]))
    return wrong


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_json(path: Path, notes: list[str]) -> dict[str, Any]:
    """An object from a JSON file; empty, with a note, if the file is broken, empty if missing."""
    return _read_mapping(path, json.loads, notes)


def read_yaml(path: Path, notes: list[str]) -> dict[str, Any]:
    """A mapping from a yaml file; empty, with a note, if the file is broken or missing."""
    if not path.exists():
        notes.append(f"{path}: not there")
    return _read_mapping(path, yaml.safe_load, notes)


def _read_mapping(path: Path, parse: Any, notes: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        notes.append(f"{path}: cannot be read ({reason})")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{path}: not a mapping")
        return {}
    return found


def lookup(config: Mapping[str, Any], name: str) -> Any:
    """A setting, with references to other settings (``${seed}``) replaced.

    Args:
        config: as Hydra writes it, references not resolved.
        name: dotted.

    Returns:
        The value; None if it is not there or refers to something that is not.
    """
    return _lookup(config, name, frozenset())


def _lookup(config: Mapping[str, Any], name: str, seen: frozenset[str]) -> Any:
    value: Any = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        return value
    references = re.findall(r"\$\{([^{}]*)\}", value)
    for reference in references:
        # A reference to itself has no value, as none of OmegaConf's functions has here.
        found = None if reference in seen else _lookup(config, reference, seen | {name})
        if found is None:
            return None
        if value == f"${{{reference}}}":
            return found
        value = value.replace(f"${{{reference}}}", str(found))
    return value


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def name_steps(steps: list[int]) -> str:
    """Sorted steps as a person writes them: 1 to 3, 7, 8."""
    parts: list[list[int]] = []
    for step in steps:
        if parts and step == parts[-1][-1] + 1:
            parts[-1].append(step)
        else:
            parts.append([step])
    return ", ".join(
        f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )


def _step_word(steps: list[int]) -> str:
    return f"{'step' if len(steps) == 1 else 'steps'} {name_steps(steps)}"
