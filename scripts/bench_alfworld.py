"""How fast ALFWorld's games run here, and what they cost.

    python scripts/bench_alfworld.py engine batches --official DIR --generated DIR --out bench.json

`engine`: the stock engine and ours in one process each, the same games and commands. Games are
taken evenly from each folder (`game.tw-pddl` anywhere below it); commands are drawn from the
admissible ones. Rates are a core's: steps a second of CPU time, the median of the repeats with the
lowest and the highest; wall time says what else ran. A game seen before is one that this process,
or one before it, has played; the stock engine remembers nothing. Memory is the proportional set
size of a process with one engine for each of its games, all different.

`batches`: whole batches of episodes, in environment workers and in other layouts; what an episode
does is in `bench_alfworld_batches.py`. A cold cache is an empty folder.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from holderpo.alfworld.engine import Engine, read_game
from holderpo.sheets import Sheet, fit, markdown

GAME_FILE = "game.tw-pddl"
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured."""

    num_games: int
    """Of each kind; the memory of further engines takes as many."""
    num_steps: int
    """In each game and repeat."""
    num_repeats: int
    seed: int
    """Of the commands."""
    batch_sizes: Sequence[int] = (1, 8, 64, 128)
    """Episodes side by side."""
    num_workers: int = 2
    """Environment workers."""
    stock_up_to: int = 8
    """Largest batch that the stock engine plays in one process."""
    actors_up_to: int = 8
    """Largest batch with an actor for each episode."""


@dataclasses.dataclass(frozen=True)
class Play:
    """One engine's course through all games, seconds of CPU time but for the wall's."""

    engine: str
    load_new: list[float]
    """Of each game, the first time ever."""
    load_seen: list[float]
    """Again in the same process."""
    reset_seen: list[float]
    """Load and reset of a game that was played before, as an episode starts."""
    step_cpu: list[float]
    """A step's, of each repeat, over all games."""
    step_wall: list[float]
    digest: str
    """Of all that was said."""


def main() -> None:
    """Measure the parts asked for, print their tables."""
    arguments = parse_arguments()
    settings = Settings(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Settings)}
    )
    games = {
        kind: choose(folder, settings.num_games)
        for kind, folder in (("generated", arguments.generated), ("official", arguments.official))
        if folder is not None
    }
    machine = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "settings": dataclasses.asdict(settings),
    }
    print(f"{machine['cores']} cores, load {machine['load']:.1f}")
    settled = (f"{name}={value}" for name, value in dataclasses.asdict(settings).items())
    print(textwrap.fill(", ".join(settled), 80) + "\n")
    record: dict[str, Any] = {"machine": machine}
    for part in arguments.parts:
        record[part], sheets = PARTS[part](games, settings)
        for sheet in sheets:
            print(f"{sheet.title}\n")
            print("\n\n".join(map(markdown, fit(sheet, num_keys=2))) + "\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Speed and memory of ALFWorld's games.")
    add = parser.add_argument
    add("parts", nargs="+", choices=PARTS, help="what to measure")
    add("--official", type=Path, help="folder of official games")
    add("--generated", type=Path, help="folder of generated games")
    add("--num-games", type=int, default=8, help="of each (default: %(default)s)")
    add("--num-steps", type=int, default=25, help="in each game (default: %(default)s)")
    add("--num-repeats", type=int, default=3, help="default: %(default)s")
    add("--seed", type=int, default=0, help="of the commands (default: %(default)s)")
    add("--batch-sizes", type=int, nargs="+", default=[1, 8, 64, 128], help="of batches")
    add("--num-workers", type=int, default=2, help="for batches (default: %(default)s)")
    for name, engine in (("--stock-up-to", "one process"), ("--actors-up-to", "an actor each")):
        text = f"largest batch of the stock engine in {engine} (default: %(default)s)"
        add(name, type=int, default=8, help=text)
    add("--out", type=Path, help="also write the numbers there, as JSON")
    arguments = parser.parse_args()
    if arguments.official is None and arguments.generated is None:
        parser.error("--official, --generated: none; give at least one folder of games")
    if min(arguments.num_games, arguments.num_steps, arguments.num_repeats) < 1:
        parser.error("--num-games, --num-steps, --num-repeats: give at least 1")
    return arguments


