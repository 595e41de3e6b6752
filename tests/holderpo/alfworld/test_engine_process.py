"""An engine process: the same episodes as in this one, whatever happens to it in between."""

import importlib.metadata
import os
import signal
import time

import pytest

from holderpo.alfworld import engine
from holderpo.alfworld.engine import GameError
from holderpo.alfworld.engine_process import EngineLostError, EngineProcess, EngineSettings
from holderpo.alfworld.engine_program import Slots
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.fast import known_sources
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def process(cache):
    made = EngineProcess(EngineSettings(step_seconds=5, cache_folder=cache))
    yield made
    made.kill()


@pytest.fixture
def game(generated_games):
    return generated_games["pick_and_place_simple"]


def commands(turn, number):
    """Some that do something, never the same for long."""
    return [one for one in turn.admissible if one != "help"][number % 3]


def play(reset, step, number=6):
    turns = [reset()]
    for i in range(number):
        turns.append(step(commands(turns[-1], i)))
    return turns


def test_an_episode_is_the_same_as_in_this_process(process, game):
    here = Episode(game, max_steps=50)
    there = play(lambda: process.reset("a", game, max_steps=50), lambda c: process.step("a", c))
    assert there == play(here.reset, here.step)


def test_slots_are_apart_and_a_closed_one_is_used_again(process, generated_games):
    files = list(generated_games.values())
    first = [process.reset(str(i), file, max_steps=50) for i, file in enumerate(files)]
    for i, turn in enumerate(first):
        process.step(str(i), commands(turn, i))
    process.close_slot("0")
    with pytest.raises(EngineLostError) as raised:
        process.step("0", "look")
    assert raised.value.cause == "replaced"
    assert process.reset("0", files[0], max_steps=50) == first[0]


def test_the_limit_of_steps_is_the_episodes(process, game):
    turn = process.reset("a", game, max_steps=2)
    assert [process.step("a", "look").done for _ in range(2)] == [False, True]
    assert not turn.done


def test_a_killed_process_loses_all_its_episodes_and_restores_them_with_the_same_texts(
    process, game
):
    turns = play(lambda: process.reset("a", game, max_steps=50), lambda c: process.step("a", c))
    process.reset("b", game, max_steps=50)
    first = process.pid
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineLostError) as raised:
        process.step("a", "look")
    assert raised.value.cause == "died"
    with pytest.raises(EngineLostError) as raised:
        process.step("b", "look")
    assert raised.value.cause == "replaced"
    done = [commands(turn, i) for i, turn in enumerate(turns[:-1])]
    assert process.reset("a", game, max_steps=50, actions=done) == turns[-1]
    assert process.pid != first


def test_a_death_that_a_reset_finds_is_counted(process, game):
    process.reset("a", game, max_steps=50)
    before = process.num_found_dead
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.reset("b", game, max_steps=50)
    assert process.num_found_dead == before + 1
    process.kill()
    process.reset("b", game, max_steps=50)
    assert process.num_found_dead == before + 1, "a process that was killed for being late"


def test_a_stopped_process_costs_the_limit_of_a_step(cache, game):
    process = EngineProcess(EngineSettings(step_seconds=0.5, cache_folder=cache))
    process.reset("a", game, max_steps=50)
    stopped = process.pid
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineLostError, match=r"a step took longer than 0\.5 s") as raised:
        process.step("a", "look")
    assert raised.value.cause == "step_timeout"
    assert time.monotonic() - began < 3
    assert not os.path.exists(f"/proc/{stopped}")
    process.kill()


def test_a_command_done_again_has_the_limit_of_a_step(game):
    """However many there are: a command that hangs would keep all other episodes waiting."""
    answers = """
import json, time
from holderpo.processes.line_program import serve
turn = {"observation": "o", "admissible": [], "won": False, "done": False, "expert_action": None}

def main(*_):
    def answer(job):
        if job.get("action") == "hang":
            time.sleep(60)
        return {"turn": turn, "bytes": 0}

    serve(lambda: None, answer)
"""
    settings = EngineSettings(step_seconds=0.3, reset_seconds=1, cache_folder=None)
    process = EngineProcess(settings, program=answers)
    process.start()
    began = time.monotonic()
    with pytest.raises(EngineLostError, match=r"a step took longer than 0\.3 s") as raised:
        process.reset("a", game, max_steps=50, actions=["look"] * 20 + ["hang"])
    assert raised.value.cause == "step_timeout"
    assert time.monotonic() - began < 3
    process.kill()


