"""The part of `bench_alfworld.py` that plays whole batches of episodes.

Each turn waits for a simulated generator (log-normal, median 0.3 s), each episode has a length of
its own (log-normal, 4 to 49 turns); both are the same for all layouts. Groups of eight episodes
play one game. Commands are drawn from the admissible ones.
"""

from __future__ import annotations

import asyncio
import functools
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.engine_process import EngineSettings
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turns import Turn

_GROUP = 8
_LATENCY_MEDIAN_SECONDS, _LATENCY_SPREAD = 0.3, 0.6
_TURNS_MEDIAN, _TURNS_SPREAD, _TURNS_RANGE = 15, 0.55, (4, 49)


@dataclass(frozen=True)
class Script:
    """What one episode does, whoever runs it."""

    game: Path
    key: int
    """Of its group."""
    seed: int
    """Of its commands."""
    latencies: tuple[float, ...]
    """Seconds of the generator, one for each turn."""

    def commands(self) -> Callable[[Turn], str]:
        """A source of commands."""
        chooser = random.Random(self.seed)
        return lambda turn: chooser.choice(turn.admissible)


@dataclass(frozen=True)
class Batch:
    """What a layout took for a batch."""

    ready_seconds: float
    """From nothing to all episodes at their first turn."""
    play_seconds: float
    """From there to the last episode's end."""
    memory_mb: float
    """Proportional set size of all processes but this one's first, with all games loaded."""
    num_steps: int


def scripts(games: Sequence[Path], num_episodes: int, seed: int) -> list[Script]:
    """Episodes of a batch.

    Args:
        games: a group's game is the next of them, in turn.
        num_episodes: of the batch.
        seed: of lengths and latencies.

    Returns:
        A script for each.
    """
    draw = random.Random(seed)
    made = []
    for number in range(num_episodes):
        group = number // _GROUP
        low, high = _TURNS_RANGE
        drawn = _TURNS_MEDIAN * draw.lognormvariate(0, _TURNS_SPREAD)
        turns = min(high, max(low, round(drawn)))
        latencies = [
            _LATENCY_MEDIAN_SECONDS * draw.lognormvariate(0, _LATENCY_SPREAD) for _ in range(turns)
        ]
        made.append(Script(games[group % len(games)], group, number, tuple(latencies)))
    return made


async def _each_for_itself(
    batch: Sequence[Script],
    step: Callable[[int, str], Awaitable[Turn]],
    first: Sequence[Turn],
) -> None:
    """No barrier: every episode goes on as soon as it can."""

    async def play(number: int) -> None:
        turn, choose = first[number], batch[number].commands()
        for latency in batch[number].latencies:
            await asyncio.sleep(latency)
            if turn.done:
                return
            turn = await step(number, choose(turn))

    await asyncio.gather(*(play(number) for number in range(len(batch))))


async def _in_lockstep(
    batch: Sequence[Script],
    step: Callable[[int, str], Awaitable[Turn]],
    first: Sequence[Turn],
) -> None:
    """All wait for the slowest generation, then for the slowest step; ended ones are left out."""
    turns, choose = list(first), [script.commands() for script in batch]
    for tick in range(max(len(script.latencies) for script in batch)):
        running = [
            number
            for number, script in enumerate(batch)
            if tick < len(script.latencies) and not turns[number].done
        ]
        if not running:
            return
        await asyncio.sleep(max(batch[number].latencies[tick] for number in running))
        stepped = await asyncio.gather(*(step(n, choose[n](turns[n])) for n in running))
        for number, turn in zip(running, stepped, strict=True):
            turns[number] = turn


def play_in_workers(
    batch: Sequence[Script], *, num_workers: int, cache: Path, lockstep: bool
) -> Batch:
    """In environment workers, each of which has many games.

    Args:
        batch: the episodes.
        num_workers: Ray actors.
        cache: of translated games.
        lockstep: whether all wait for the slowest.

    Returns:
        What it took.
    """
    from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup

    async def whole() -> Batch:
        began = time.monotonic()
        settings = EnvironmentSettings(
            num_workers=num_workers, engine=EngineSettings(cache_folder=str(cache))
        )
        group = EnvironmentGroup.start(settings)
        try:
            episodes = [group.episode(one.game, one.key) for one in batch]
            first = await asyncio.gather(*(episode.reset() for episode in episodes))
            ready = time.monotonic()
            memory = 0.0
            for worker in group.workers:
                pids = [await worker.call("ping"), *await worker.call("pids")]
                memory += sum(map(_pss_mb, pids))
            drive = _in_lockstep if lockstep else _each_for_itself
            playing = time.monotonic()
            await drive(batch, lambda number, command: episodes[number].step(command), first)
            ended = time.monotonic()
            steps = sum(episode.num_steps for episode in episodes)
            return Batch(ready - began, ended - playing, memory, steps)
        finally:
            group.close()

    return asyncio.run(whole())