def choose(folder: Path, num_games: int) -> list[Path]:
    """Playable games of a folder, evenly over its sorted list.

    Args:
        folder: of games, anywhere below it.
        num_games: how many.

    Returns:
        As many files.

    Raises:
        SystemExit: there are fewer.
    """
    files = [file for file in sorted(folder.rglob(GAME_FILE)) if read_game(file).get("solvable")]
    if len(files) < num_games:
        raise SystemExit(f"{folder}: {len(files)} games; give a folder with {num_games} or more")
    return [files[place * len(files) // num_games] for place in range(num_games)]


def measure_engine(
    games: dict[str, list[Path]], settings: Settings
) -> tuple[dict[str, Any], list[Sheet]]:
    """Rates and memory of both engines.

    Args:
        games: by kind.
        settings: what is measured.

    Returns:
        The numbers, and their tables.

    Raises:
        SystemExit: the engines do not say the same.
    """
    record: dict[str, Any] = {}
    speeds, memories = [], []
    for kind, files in games.items():
        plays, growth = {}, {}
        for engine in tqdm(("stock", "ours"), desc=kind, disable=None):
            with tempfile.TemporaryDirectory() as cache:
                plays[engine] = alone(play, engine, files, settings, Path(cache))
                from_disk = alone(load_from_disk, engine, files, Path(cache))
                growth[engine] = alone(memory, engine, files, Path(cache))
                record[f"{kind}, {engine}"] = {
                    **dataclasses.asdict(plays[engine]),
                    "load_from_disk": from_disk,
                    "pss_mb": growth[engine],
                }
        if plays["stock"].digest != plays["ours"].digest:
            raise SystemExit(f"{kind}: the engines do not say the same; no speed counts")
        speeds += [speed_row(kind, each, plays["stock"]) for each in plays.values()]
        memories += [memory_row(kind, engine, sizes) for engine, sizes in growth.items()]
        for engine in plays:
            disk = 1e3 * statistics.median(record[f"{kind}, {engine}"]["load_from_disk"])
            next(row for row in speeds if row[:2] == [kind, engine]).append(f"{disk:.1f}")
    heading = ["games", "engine", "steps/s of CPU", "ratio", "steps/s of wall"]
    heading += ["load new, ms", "load + reset seen, ms", "load from disk, ms"]
    sizes = ["games", "engine", "one engine, MB", "all, MB", "each further, MB"]
    return record, [
        Sheet("Speed: median (lowest-highest) over repeats; medians over games", heading, speeds),
        Sheet(f"Memory: {settings.num_games} engines, a game each", sizes, memories),
    ]


def alone(function: Callable[..., Result], *arguments: Any) -> Result:
    """A function's result, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def make(engine: str, cache: Path) -> Engine:
    """An engine of that name."""
    return Engine(fast=engine == "ours", cache_folder=cache)


def play(engine: str, games: Sequence[Path], settings: Settings, cache: Path) -> Play:
    """Play all games, then again."""
    played = make(engine, cache)
    said = hashlib.sha256()
    load_new, load_seen, reset_seen = [], [], []
    for game in games:
        load_new.append(seconds(lambda game=game: played.load(game)))
        played.reset()
        load_seen.append(seconds(lambda game=game: played.load(game)))
    step_cpu, step_wall = [], []
    for repeat in range(settings.num_repeats):
        cpu = wall = 0.0
        for game in games:
            reset_seen.append(seconds(lambda game=game: (played.load(game), played.reset())))
            state = played.reset()
            draws = random.Random(f"{settings.seed} {repeat} {game}")
            for _ in range(settings.num_steps):
                command = draws.choice(state["admissible_commands"])
                began = time.process_time(), time.perf_counter()
                state = played.step(command)
                cpu += time.process_time() - began[0]
                wall += time.perf_counter() - began[1]
                said.update(repr((state["feedback"], state["admissible_commands"])).encode())
        step_cpu.append(cpu / settings.num_steps / len(games))
        step_wall.append(wall / settings.num_steps / len(games))
    return Play(
        engine, load_new, load_seen, reset_seen, step_cpu, step_wall, digest=said.hexdigest()
    )


def load_from_disk(engine: str, games: Sequence[Path], cache: Path) -> list[float]:
    """Seconds of CPU time for each load in a process that has not seen the games."""
    played = make(engine, cache)
    # What is imported and parsed once a process.
    played.load(games[0])
    return [seconds(lambda game=game: played.load(game)) for game in games[1:] or games]


def memory(engine: str, games: Sequence[Path], cache: Path) -> list[float]:
    """Megabytes of this process with one engine, with two, and so on."""
    engines, sizes = [], []
    for game in games:
        played = make(engine, cache)
        engines.append(played)
        played.load(game)
        state = played.reset()
        for _ in range(5):
            state = played.step(state["admissible_commands"][0])
        sizes.append(proportional_megabytes())
    return sizes


def seconds(call: Callable[[], object]) -> float:
    """CPU time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def proportional_megabytes() -> float:
    """This process's memory, what it shares divided among those that share it."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss in smaps_rollup")


def speed_row(kind: str, each: Play, stock: Play) -> list[str]:
    """One engine's row of the speed table."""
    ratio = statistics.median(stock.step_cpu) / statistics.median(each.step_cpu)
    return [
        kind,
        each.engine,
        rate(each.step_cpu),
        f"{ratio:.0f}",
        rate(each.step_wall),
        f"{1e3 * statistics.median(each.load_new):.0f}",
        f"{1e3 * statistics.median(each.reset_seen):.1f}",
    ]


def rate(step_seconds: Sequence[float]) -> str:
    """Steps a second, with the spread."""
    rates = sorted(1 / each for each in step_seconds)
    return f"{statistics.median(rates):.0f} ({rates[0]:.0f}-{rates[-1]:.0f})"


def memory_row(kind: str, engine: str, sizes: Sequence[float]) -> list[str]:
    """One engine's row of the memory table."""
    further = (sizes[-1] - sizes[0]) / (len(sizes) - 1) if len(sizes) > 1 else 0.0
    return [kind, engine, f"{sizes[0]:.0f}", f"{sizes[-1]:.0f}", f"{further:.1f}"]


def measure_batches(
    games: dict[str, list[Path]], settings: Settings
) -> tuple[dict[str, Any], list[Sheet]]:
    """Whole batches of episodes in several layouts.

    Args:
        games: by kind.
        settings: what is measured.

    Returns:
        The numbers, and their tables.
    """
    from bench_alfworld_batches import measure

    record = {
        kind: measure(
            files,
            sizes=settings.batch_sizes,
            num_workers=settings.num_workers,
            stock_up_to=settings.stock_up_to,
            actors_up_to=settings.actors_up_to,
            seed=settings.seed,
        )
        for kind, files in games.items()
    }
    rows = [
        [
            kind,
            row["layout"],
            str(row["episodes"]),
            f"{row['ready_seconds']:.1f}",
            f"{row['play_seconds']:.1f}",
            f"{row['memory_mb']:.0f}",
        ]
        for kind, of_kind in record.items()
        for row in of_kind
    ]
    heading = ["games", "layout", "episodes", "ready, s", "played, s", "memory, MB"]
    return record, [Sheet("Batches: from nothing to ready, then to the last end", heading, rows)]


Part = Callable[[dict[str, list[Path]], Settings], tuple[dict[str, Any], list[Sheet]]]
PARTS: dict[str, Part] = {"engine": measure_engine, "batches": measure_batches}


if __name__ == "__main__":
    main()
