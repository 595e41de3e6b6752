"""The games of a split: found below a folder, filtered as alfworld does, listed in a manifest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from holderpo.alfworld.game_facts import Wording, wins_without_put, wording_of
from holderpo.alfworld.split_folders import (
    GAME_FILE,
    OFFICIAL_COUNTS,
    TRIAL_FILE,
    find_split,
    walk,
)
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.whole_files import write_whole

GENERATOR_KEY = "generator"
"""In a game file that this project has generated; the engine does not read it."""

FILTERS: Mapping[str, str] = {
    "movable": "with a movable receptacle",
    "sliced": "with a sliced object",
    "no_game_file": f"without {GAME_FILE}",
    "no_solvable": "without `solvable`",
    "not_solvable": "not solvable",
    "task_type": "of another task type",
}
"""Why a trial folder is no game, with what that means; alfworld's own filters."""

_MOST_NAMED = 3
_REMAKE = "make it again with `python -m data_prep.alfworld`"


@dataclass(frozen=True, order=True)
class Game:
    """One game of a split."""

    path: str
    """Of the game file, below the folder of the manifest: ``valid_seen/.../game.tw-pddl``."""
    task_type: str
    """A key of ``TASK_TYPES``."""
    split: str
    scene: int
    """Number of the room: kitchens 1-30, living rooms 201-, bedrooms 301-, bathrooms 401-430."""
    sha256: str
    """Of the game file."""
    wording: Wording
    """Of the command that puts an object down."""
    wins_without_put: bool
    """Whether it can be won without the last action, see :mod:`holderpo.alfworld.game_facts`."""

    def __post_init__(self) -> None:
        """Refuse what describes no game.

        Raises:
            ValueError: names the fields.
        """
        _refuse(
            self,
            path=str(self.path).split("/")[0] == self.split and ".." not in self.path.split("/"),
            task_type=self.task_type in TASK_TYPES,
            scene=type(self.scene) is int and self.scene >= 0,
            sha256=isinstance(self.sha256, str),
            wording=self.wording in get_args(Wording),
            wins_without_put=isinstance(self.wins_without_put, bool),
        )


@dataclass(frozen=True)
class Manifest:
    """All games of one split."""

    split: str
    folder: Path
    """That holds the split's folder."""
    games: tuple[Game, ...]
    """Sorted by path."""
    alfworld_version: str | None = None
    """Of the installed package; the wording does not depend on it."""
    filtered: Mapping[str, int] = field(default_factory=dict)
    """Trial folders that are no games, by key of ``FILTERS``."""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what lists no split.

        Raises:
            ValueError: names the fields.
        """
        _refuse(
            self,
            split=all(game.split == self.split for game in self.games),
            games=bool(self.games),
            alfworld_version=isinstance(self.alfworld_version, str | None),
            filtered=self.filtered.keys() <= FILTERS.keys()
            and all(type(count) is int for count in self.filtered.values()),
            warnings=all(isinstance(warning, str) for warning in self.warnings),
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the games' paths and contents, hexadecimal."""
        lines = sorted(f"{game.path} {game.sha256}\n" for game in self.games)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """Games by task type."""
        found = Counter(game.task_type for game in self.games)
        return {task_type: found[task_type] for task_type in TASK_TYPES}

    def file(self, game: Game) -> Path:
        """Where a game lies.

        Args:
            game: of this manifest.

        Returns:
            The game file.
        """
        return self.folder / game.path


def _refuse(record: Game | Manifest, **right: bool) -> None:
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise ValueError(f"{', '.join(wrong)} of a {type(record).__name__.lower()}: cannot be so")


def collect_games(folder: Path, split: str) -> Manifest:
    """List the games of a split, with what alfworld itself would play.

    Args:
        folder: that holds the split's folder anywhere below it, or is it.
        split: its name.

    Returns:
        The games, and warnings: another number than was published, files without ``solvable``.

    Raises:
        ValueError: for a split that is not found or without games, and for files that cannot be
            read, all of them in one message.
    """
    top = find_split(folder, split).absolute()
    games: list[Game] = []
    skipped: dict[str, list[str]] = {name: [] for name in FILTERS}
    broken: list[str] = []
    generated = 0
    num_trials = 0
    for place, files in walk(top):
        if TRIAL_FILE not in files:
            continue
        num_trials += 1
        path = place.relative_to(top).as_posix()
        try:
            read = _read_game(place, path, split, has_game=GAME_FILE in files)
        except (OSError, ValueError) as error:
            broken.append(f"{place}: {error}")
            continue
        if isinstance(read, str):
            skipped[read].append(path)
        else:
            games.append(read[0])
            generated += read[1]
    if broken:
        raise ValueError(f"games: cannot be read: {_some(broken)}; unpack or make them again")
    filtered = {name: len(paths) for name, paths in skipped.items() if paths}
    if not games:
        raise ValueError(f"games: {_no_games(top, num_trials, filtered)}")
    expected = None if generated == len(games) else OFFICIAL_COUNTS.get(split)
    return Manifest(
        split=split,
        folder=top.parent,
        games=tuple(sorted(games)),
        alfworld_version=alfworld_version(),
        filtered=filtered,
        warnings=tuple(_warnings(split, len(games), expected, filtered, skipped["no_solvable"])),
    )


