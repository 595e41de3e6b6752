"""What was said in the episodes of an evaluation, and how it is shown.

``transcripts.jsonl`` has a line for each episode, added just before its record is. An episode that
was played again has several, of which the last one counts.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holderpo.alfworld.actions import ActionKind
from holderpo.alfworld.episode_records import EpisodeKey, EpisodeRecord
from holderpo.printable import printable
from holderpo.records_folder import whole_lines
from holderpo.sheets import WIDTH

TRANSCRIPTS_FILE = "transcripts.jsonl"


@dataclass(frozen=True)
class TranscriptTurn:
    """One turn of the agent."""

    observation: str
    """The engine's text before it."""
    admissible: tuple[str, ...]
    """Commands that would have done something."""
    response: str | None
    """What a model wrote; None for a policy that writes nothing."""
    command: str
    """What was sent."""
    kind: str
    """Of the action, see :class:`~holderpo.alfworld.actions.ActionKind`."""
    why: str
    """Why the action is not valid, or how it was understood; may be empty."""
    truncated: bool
    """Whether the response was cut off."""


@dataclass(frozen=True)
class Transcript:
    """One episode."""

    key: EpisodeKey
    """Which one."""
    turns: tuple[TranscriptTurn, ...]
    """In order."""
    end: str
    """The engine's last text; empty if there is none."""


def transcript_line(transcript: Transcript) -> str:
    """The transcript as a line of ASCII, with its end."""
    row = {
        "game": transcript.key.game,
        "pass": transcript.key.pass_number,
        "turns": [asdict(turn) for turn in transcript.turns],
        "end": transcript.end,
    }
    return json.dumps(row, allow_nan=False) + "\n"


def read_transcript(path: Path, key: EpisodeKey) -> Transcript | None:
    """What was said in an episode.

    Args:
        path: JSON Lines; need not exist.
        key: which episode.

    Returns:
        The last transcript of it; None if there is none.

    Raises:
        ValueError: naming file and line, if that one is broken.
    """
    for number, line in reversed(list(enumerate(whole_lines(path), start=1))):
        try:
            row = json.loads(line)
            if EpisodeKey(row["game"], row["pass"]) == key:
                return _parse(key, row)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: broken ({printable(str(error))}); remove the line"
            ) from error
    return None


def _parse(key: EpisodeKey, row: Mapping[str, Any]) -> Transcript:
    turns = tuple(
        TranscriptTurn(**(turn | {"admissible": tuple(turn["admissible"])}))
        for turn in row["turns"]
    )
    return Transcript(key, turns, str(row["end"]))


def show_transcript(record: EpisodeRecord, transcript: Transcript) -> str:
    """An episode for a terminal of 80 columns.

    Args:
        record: of the episode.
        transcript: what was said in it.

    Returns:
        Text, without a newline at its end, that does nothing to the terminal.
    """
    lines = [
        f"episode    {record.number}, pass {record.pass_number} of {record.split}",
        f"game       {record.game}",
        f"task       {record.task_type}, scene {record.scene}",
        f"outcome    {record.outcome} after {record.steps} steps, return "
        f"{record.episode_return:g}, {record.restarts} restarts",
    ]
    if record.reason:
        lines.append(f"reason     {record.reason}")
    lines = [printable(line) for line in lines]
    for number, turn in enumerate(transcript.turns, start=1):
        lines += ["", f"--- step {number} ".ljust(WIDTH, "-"), *_turn_lines(turn)]
    if transcript.end:
        lines += ["", "--- end ".ljust(WIDTH, "-"), *_escaped(transcript.end)]
    return "\n".join(lines)


def _turn_lines(turn: TranscriptTurn) -> Iterator[str]:
    yield from _escaped(turn.observation)
    listed = printable(", ".join(turn.admissible))
    yield from textwrap.wrap(
        f"commands: {listed}", WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )
    if turn.response is not None:
        yield f"response{' (cut off)' if turn.truncated else ''}:"
        yield from (f"  | {line}" for line in _escaped(turn.response))
    is_plain = turn.kind == ActionKind.VALID and not turn.why
    remark = "" if is_plain else f"  [{': '.join(filter(None, (turn.kind, turn.why)))}]"
    yield printable(f"> {turn.command}{remark}")


def _escaped(text: str) -> list[str]:
    return printable(text.strip("\n"), keep_lines=True).split("\n")
