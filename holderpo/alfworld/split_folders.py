"""Where the folders of ALFWorld's splits and games are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
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
    named, roots = _splits(folder, {*OFFICIAL_COUNTS, split})
    found = [root for root in roots if root.name == split]
    if len(found) > 1:
        raise ValueError(
            f"games: {' and '.join(map(str, found))} are all called {split}; give one of them"
        )
    # What holds no game is at least where they were looked for.
    if found := found or [place for place in named if place.name == split]:
        return found[0]
    there = ", ".join(sorted({root.name for root in roots}))
    told = f"there are {there}" if there else "there is no split at all"
    raise ValueError(
        f"games: no folder {split} in or below {folder} ({told}); give the folder the games were "
        "unpacked in"
    )


def splits_below(folder: Path) -> set[str]:
    """Which official splits are in a folder.

    Args:
        folder: that holds them anywhere below it, or is one.

    Returns:
        Keys of ``OFFICIAL_COUNTS``.

    Raises:
        ValueError: for what is no folder.
    """
    return {root.name for root in _splits(folder, OFFICIAL_COUNTS.keys())[1]}


def _splits(folder: Path, names: Collection[str]) -> tuple[list[Path], list[Path]]:
    """Folders with one of the names, and those that trials belong to: the innermost around each."""
    if not folder.is_dir():
        raise ValueError(f"games: {folder} is no folder; give the one the games were unpacked in")
    named: list[Path] = []
    roots: dict[Path, None] = {}
    for place, files in walk(folder):
        if place != folder and place.name in names:
            named.append(place)
        if TRIAL_FILE in files:
            root = _innermost(place, folder, names)
            if root.name in names:
                roots[root] = None
    return named, list(roots)


def _innermost(place: Path, folder: Path, names: Collection[str]) -> Path:
    """The closest folder around a place that has one of the names, or the outermost."""
    for above in place.parents:
        if folder in (above, place):
            break
        if above.name in names:
            return above
    # It may be given by a link, or as a dot.
    return folder.resolve()


def walk(top: Path) -> Iterator[tuple[Path, set[str]]]:
    """Folders below one, and it, sorted, each once however many links lead to it.

    Hidden folders are left out: unfinished work is kept in them.

    Args:
        top: where to begin.

    Yields:
        Each folder and the names of its files.

    Raises:
        ValueError: for a folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
            if (real := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(real)
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise ValueError(f"games: {place}: {error.strerror}; make it readable") from error
        folders = [entry for entry in listed if entry.is_dir() and entry.name[0] != "."]
        files = {entry.name for entry in listed} - {entry.name for entry in folders}
        yield place, files
        # A trial holds no further ones.
        if TRIAL_FILE not in files:
            waiting.extend(place / entry.name for entry in reversed(folders))
