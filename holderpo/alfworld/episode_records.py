"""What an evaluation on ALFWorld leaves on disk: one JSON line per episode.

Each line goes to ``episodes.jsonl`` when its episode is over, so the same command goes on after an
interruption. What was said in it is in another file, see :mod:`holderpo.alfworld.transcripts`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turns import Outcome
from holderpo.records_folder import whole_lines
from holderpo.whole_files import write_whole

EPISODES_FILE = "episodes.jsonl"


class EpisodeKey(NamedTuple):
    """Which episode of an evaluation."""

    game: str
    """Path of the game file, as in the manifest."""
    pass_number: int
    """Which time the game is played, from 1."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode."""

    game: str
    """Path of the game file, as in the manifest."""
    task_type: str
    """A key of ``TASK_TYPES``."""
    won: bool
    """Whether the goal held at the end."""
    steps: int
    """Commands that were sent; each is one turn of the agent."""
    outcome: Outcome
    """How it ended."""
    pass_number: int
    """Which time the game is played, from 1; ``pass`` in the file."""
    number: int
    """Place of the game among all of its split, from 1."""
    seed: int
    """Of the evaluation."""
    split: str
    scene: int
    """Number of the room."""
    sha256: str
    """Of the game file."""
    truncated: int
    """Turns whose response was cut off."""
    malformed: int
    """Turns whose response had not the form that was asked for."""
    inadmissible: int
    """Turns whose command did nothing."""
    episode_return: float
    """Reward of the episode less the penalties of its turns; ``return`` in the file. 0 for a failed
    one."""
    restarts: int
    """How often its environment was replaced."""
    reason: str
    """Why the environment failed; empty if it did not."""

    @property
    def key(self) -> EpisodeKey:
        """Which episode it is."""
        return EpisodeKey(self.game, self.pass_number)

    @property
    def failed(self) -> bool:
        """Whether the environment failed, so that the episode says nothing about the agent."""
        return self.outcome is Outcome.FAILED


Episodes = dict[EpisodeKey, EpisodeRecord]

# Names in the file that Python cannot or should not have.
_IN_FILE: Mapping[str, str] = {"pass_number": "pass", "episode_return": "return"}
_COUNTS = ("steps", "truncated", "malformed", "inadmissible", "restarts")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("game", "task_type", "outcome", "split", "sha256", "reason"), str),
    **dict.fromkeys((*_COUNTS, "pass_number", "number", "seed", "scene"), int),
    "episode_return": (float, int),
    "won": bool,
}


def to_line(record: EpisodeRecord) -> str:
    """The record as a line of ASCII, with its end."""
    row = {_IN_FILE.get(field.name, field.name): getattr(record, field.name) for field in _FIELDS}
    return json.dumps(row, allow_nan=False) + "\n"


def read_episodes(path: Path) -> Episodes:
    """The episodes so far; a last line that is cut off is none.

    Args:
        path: JSON Lines; need not exist.

    Returns:
        Records by key.

    Raises:
        ValueError: naming file and line, if a line is broken or an episode is there twice.
    """
    records: Episodes = {}
    for number, line in enumerate(whole_lines(path), start=1):
        record = _parse(line)
        if record is None or record.key in records:
            what = "broken" if record is None else "an episode that is there twice"
            raise ValueError(
                f"{path}, line {number}: {what}; remove the line, and it is played again"
            )
        records[record.key] = record
    return records


def write_episodes(path: Path, records: Iterable[EpisodeRecord]) -> None:
    """Replace the episodes, in one go.

    Args:
        path: JSON Lines.
        records: in the order that they shall have.
    """
    write_whole(path, "".join(map(to_line, records)))


def _parse(line: bytes) -> EpisodeRecord | None:
    """The record of a line; None if it is broken."""
    try:
        row = json.loads(line)
        values: dict[str, Any] = {
            field.name: row[_IN_FILE.get(field.name, field.name)] for field in _FIELDS
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    for name, kinds in _TYPES.items():
        # A truth value is a whole number in Python, and none here.
        if not isinstance(values[name], kinds) or (
            isinstance(values[name], bool) and kinds is not bool
        ):
            return None
    if values["outcome"] not in list(Outcome) or values["task_type"] not in TASK_TYPES:
        return None
    values["outcome"] = Outcome(values["outcome"])
    return EpisodeRecord(**values) if _makes_sense(values) else None


def _makes_sense(values: Mapping[str, Any]) -> bool:
    outcome = values["outcome"]
    return (
        values["won"] == (outcome is Outcome.WON)
        and bool(values["reason"]) == (outcome is Outcome.FAILED)
        and min(values["pass_number"], values["number"]) >= 1
        and all(values[name] >= 0 for name in _COUNTS)
        and max(values["truncated"], values["malformed"] + values["inadmissible"])
        <= values["steps"]
        and math.isfinite(values["episode_return"])
    )


_FIELDS = fields(EpisodeRecord)
