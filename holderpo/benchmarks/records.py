"""What an evaluation of mathematics leaves on disk: one JSON line per answer, by set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from holderpo.records_folder import whole_lines
from holderpo.whole_files import write_whole

TRUNCATED = "length"


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


def read_records(path: Path) -> dict[tuple[int, int, int], Record]:
    """The answers of a set so far; a last line that is cut off is none.

    Args:
        path: JSON Lines; need not exist.

    Returns:
        Records by key.

    Raises:
        ValueError: naming file and line, if a line is broken or an answer is there twice.
    """
    records: dict[tuple[int, int, int], Record] = {}
    for number, line in enumerate(whole_lines(path), start=1):
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
