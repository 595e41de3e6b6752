"""Manifests for tests of what never plays a game: each file's content is its own path."""

import hashlib

from holderpo.alfworld.games import Game, Manifest, write_manifest
from holderpo.alfworld.tasks import TASK_TYPES


def write_games(folder, split="train", counts=(5, 4, 3, 2, 2, 2)):
    """A manifest of so many games of each task type, and their files."""
    games = []
    for task_type, count in zip(TASK_TYPES, counts, strict=True):
        for number in range(count):
            path = f"{split}/{task_type}-{number}/trial/game.tw-pddl"
            file = folder / "json_2.1.1" / path
            file.parent.mkdir(parents=True)
            file.write_text(f"{folder.name}/{path}")
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            games.append(Game(path, task_type, split, number, sha256, "move", False))
    manifest = Manifest(split, folder / "json_2.1.1", tuple(sorted(games)))
    write_manifest(folder / f"{split}.json", manifest)
    return folder / f"{split}.json"