def test_a_reset_that_never_ends_costs_its_limit_and_the_next_works(cache, game, tmp_path):
    endless = tmp_path / "game.tw-pddl"
    os.mkfifo(endless)  # Nobody ever writes to it.
    process = EngineProcess(EngineSettings(reset_seconds=2, cache_folder=cache))
    began = time.monotonic()
    with pytest.raises(EngineLostError) as raised:
        process.reset("a", endless, max_steps=50)
    assert raised.value.cause == "reset_timeout"
    assert time.monotonic() - began < 20, "the start of the process is in it"
    assert process.reset("a", game, max_steps=50).admissible
    process.kill()


def test_a_broken_game_is_an_error_and_the_process_goes_on(process, game, tmp_path):
    broken = tmp_path / "game.tw-pddl"
    broken.write_text("{}")
    process.reset("a", game, max_steps=50)
    first = process.pid
    for refuse in (
        lambda: process.reset("b", broken, max_steps=50),
        lambda: process.prepare(broken),
    ):
        with pytest.raises(GameError, match=r"game\.tw-pddl"):
            refuse()
    assert process.pid == first
    assert process.step("a", "look").observation


def test_a_slot_is_gone_after_a_broken_game_and_the_others_go_on(process, game, tmp_path):
    broken = tmp_path / "game.tw-pddl"
    broken.write_text("{}")
    for slot in ("a", "b"):
        process.reset(slot, game, max_steps=50)
    with pytest.raises(GameError):
        process.reset("a", broken, max_steps=50)
    with pytest.raises(EngineLostError) as raised:
        process.step("a", "look")
    assert raised.value.cause == "replaced"
    assert process.step("b", "look").observation


def test_a_fault_in_one_episode_leaves_the_others_and_is_told(game, monkeypatch):
    slots = Slots(fast=True, cache_folder=None)
    for slot in ("a", "b"):
        job = {"do": "reset", "slot": slot, "game_file": str(game), "max_steps": 50}
        assert "turn" in slots.answer({**job, "expert_seed": None, "actions": []})
    step = {"do": "step", "slot": "a", "action": "look"}
    with monkeypatch.context() as patch:
        patch.setattr(Episode, "step", lambda *_: {}["nothing\nat all"])
        assert slots.answer(step)["error"] == r"KeyError: 'nothing\nat all'"
    assert "KeyError: 'a'" in slots.answer(step)["error"]
    assert "turn" in slots.answer({**step, "slot": "b"})
    with monkeypatch.context() as patch:
        patch.setattr(Episode, "step", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            slots.answer({**step, "slot": "b"})


def test_another_version_is_told_by_the_parent(monkeypatch):
    true = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == "textworld" else true(name)
    )
    known_sources.difference.cache_clear()
    engine._warn_once.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r"textworld is 9\.9, not .*stock engine"):
            EngineProcess(EngineSettings(cache_folder=None))
    finally:
        known_sources.difference.cache_clear()
        engine._warn_once.cache_clear()


def test_a_process_that_cannot_start_says_why(game):
    program = "import sys\nsys.path.clear()\ndef main(*_): import no_such_module"
    process = EngineProcess(EngineSettings(start_seconds=5), program=program)
    with pytest.raises(EngineLostError, match="engine process does not start") as raised:
        process.reset("a", game, max_steps=50)
    assert raised.value.cause == "not_started"


@pytest.mark.parametrize("name", ["step_seconds", "reset_seconds", "start_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e12, "5", None])
def test_a_limit_is_seconds_above_0_and_not_endless(name, value):
    with pytest.raises(ValueError, match=f"{name}: {value!r}; give seconds above 0, at most"):
        EngineSettings(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("fast", "no"), ("fast", 1), ("cache_folder", 3)])
def test_a_field_of_another_kind_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: {value!r}; give"):
        EngineSettings(**{name: value})


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(ValueError, match="step_seconds") as raised:
        EngineSettings(step_seconds=0, reset_seconds=True, fast=None)
    fields = [line.partition(":")[0] for line in str(raised.value).splitlines()]
    assert fields == ["step_seconds", "reset_seconds", "fast"]


@pytest.mark.slow
def test_memory_is_flat_over_2000_resets(process, generated_games):
    files = list(generated_games.values())

    def reset(times):
        for i in range(times):
            turn = process.reset(str(i % 16), files[i % len(files)], max_steps=50)
            process.step(str(i % 16), commands(turn, i))
        return process.resident_bytes

    warm = reset(200)
    assert reset(2000) - warm < 3 * 2**20
