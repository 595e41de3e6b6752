"""Environment workers in a real Ray: episodes side by side, and what becomes of them in trouble."""

import asyncio
import os
import pickle
import signal
import time

import psutil
import pytest

from holderpo.alfworld.engine_process import EngineSettings
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turns import Outcome
from holderpo.metrics import METRICS
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from tests.alfworld_games import generated_games, needs_alfworld

__all__ = ["generated_games"]

pytestmark = [pytest.mark.e2e, needs_alfworld]


@pytest.fixture(scope="module")
def group_module():
    """The module is imported here: its Ray is not for those who only collect tests."""
    from recipe.holderpo.alfworld import environment_group

    return environment_group


@pytest.fixture(scope="module")
def real_ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def group(real_ray, group_module, cache):
    engine = EngineSettings(step_seconds=5, reset_seconds=6, cache_folder=cache)
    settings = EnvironmentSettings(num_workers=2, stall_seconds=3, engine=engine)
    made = group_module.EnvironmentGroup.start(settings)
    yield made
    made.close()


def command(turn, number):
    return [one for one in turn.admissible if one != "help"][number % 3]


def alone(game, steps):
    episode = Episode(game, max_steps=50)
    turns = [episode.reset()]
    for i in range(steps):
        turns.append(episode.step(command(turns[-1], i)))
    return turns


async def play(episode, steps, pause=0.0):
    turns = [await episode.reset()]
    for i in range(steps):
        turns.append(await episode.step(command(turns[-1], i)))
        await asyncio.sleep(pause)
    return turns


def test_episodes_side_by_side_are_those_played_alone(group, generated_games):
    files = [file for file in generated_games.values() for _ in range(3)]

    async def all_of_them():
        copy = pickle.loads(pickle.dumps(group))
        episodes = [(group, copy)[i % 2].episode(f, i // 3) for i, f in enumerate(files)]
        turns = await asyncio.gather(*(play(episode, 8) for episode in episodes))
        await asyncio.gather(*(episode.close() for episode in episodes))
        return turns, await group.metrics(), await group.metrics()

    turns, metrics, later = asyncio.run(all_of_them())
    expected = [alone(file, 8) for file in generated_games.values()]
    assert turns == [one for one in expected for _ in range(3)]
    assert (metrics["env/reset_count"], metrics["env/step_count"]) == (18, 18 * 8)
    assert metrics["env/episode_failed_count"] == metrics["env/process_death_count"] == 0
    assert metrics.keys() <= {metric.name for metric in METRICS}
    assert later["env/step_count"] == 0, "counts are since the last call"


def test_a_slow_reset_keeps_no_step_waiting(group, generated_games, tmp_path):
    endless = tmp_path / "game.tw-pddl"
    os.mkfifo(endless)
    game = next(iter(generated_games.values()))

    async def both():
        stuck = asyncio.create_task(group.episode(endless, 0).reset())
        began = time.monotonic()
        turns = await play(group.episode(game, 0), 10)
        took = time.monotonic() - began
        with pytest.raises(Exception, match=r"reading the game took longer than 6 s, 3 times"):
            await stuck
        return turns, took, await group.metrics()

    turns, took, metrics = asyncio.run(both())
    assert turns == alone(game, 10)
    assert took < 6
    assert metrics["env/reset_timeout_count"] == 3
    assert metrics["env/episode_failed_count"] == 1


def test_a_worker_answers_pings_however_many_calls_it_has(real_ray, group_module, cache, tmp_path):
    endless = tmp_path / "game.tw-pddl"
    os.mkfifo(endless)
    engine = EngineSettings(reset_seconds=100, cache_folder=cache)
    group = group_module.EnvironmentGroup.start(EnvironmentSettings(num_workers=1, engine=engine))

    async def many():
        calls = [asyncio.ensure_future(group.prepare(endless, 0)) for _ in range(1100)]
        await asyncio.sleep(1)
        await asyncio.wait_for(group.workers[0].handle.ping.remote(), 60)
        waiting = [call for call in calls if not call.done()]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        return len(waiting)

    try:
        assert asyncio.run(many()) == 1100, "the ping was before them"
    finally:
        group.close()


@pytest.mark.parametrize(
    "trouble", ["engine killed", "engine stopped", "actor killed", "actor stopped"]
)
def test_episodes_go_on_with_the_same_texts_after(trouble, group, generated_games):
    which, how = trouble.split()
    sent = signal.SIGKILL if how == "killed" else signal.SIGSTOP
    files = list(generated_games.values())[:2]
    worker = group.workers[0].handle

    async def with_trouble():
        episodes = [group.episode(file, 0) for file in files]
        playing = asyncio.gather(*(play(episode, 20, pause=0.2) for episode in episodes))
        while min(one.num_steps for one in episodes) < 3:  # Games may be new.
            await asyncio.sleep(0.1)
        actor, engine = await worker.ping.remote(), (await worker.pids.remote())[0]
        os.kill({"actor": actor, "engine": engine}[which], sent)
        turns = await playing
        return turns, [one.num_restarts for one in episodes], await group.metrics(), engine

    turns, restarts, metrics, engine = asyncio.run(with_trouble())
    assert turns == [alone(file, 20) for file in files]
    assert restarts == [1, 1]
    assert metrics["env/episode_restart_count"] == 2
    assert metrics["env/episode_failed_count"] == 0
    deaths = metrics["env/process_death_count"] + metrics["env/step_timeout_count"]
    assert (deaths, metrics["env/worker_death_count"]) == ((1, 0) if which == "engine" else (0, 1))
    assert not psutil.pid_exists(engine)


def test_of_eight_games_in_one_process_one_is_solved(group, generated_games):
    game = generated_games["pick_and_place_simple"]

    async def eight():
        episodes = [group.episode(game, 1, expert_seed=0) for _ in range(8)]
        turns = [await one.reset() for one in episodes]
        turn = turns[0]
        while not turn.done:
            turn = await episodes[0].step(turn.expert_action)
        for one in episodes[1:]:
            for _ in range(50):
                last = await one.step("look")
            assert (last.won, last.done) == (False, True)
        with pytest.raises(RuntimeError, match="over"):
            await episodes[1].step("look")
        return [one.outcome for one in episodes]

    assert asyncio.run(eight()) == [Outcome.WON] + 7 * [Outcome.STEP_LIMIT]


def test_more_workers_than_cpus_are_refused_at_once(real_ray, group_module):
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"num_workers: 40 of 0\.5 CPUs need 20"):
        group_module.EnvironmentGroup.start(EnvironmentSettings(num_workers=40))
    assert time.monotonic() - began < 5


def test_a_step_whose_caller_gave_up_is_restored_with_the_same_texts(group, generated_games):
    game = next(iter(generated_games.values()))
    expected = alone(game, 6)

    async def given_up():
        episode = group.episode(game, 0)
        turns = [await episode.reset()]
        for i in range(6):
            sent = command(turns[-1], i)
            step = asyncio.ensure_future(episode.step(sent))
            if i == 3:
                await asyncio.sleep(0)  # It is on its way, and may be done.
                step.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await step
                step = episode.step(sent)
            turns.append(await step)
        return turns

    assert asyncio.run(given_up()) == expected
