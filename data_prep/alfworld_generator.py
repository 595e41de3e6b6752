"""Generate a set of ALFWorld games: drawn, played, and written so that no half of it is left."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.alfworld_player import Play, engine_player
from data_prep.alfworld_problem import TASK_SENTENCE, GameFiles, Logic, write_game
from data_prep.alfworld_rooms import (
    FIRST_SCENES,
    SCENES_PER_KIND,
    SIZES,
    Room,
    build_room,
    kind_of,
)
from data_prep.alfworld_scenario import draw_scenario
from data_prep.alfworld_tables import Tables
from holderpo.alfworld.engine import GameError, read_game
from holderpo.alfworld.game_facts import wording_of
from holderpo.alfworld.games import (
    Manifest,
    alfworld_version,
    collect_games,
    read_manifest,
    write_manifest,
)
from holderpo.alfworld.split_folders import GAME_FILE
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.whole_files import write_whole

GENERATOR_VERSION = 1
"""One more whenever the same settings give other games."""

SPLITS = ("train", "valid_seen", "valid_unseen")
GAMES_FOLDER = "json_2.1.1"
LOGIC_FOLDER = "logic"
SETTINGS_FILE = "settings.json"
UNFINISHED = ".unfinished"
MIXED = "mixed"
_MIXED_SIZES = ("small", "medium", "large")

_MOST_DRAWS = 50
_MOST_GAMES = 100_000
_LARGEST_SEED = 99_999_999


@dataclass(frozen=True)
class GeneratorSettings:
    """What makes a set of games; the same settings give the same bytes."""

    seed: int = 0
    size: str = "medium"
    """Of the rooms: a key of ``SIZES``, or ``mixed``, where each room has its own."""
    train: int = 25
    """Games of each of the six task types."""
    valid_seen: int = 0
    """The same, in rooms of train."""
    valid_unseen: int = 0
    """The same, in rooms that are never in train."""
    logic: Path | None = None
    """Game file whose domain and grammar the games get; the installed package's by default."""

    def __post_init__(self) -> None:
        """Refuse what cannot be generated.

        Raises:
            ValueError: for any of it.
        """
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed: {self.seed}; give 0 to {_LARGEST_SEED}")
        if self.size not in (*SIZES, MIXED):
            raise ValueError(f"size: {self.size!r}; give one of {', '.join((*SIZES, MIXED))}")
        for split, count in self.counts.items():
            if not 0 <= count <= _MOST_GAMES:
                raise ValueError(f"{split}: {count}; give 0 to {_MOST_GAMES}")
        if not any(self.counts.values()):
            raise ValueError("train, valid_seen, valid_unseen: all 0; ask for games of one")
        if self.valid_seen and not self.train:
            raise ValueError(
                "valid_seen: its rooms are those of train, which has no games; give train some"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Games of each task type by split."""
        return {split: getattr(self, split) for split in SPLITS}


def generate(
    folder: Path, settings: GeneratorSettings, tables: Tables, play: Play | None = None
) -> tuple[list[Manifest], Mapping[str, int]]:
    """Generate a set of games, unless it is there.

    Args:
        folder: of the set; gets ``json_2.1.1/<split>``, ``logic`` and ``<split>.json``.
        settings: of the generator.
        tables: of the installed alfworld.
        play: verifies games; in the engine by default.

    Returns:
        A manifest of each split that has games, and why how many draws were replaced.

    Raises:
        ValueError: if other games are there, or a game cannot be drawn.
    """
    logic = _logic(settings, tables)
    recorded = _recorded(settings, logic)
    unfinished = folder / UNFINISHED
    replaced: Counter[str] = Counter()
    if not _is_there(folder, recorded):
        folder.mkdir(parents=True, exist_ok=True)
        with _work_folder(unfinished):
            draws = _Draws(settings, logic, tables, play or engine_player(), replaced)
            for split in SPLITS:
                draws.write_split(split, unfinished / GAMES_FOLDER / split)
            write_whole(
                unfinished / GAMES_FOLDER / SETTINGS_FILE, json.dumps(recorded, indent=1) + "\n"
            )
            # With the games in their place the set is there; what follows is made if it is missing.
            (unfinished / GAMES_FOLDER).rename(folder / GAMES_FOLDER)
    _write_logic(folder / LOGIC_FOLDER, logic)
    wanted = {split: count for split, count in settings.counts.items() if count}
    return [_manifest(folder, split, count) for split, count in wanted.items()], replaced


def _logic(settings: GeneratorSettings, tables: Tables) -> Logic:
    if settings.logic is None:
        return Logic(tables.domain, tables.grammar)
    try:
        texts = read_game(settings.logic)
    except GameError as error:
        raise ValueError(f"logic: {error}") from error
    logic = Logic(texts["pddl_domain"], texts["grammar"])
    try:
        wording_of(logic.grammar)
    except ValueError as error:
        raise ValueError(f"logic: {settings.logic}: {error}; give another game file") from error
    if len(TASK_SENTENCE.findall(logic.grammar)) != 1:
        raise ValueError(
            f"logic: {settings.logic}: its grammar does not say once what the task is; give "
            "another game file"
        )
    return logic


def _recorded(settings: GeneratorSettings, logic: Logic) -> dict[str, Any]:
    text = "\0".join((logic.domain, logic.grammar))
    return {
        **dataclasses.asdict(settings),
        "logic": hashlib.sha256(text.encode()).hexdigest(),
        "alfworld": alfworld_version(),
        "generator": GENERATOR_VERSION,
    }


def _is_there(folder: Path, recorded: Mapping[str, Any]) -> bool:
    """Whether the same set is there; another one is an error."""
    file = folder / GAMES_FOLDER / SETTINGS_FILE
    if not file.exists():
        others = [GAMES_FOLDER, LOGIC_FOLDER, *(f"{split}.json" for split in SPLITS)]
        others = [name for name in others if (folder / name).exists()]
        if others:
            raise ValueError(
                f"folder: {folder} holds other games ({', '.join(others)}); give another --folder"
            )
        return False
    try:
        there = json.loads(file.read_bytes())
    except ValueError:
        there = None
    if there == recorded:
        return True
    there = there if isinstance(there, dict) else {}
    differ = [
        f"{name} {there.get(name)!r} instead of {value!r}"
        for name, value in recorded.items()
        if there.get(name) != value
    ]
    raise ValueError(
        f"folder: {folder} holds games of other settings ({', '.join(differ)}); remove it or give "
        "another --folder"
    )


@contextlib.contextmanager
def _work_folder(unfinished: Path) -> Iterator[None]:
    try:
        unfinished.mkdir()
    except FileExistsError as error:
        raise ValueError(
            f"folder: {unfinished} is there: games are being generated, or were when the program "
            "was killed; wait, or remove it"
        ) from error
    try:
        yield
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_logic(folder: Path, logic: Logic) -> None:
    folder.mkdir(exist_ok=True)
    write_whole(folder / "alfred.pddl", logic.domain)
    write_whole(folder / "alfred.twl2", logic.grammar)


class _Draws:
    """Draws games one after another, no two alike."""

    def __init__(
        self,
        settings: GeneratorSettings,
        logic: Logic,
        tables: Tables,
        play: Play,
        replaced: Counter[str],
    ) -> None:
        self._settings = settings
        self._logic = logic
        self._tables = tables
        self._play = play
        self._replaced = replaced
        self._keys: set[str] = set()
        self._rooms: dict[int, Room] = {}
        scenes = [
            first + index for first in FIRST_SCENES.values() for index in range(SCENES_PER_KIND)
        ]
        unseen = [scene for scene in scenes if scene in tables.unseen_scenes]
        self._scenes = {
            "train": [scene for scene in scenes if scene not in tables.unseen_scenes],
            # Filled by what train draws.
            "valid_seen": [],
            "valid_unseen": unseen,
        }

    def write_split(self, split: str, folder: Path) -> None:
        number = self._settings.counts[split]
        wanted = [(task_type, index) for task_type in TASK_TYPES for index in range(number)]
        used = set()
        # The bar appears only if this takes a while, and not where the output is no terminal.
        for task_type, index in tqdm(wanted, desc=split, delay=2, disable=None, leave=False):
            used.add(self._write(split, task_type, index, folder))
        if split == "train":
            self._scenes["valid_seen"] = sorted(used)

    def _write(self, split: str, task_type: str, index: int, folder: Path) -> int:
        """Draw until a game is right, and return its scene."""
        reasons: Counter[str] = Counter()
        for attempt in range(_MOST_DRAWS):
            seed = f"{self._settings.seed}, {split}, {task_type}, {index}, {attempt}"
            rng = random.Random(seed)
            room = self._room(self._draw_scene(split, task_type, rng))
            scenario = draw_scenario(task_type, room, rng, self._tables)
            if scenario is None:
                reasons["nothing for the task in the room"] += 1
                continue
            files = write_game(scenario, self._logic, index, self._settings.seed, self._tables)
            if files.key in self._keys:
                reasons["like an earlier game"] += 1
                continue
            self._keys.add(files.key)
            place = folder / files.folder
            _write_files(place, files)
            wrong = self._play(place / GAME_FILE, files.commands)
            if wrong is None:
                self._replaced.update(reasons)
                return room.scene
            shutil.rmtree(place)
            with contextlib.suppress(OSError):
                # Of the task, if it holds no other game.
                place.parent.rmdir()
            reasons[wrong] += 1
        told = ", ".join(f"{count} times {reason}" for reason, count in reasons.items())
        raise ValueError(
            f"{split}: no game of type {task_type} in {_MOST_DRAWS} draws ({told}); ask for fewer "
            "games, or larger rooms"
        )

    def _draw_scene(self, split: str, task_type: str, rng: random.Random) -> int:
        scenes: dict[str, list[int]] = {}
        for scene in self._scenes[split]:
            if (kind := kind_of(scene)) in self._tables.rooms[task_type]:
                scenes.setdefault(kind, []).append(scene)
        return rng.choice(scenes[rng.choice(sorted(scenes))])

    def _room(self, scene: int) -> Room:
        if scene not in self._rooms:
            seed, size = str(self._settings.seed), self._settings.size
            if size == MIXED:
                size = random.Random(f"{seed}, size of {scene}").choice(_MIXED_SIZES)
            self._rooms[scene] = build_room(scene, SIZES[size], seed, self._tables)
        return self._rooms[scene]


def _write_files(folder: Path, files: GameFiles) -> None:
    folder.mkdir(parents=True)
    for name, text in files.files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _manifest(folder: Path, split: str, count: int) -> Manifest:
    """The manifest of a split that is there; made if it is missing."""
    path = folder / f"{split}.json"
    if path.exists():
        manifest = read_manifest(path)
    else:
        manifest = collect_games(folder / GAMES_FOLDER / split, split)
        write_manifest(path, manifest)
    if set(manifest.counts.values()) != {count}:
        raise ValueError(
            f"folder: {folder} has {len(manifest.games)} games in {split} instead of "
            f"{count * len(TASK_TYPES)}; remove it and generate them again"
        )
    return manifest