def play_in_one_process(batch: Sequence[Script]) -> Batch:
    """The stock engine, all episodes in this process, in lockstep.

    Args:
        batch: the episodes.

    Returns:
        What it took.
    """

    async def whole() -> Batch:
        began, before = time.monotonic(), _pss_mb(psutil.Process().pid)
        episodes = [Episode(one.game, engine=Engine(fast=False)) for one in batch]
        first = [episode.reset() for episode in episodes]
        ready, memory = time.monotonic(), _pss_mb(psutil.Process().pid) - before

        async def step(number: int, command: str) -> Turn:
            return episodes[number].step(command)

        await _in_lockstep(batch, step, first)
        steps = sum(episode.num_steps for episode in episodes)
        return Batch(ready - began, time.monotonic() - ready, memory, steps)

    return asyncio.run(whole())


class _OneEpisode:
    """A Ray actor with one episode of the stock engine."""

    def __init__(self, game: Path) -> None:
        self._episode = Episode(game, engine=Engine(fast=False))

    def reset(self) -> tuple[Turn, int]:
        return self._episode.reset(), psutil.Process().pid

    def step(self, command: str) -> Turn:
        return self._episode.step(command)


def play_in_an_actor_each(batch: Sequence[Script]) -> Batch:
    """The stock engine, a Ray actor for each episode, in lockstep.

    Args:
        batch: the episodes.

    Returns:
        What it took.
    """
    import ray

    remote = ray.remote(num_cpus=0)(_OneEpisode)

    async def whole() -> Batch:
        began = time.monotonic()
        actors = [remote.remote(one.game) for one in batch]
        answers = await asyncio.gather(*(actor.reset.remote() for actor in actors))
        ready, memory = time.monotonic(), sum(_pss_mb(pid) for _, pid in answers)
        counted = 0

        async def step(number: int, command: str) -> Turn:
            nonlocal counted
            counted += 1
            turn: Turn = await actors[number].step.remote(command)
            return turn

        await _in_lockstep(batch, step, [turn for turn, _ in answers])
        played = time.monotonic() - ready
        for actor in actors:
            ray.kill(actor)
        return Batch(ready - began, played, memory, counted)

    return asyncio.run(whole())


def measure(
    games: Sequence[Path],
    *,
    sizes: Sequence[int],
    num_workers: int,
    stock_up_to: int,
    actors_up_to: int,
    seed: int,
) -> list[dict[str, Any]]:
    """All layouts, for batches of several sizes.

    Args:
        games: of one kind.
        sizes: episodes of a batch.
        num_workers: environment workers.
        stock_up_to: largest batch for the stock engine in one process.
        actors_up_to: largest batch with an actor for each episode.
        seed: of the batches.

    Returns:
        A row for each layout and size.
    """
    import ray

    ray.init(num_cpus=num_workers, include_dashboard=False, log_to_driver=False)
    rows = []
    try:
        for size in sizes:
            batch = scripts(games, size, seed)
            turns = [len(script.latencies) for script in batch]
            with tempfile.TemporaryDirectory() as folder:
                workers = functools.partial(
                    play_in_workers, batch, num_workers=num_workers, cache=Path(folder) / "cache"
                )
                layouts: dict[str, Callable[[], Batch]] = {
                    "workers, cold cache": functools.partial(workers, lockstep=False),
                    "workers": functools.partial(workers, lockstep=False),
                    "workers in lockstep": functools.partial(workers, lockstep=True),
                }
                if size <= stock_up_to:
                    layouts["stock, one process"] = functools.partial(play_in_one_process, batch)
                if size <= actors_up_to:
                    layouts["stock, an actor each"] = functools.partial(
                        play_in_an_actor_each, batch
                    )
                shown = tqdm(layouts.items(), desc=f"{size} episodes", disable=None)
                for name, play in shown:
                    took = play()
                    rows.append(
                        {
                            "layout": name,
                            "episodes": size,
                            "mean_turns": statistics.mean(turns),
                            "ready_seconds": took.ready_seconds,
                            "play_seconds": took.play_seconds,
                            "memory_mb": took.memory_mb,
                            "num_steps": took.num_steps,
                        }
                    )
    finally:
        ray.shutdown()
    return rows


def _pss_mb(pid: int) -> float:
    """Proportional set size of a process, MB."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6