def _read_game(place: Path, path: str, split: str, *, has_game: bool) -> str | tuple[Game, bool]:
    """A game and whether this project has generated it, or the filter that it does not pass."""
    # The path within the split: a folder above it may be called anything.
    for name, word in (("movable", "movable"), ("sliced", "Sliced")):
        if word in path:
            return name
    if not has_game:
        return "no_game_file"
    content = (place / GAME_FILE).read_bytes()
    texts = _json_object(content, GAME_FILE)
    if "solvable" not in texts:
        return "no_solvable"
    if not texts["solvable"]:
        return "not_solvable"
    task_type = _json_object((place / TRIAL_FILE).read_bytes(), TRIAL_FILE).get("task_type")
    if not isinstance(task_type, str):
        raise ValueError(f"{TRIAL_FILE} has no task_type")
    if task_type not in TASK_TYPES:
        return "task_type"
    for name in ("pddl_domain", "pddl_problem", "grammar"):
        if not isinstance(texts.get(name), str):
            raise ValueError(f"{GAME_FILE} has no {name}")
    game = Game(
        path=f"{split}/{path}/{GAME_FILE}",
        task_type=task_type,
        split=split,
        scene=_scene(place.parent.name),
        sha256=hashlib.sha256(content).hexdigest(),
        wording=wording_of(texts["grammar"]),
        wins_without_put=wins_without_put(texts["pddl_problem"], task_type),
    )
    return game, GENERATOR_KEY in texts


def _json_object(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no JSON object")
    return value


def _scene(task_folder: str) -> int:
    number = task_folder.rpartition("-")[2]
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"{task_folder} does not end with the number of a scene")
    return int(number)


def _no_games(top: Path, num_trials: int, filtered: Mapping[str, int]) -> str:
    if not num_trials:
        return f"no {TRIAL_FILE} below {top}; unpack the games there"
    return (
        f"none of the {num_trials} trial folders below {top} is one ({_left_out(filtered)}); "
        "unpack the game files (json_2.1.2_tw-pddl.zip or newer) over them"
    )


def _warnings(
    split: str,
    num_games: int,
    expected: int | None,
    filtered: Mapping[str, int],
    no_solvable: Sequence[str],
) -> Iterator[str]:
    if expected not in (None, num_games):
        left_out = f"; left out: {_left_out(filtered)}" if filtered else ""
        yield f"{split}: {num_games} games, the published split has {expected}{left_out}"
    if no_solvable:
        yield (
            f"{split}: {len(no_solvable)} game files without `solvable`, left out as alfworld "
            f"does: {_some(no_solvable)}"
        )


def _left_out(filtered: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {FILTERS[name]}" for name, count in filtered.items())


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def alfworld_version() -> str | None:
    """Version of the installed alfworld.

    Returns:
        None where the extra ``alfworld`` is not installed.
    """
    try:
        return importlib.metadata.version("alfworld")
    except importlib.metadata.PackageNotFoundError:
        return None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest in one go.

    Args:
        path: of the JSON file; its folder is there.
        manifest: the games' folder is written relative to the file if it is below it, else whole.
    """
    folder, here = manifest.folder.resolve(), path.resolve().parent
    entry = {
        "split": manifest.split,
        "folder": folder.relative_to(here).as_posix()
        if folder.is_relative_to(here)
        else str(folder),
        "digest": manifest.digest,
        "alfworld_version": manifest.alfworld_version,
        "counts": manifest.counts,
        "filtered": dict(manifest.filtered),
        "warnings": list(manifest.warnings),
        "games": [dataclasses.asdict(game) for game in manifest.games],
    }
    write_whole(path, json.dumps(entry, indent=1) + "\n")


def listed_manifest(path: Path) -> Manifest:
    """Read a manifest without a look at the games that it lists.

    Args:
        path: of the JSON file.

    Returns:
        The manifest as it was written.

    Raises:
        ValueError: for a file that is no manifest.
    """
    try:
        entry = _json_object(path.read_bytes(), "it")
        manifest = Manifest(
            split=entry["split"],
            folder=path.absolute().parent / entry["folder"],
            games=tuple(Game(**game) for game in entry["games"]),
            alfworld_version=entry["alfworld_version"],
            filtered=dict(entry["filtered"]),
            warnings=tuple(entry["warnings"]),
        )
        same = manifest.digest == entry["digest"] and manifest.counts == entry["counts"]
    except OSError as error:
        raise ValueError(f"manifest: {path}: {error.strerror}; {_REMAKE}") from error
    except KeyError as error:
        raise ValueError(f"manifest: {path} lacks {error}; {_REMAKE}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"manifest: {path} is no manifest ({error}); {_REMAKE}") from error
    if not same:
        raise ValueError(f"manifest: {path}: its digest is not that of its games; {_REMAKE}")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, and compare the games with it.

    Args:
        path: of the JSON file.

    Returns:
        The manifest as it was written.

    Raises:
        ValueError: for a file that is no manifest, and for games that are missing or have changed,
            all in one message.
    """
    manifest = listed_manifest(path)
    wrong = [
        f"{game.path} {differs}"
        for game in manifest.games
        if (differs := _differs(manifest.file(game), game))
    ]
    if wrong:
        raise ValueError(
            f"manifest: {path}: of {len(manifest.games)} games below {manifest.folder}, "
            f"{len(wrong)} are not as listed: {_some(wrong)}; put them back, or {_REMAKE}"
        )
    return manifest


def _differs(file: Path, game: Game) -> str | None:
    try:
        content = file.read_bytes()
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"({error.strerror})"
    return None if hashlib.sha256(content).hexdigest() == game.sha256 else "has another content"
