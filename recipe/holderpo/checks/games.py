"""The games of training and validation are looked at: manifests, files, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from holderpo.alfworld.games import Game, Manifest, read_manifest
from holderpo.alfworld.tasks import TASK_TYPES
from recipe.holderpo.alfworld.game_rows import manifest_paths, refuse_mixed, used_games
from recipe.holderpo.checks.data import HELD_OUT, TRAIN, data_files

_SAMPLES = {TRAIN: "train_max_samples", HELD_OUT: "val_max_samples"}


@dataclass
class Games:
    """What was found."""

    used: dict[str, list[tuple[Game, Path]]] = field(default_factory=dict)
    """By field of the configuration, the games that are played, and where they lie; only where
    every manifest could be read."""
    problems: list[str] = field(default_factory=list)
    """Each ``field: value; fix``."""
    warnings: list[str] = field(default_factory=list)
    """What is odd and may be meant."""


def look_at_games(config: DictConfig) -> Games:
    """Read the manifests and compare every game file with them.

    Files that do not exist are left to others.

    Args:
        config: composed, of a run whose rows are games.

    Returns:
        What was found.
    """
    games = Games()
    for name in (TRAIN, HELD_OUT):
        paths = [path for each, path in data_files(config) if each == name]
        if not paths:
            games.problems.append(f"{name}: []; give a manifest ({config.prepared_by})")
        manifests = [one for path in paths if (one := _read(name, path, games))]
        if paths and len(manifests) == len(paths):
            games.used[name] = _used(config, name, manifests)
            if name == HELD_OUT:
                games.problems += _mixed(manifests)
    if config.data.train_files and manifest_paths(config.data.train_files) == manifest_paths(
        config.data.val_files
    ):
        games.problems.append(f"{HELD_OUT}: as {TRAIN}; give games that are not trained on")
    elif not games.problems:
        games.warnings += _odd(config, games)
    return games


def games_lines(config: DictConfig, games: Games) -> Iterator[str]:
    """What the plan says of the games.

    Args:
        config: of a run whose rows are games.
        games: without problems.

    Yields:
        A line each.
    """
    for name, label in ((TRAIN, "train"), (HELD_OUT, "held out")):
        used = [game for game, _ in games.used.get(name, [])]
        counts = Counter(game.task_type for game in used)
        by_type = ", ".join(f"{short} {counts[name]}" for name, short in TASK_TYPES.items())
        line = f"games      {label} {len(used):,}: {by_type}"
        if name == TRAIN and used:
            rounds, groups = config.trainer.total_training_steps, config.data.train_batch_size
            line += f"; {groups} a round, {rounds * groups / len(used):.2f} passes"
        yield line


def _read(name: str, path: str, games: Games) -> Manifest | None:
    if "://" in path:
        games.problems.append(f"{name}: {path}; give a manifest on this machine, as its games are")
        return None
    file = Path(path).expanduser()
    if not file.exists():
        return None
    try:
        return read_manifest(file)
    except ValueError as error:
        games.problems.append(f"{name}: {str(error).removeprefix('manifest: ')}")
        return None


def _used(config: DictConfig, name: str, manifests: Sequence[Manifest]) -> list[tuple[Game, Path]]:
    files = {game: one.file(game) for one in manifests for game in one.games}
    listed = [game for one in manifests for game in one.games]
    wanted = config.data.get(_SAMPLES[name], -1)
    chosen = used_games(listed, wanted if isinstance(wanted, int) else -1)
    return [(game, files[game]) for game in chosen]


def _mixed(manifests: Sequence[Manifest]) -> Iterator[str]:
    try:
        refuse_mixed(manifests)
    except ValueError as error:
        yield str(error)


def _odd(config: DictConfig, games: Games) -> Iterator[str]:
    if TRAIN not in games.used or HELD_OUT not in games.used:
        return
    contents = {name: Counter(game.sha256 for game, _ in used) for name, used in games.used.items()}
    for name, counted in contents.items():
        if repeated := sum(count > 1 for count in counted.values()):
            yield f"{name}: {repeated} games are listed more than once; they count as often"
    if both := contents[TRAIN].keys() & contents[HELD_OUT].keys():
        yield (
            f"{HELD_OUT}: {len(both)} of its {len(games.used[HELD_OUT])} games are trained on too: "
            "success in them is not that in held-out games"
        )
    num_games, size = len(games.used[TRAIN]), config.data.train_batch_size
    if num_games < size:
        yield (
            f"data.train_batch_size: {size}, but {TRAIN} has {num_games} games: some come more "
            "than once in a round, as groups of their own"
        )
    for name, used in games.used.items():
        there = {game.task_type for game, _ in used}
        if missing := [short for long, short in TASK_TYPES.items() if long not in there]:
            yield f"{name}: no game of {', '.join(missing)}"
