"""A worker without Ray: its queues, and what it counts."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from holderpo.alfworld.engine_process import EngineLostError, EngineSettings
from holderpo.alfworld.turns import Turn
from recipe.holderpo.alfworld.environment_worker import EnvironmentWorker

TURN = Turn("a room", ("look",), won=False, done=False)


@pytest.fixture
def worker(tmp_path):
    made = EnvironmentWorker(EngineSettings(reset_seconds=1, cache_folder=str(tmp_path / "cache")))
    made._process = SimpleNamespace(reset=lambda *_, **__: TURN, resident_bytes=0, num_found_dead=0)
    return made


@pytest.fixture
def game(tmp_path):
    file = tmp_path / "game.tw-pddl"
    file.write_text('{"pddl_domain": "d", "pddl_problem": "p", "grammar": "g"}')
    return file


def reset(worker, game):
    return worker.reset("slot", game, 50, None, [])


def test_a_translator_that_is_lost_counts_once_however_many_wait_for_it(worker, game):
    def lost(_):
        raise EngineLostError("died", "the engine process ended in a prepare")

    worker._translator = SimpleNamespace(prepare=lost, num_found_dead=0)

    async def several():
        replies = await asyncio.gather(*(reset(worker, game) for _ in range(8)))
        first = await worker.counts()
        await worker.prepare(game)
        return replies, first, await worker.counts()

    replies, first, later = asyncio.run(several())
    assert {reply.lost for reply in replies} == {"died"}
    assert first.num["died"] == 1
    assert later.num["died"] == 1, "also where nobody waits"


def test_a_game_that_cannot_be_read_keeps_no_other_waiting(worker, game, tmp_path):
    os.mkfifo(tmp_path / "endless")
    worker._translator = SimpleNamespace(prepare=lambda _: None)

    async def both():
        stuck = asyncio.create_task(reset(worker, tmp_path / "endless"))
        await asyncio.sleep(0.1)
        other = await reset(worker, game)
        return other, await stuck

    other, stuck = asyncio.run(both())
    with open(tmp_path / "endless", "w"):
        pass  # Its thread can end.
    assert other.turn == TURN
    assert stuck.lost == "reset_timeout"


def test_a_process_that_was_found_dead_is_counted_once(worker):
    worker._process.num_found_dead = 2

    async def twice():
        return await worker.counts(), await worker.counts()

    first, later = asyncio.run(twice())
    assert (first.num["died"], later.num["died"]) == (2, 0)
