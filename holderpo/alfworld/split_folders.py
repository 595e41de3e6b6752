"""Where the folders of ALFWorld's splits and games are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

GAME_FILE = "game.tw-pddl"
TRIAL_FILE = "traj_data.json"

OFFICIAL_COUNTS: Mapping[str, int] = {
    "train": 3553,
    "valid_seen": 140,
    "valid_unseen": 134,
    "valid_train": 200,
}
"""Playable games of the published splits."""


def find_split(folder: Path, split: str) -> Path:
    """Find the folder of a split, as the archives unpack it, anywhere below another.

    Args:
        folder: that holds it, or is it; links are followed, hidden folders are not searched.
        split: its name, such as ``valid_seen``.

    Returns:
        The split's folder.

    Raises:
        ValueError: if there is none, or more than one.
    """
    if split in ("", ".", "..") or Path(split).name != split:
        raise ValueError(f"split: {split!r}; give a folder's name, such as valid_seen")
    if not folder.is_dir():
        raise ValueError(f"games: {folder} is no folder; give the one the games were unpacked in")
    found, others = [], set()
    for place, files in walk(folder, stop=split):
        if place.name == split and place != folder:
            found.append(place)
        elif place.name in OFFICIAL_COUNTS and TRIAL_FILE not in files:
            others.add(place.name)
    if not found and folder.resolve().name == split:
        return folder.resolve()
    if not found:
        there = f"there are {', '.join(sorted(others))}" if others else "there is no split at all"
        raise ValueError(
            f"games: no folder {split} in or below {folder} ({there}); give the folder the games "
            "were unpacked in"
        )
    if len(found) > 1:
        raise ValueError(
            f"games: {' and '.join(map(str, found))} are all called {split}; give one of them"
        )
    return found[0]


def walk(top: Path, stop: str | None = None) -> Iterator[tuple[Path, set[str]]]:
    """Folders below one, and it, sorted, each once however many links lead to it.

    Hidden folders are left out: unfinished work is kept in them.

    Args:
        top: where to begin.
        stop: name of folders that are not entered, ``top`` apart.

    Yields:
        Each folder and the names of its files.

    Raises:
        ValueError: for a folder that cannot be read.
    """
    seen: set[Path] = set()
    waiting = [top]
    while waiting:
        place = waiting.pop()
        if (real := place.resolve()) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise ValueError(f"games: {place}: {error.strerror}; make it readable") from error
        folders = [entry for entry in listed if entry.is_dir() and entry.name[0] != "."]
        files = {entry.name for entry in listed} - {entry.name for entry in folders}
        yield place, files
        # A trial holds no further ones.
        if TRIAL_FILE not in files and (place.name != stop or place == top):
            waiting.extend(place / entry.name for entry in reversed(folders))
