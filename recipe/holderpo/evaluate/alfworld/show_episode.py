"""One episode of an evaluation on a screen."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from holderpo.alfworld.episode_records import EPISODES_FILE, EpisodeRecord, read_episodes
from holderpo.alfworld.transcripts import TRANSCRIPTS_FILE, read_transcript, show_transcript
from holderpo.printable import printable
from recipe.holderpo.evaluate.evaluation_folder import PlanError

_EPISODE = re.compile(r"(?P<game>.+?)(@(?P<pass_number>\d+))?")


def show_episode(out: Path | None, text: str) -> int:
    """Print what was said in an episode.

    Args:
        out: folder of the evaluation.
        text: number or path of the game, and perhaps ``@`` and the pass.

    Returns:
        The exit status.

    Raises:
        PlanError: if there is no such episode.
    """
    if out is None:
        raise PlanError(["--out: missing; give the folder of the evaluation"])
    try:
        record = _find(out, text, read_episodes(out / EPISODES_FILE).values())
        transcript = read_transcript(out / TRANSCRIPTS_FILE, record.key)
    except ValueError as error:
        raise PlanError([str(error)]) from error
    if transcript is None:
        raise PlanError([f"--show: {printable(text)}: {out / TRANSCRIPTS_FILE} does not have it"])
    shown = show_transcript(record, transcript)
    # What the terminal's encoding lacks.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(shown.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        # Its reader has seen enough; nothing is to be said of that when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _find(out: Path, text: str, records: Iterable[EpisodeRecord]) -> EpisodeRecord:
    """The episode that is meant.

    Raises:
        ValueError: if there is none, or more than one.
    """
    records = list(records)
    if not records:
        raise ValueError(f"--out: {out} has no episodes; give the folder of an evaluation")
    words = _EPISODE.fullmatch(text)
    game = words["game"] if words else text
    pass_number = int((words and words["pass_number"]) or 1)
    found = [one for one in records if one.pass_number == pass_number and _means(game, one)]
    if len(found) == 1:
        return found[0]
    numbers = [one.number for one in records]
    passes = [one.pass_number for one in records]
    what = f"{len(found)} games are called so" if found else "no such episode"
    raise ValueError(
        f"--show: {text!r}: {what} in {out}; there are {len(records)}, numbers {min(numbers)} to "
        f"{max(numbers)}, passes {min(passes)} to {max(passes)}; give NUMBER, or NUMBER@PASS"
    )


def _means(game: str, record: EpisodeRecord) -> bool:
    """Whether a number, or a path of game file or folder, whole or its end, is that of a record."""
    if game.isascii() and game.isdigit():
        return int(game) == record.number
    path, wanted = f"/{record.game}", f"/{game.strip('/')}"
    folder = path.rpartition("/")[0]
    return any(one.endswith(wanted) or wanted.endswith(one) for one in (path, folder))
