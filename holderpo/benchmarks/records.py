"""What an evaluation leaves on disk: one JSON line per answer, and the settings behind them.

Answers are added to ``<set>.jsonl`` as they come, so the same command goes on after an
interruption; ``evaluation.json`` says what made them, and other settings are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from holderpo.whole_files import write_whole

SETTINGS_FILE = "evaluation.json"
TRUNCATED = "length"
# Where a model lies does not matter; its fingerprint does.
UNCOMPARED = ("model.path",)


@dataclass(frozen=True)
class Record:
    """One answer."""

    set: str
    """Benchmark."""
    index: int
    """Of the problem within the set."""
    sample: int
    """Number of the answer among those of its problem and seed, from 0."""
    seed: int
    """Of the evaluation; 0 for greedy answers, which need none."""
    response: str
    """What the model wrote."""
    finish_reason: str
    """``stop``, or ``length`` if it was cut off."""
    num_tokens: int
    """Of the response."""
    answer: str | None
    """What was graded."""
    status: str
    """The grader's verdict (:class:`holderpo.rewards.Status`)."""
    score: float
    """1 or 0; 0 for a truncated answer unless the evaluation grades those too."""

    @property
    def key(self) -> tuple[int, int, int]:
        """Which answer of its set it is: index, seed, sample."""
        return self.index, self.seed, self.sample

    @property
    def truncated(self) -> bool:
        """Whether it was cut off."""
        return self.finish_reason == TRUNCATED


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("set", "response", "finish_reason", "status"), (str,)),
    **dict.fromkeys(("index", "sample", "seed", "num_tokens"), (int,)),
    "answer": (str, type(None)),
    "score": (float, int),
}


def to_line(record: Record) -> str:
    """The record as a line, with its end."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"


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


def read_records(path: Path) -> dict[tuple[int, int, int], Record]:
    """The answers of a set so far; a last line that is cut off is none.

    Args:
        path: JSON Lines; need not exist.

    Returns:
        Records by key.

    Raises:
        ValueError: naming file and line, if a line is broken or an answer is there twice.
    """
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    records: dict[tuple[int, int, int], Record] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        record = _parse(line, name=path.stem)
        if record is None or record.key in records:
            what = "broken" if record is None else "an answer that is there twice"
            raise ValueError(f"{path}, line {number}: {what}; remove the line, and it is made anew")
        records[record.key] = record
    return records


def _parse(line: bytes, *, name: str) -> Record | None:
    """The record of a line; None if it is broken, or none of this set."""
    try:
        row = json.loads(line)
        values = {field.name: row[field.name] for field in fields(Record)}
    except (ValueError, KeyError, TypeError):
        return None
    if any(
        not isinstance(values[field], types) or isinstance(values[field], bool)
        for field, types in _TYPES.items()
    ):
        return None
    if values["set"] != name or values["score"] not in (0, 1):
        return None
    return Record(**values)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Replace the answers of a set, in one go."""
    write_whole(path, "".join(map(to_line, records)))


def settings_conflicts(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Where the answers in a folder were made otherwise.

    Args:
        folder: of an evaluation; need not exist.
        settings: of this one, mappings by section; one is ``sets``. Further sets do not conflict
            with those that are there.

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
        old, new = _flat(present), _flat(json.loads(json.dumps(settings)))
    except (ValueError, AttributeError):
        return [f"{path}: broken; give another --out"]
    return [
        f"{path}: {name} is {old[name]!r} there and {new[name]!r} here; give another --out"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name] and name not in UNCOMPARED
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note what makes the answers of this folder, together with the sets that are there already.

    Args:
        folder: of the evaluation; made if it is not there.
        settings: as in :func:`settings_conflicts`, which found none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS_FILE
    present = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    merged = {**settings, "sets": {**present.get("sets", {}), **settings["sets"]}}
    write_whole(path, json.dumps(merged, indent=2) + "\n")
