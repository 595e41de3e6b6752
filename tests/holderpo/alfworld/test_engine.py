"""What a broken game, a second thread or a wrong order of calls does to an engine."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holderpo.alfworld.engine import (
    Engine,
    EngineThreadError,
    GameError,
    default_cache_folder,
)
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return {"fast": Engine(cache_folder=folder), "stock": Engine(fast=False)}


@pytest.fixture
def engine(engines):
    return engines["fast"]


@pytest.fixture
def game(official_games):
    return json.loads(official_games["pick"].read_text())


def start(engine, path):
    engine.load(path)
    return engine.reset()


def changed(game, key, old, new):
    assert old in game[key]
    return game | {key: game[key].replace(old, new)}


# What is done to a good game, and what is said about it.
BROKEN = {
    "unreachable goal": (
        lambda game: changed(
            game, "pddl_problem", "(canContain ToiletPaperHangerType ToiletPaperType)", ""
        ),
        "its goal can never hold",
    ),
    "undeclared constant": (
        lambda game: changed(game, "pddl_problem", "SinkBasinType - rtype", ""),
        "a name that it does not declare",
    ),
    "declared twice": (
        lambda game: changed(
            game, "pddl_problem", "agent1 - agent", "agent1 - agent\nagent1 - agent"
        ),
        "the translator refuses it: .*declared twice|agent1",
    ),
    "no problem text": (lambda game: {**game, "pddl_problem": ""}, "broken"),
    "half a problem": (
        lambda game: {**game, "pddl_problem": game["pddl_problem"][:2000]},
        "broken|refuses",
    ),
    "no grammar text": (lambda game: {**game, "grammar": ""}, "broken|declare"),
    "half a grammar": (lambda game: {**game, "grammar": game["grammar"][:9000]}, "broken"),
    "missing key": (lambda game: {"grammar": game["grammar"]}, "no text pddl_domain, pddl_prob"),
    "wrong kind": (lambda game: game | {"grammar": 3}, "no text grammar"),
    "a list": (lambda game: [game], "list, not an object"),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("fast", kind) for kind in BROKEN),
        *(("stock", kind) for kind in ("unreachable goal", "declared twice", "half a grammar")),
    ],
)
def test_a_broken_game_is_one_line_that_names_it(
    engines, name, game, official_games, tmp_path, kind
):
    engine = engines[name]
    change, said = BROKEN[kind]
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(change(game)))
    arguments, output = sys.argv, sys.stdout
    with pytest.raises(GameError, match=said) as caught:
        start(engine, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    # It leaves nothing behind: neither a half-loaded game nor the translator's command line.
    assert (sys.argv, sys.stdout) == (arguments, output)
    if engine.game_file is None:
        with pytest.raises(RuntimeError, match="no game is loaded"):
            engine.reset()
    assert start(engine, official_games["pick"])["won"] is False


@pytest.mark.parametrize("content", [None, "", "{", "\x00", b"\xff\xfe{}", "[" * 200_000])
def test_a_file_that_is_no_game_is_refused(engine, tmp_path, content):
    path = tmp_path / "game.tw-pddl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GameError, match="No such file" if content is None else "no JSON"):
        engine.load(path)
    with pytest.raises(GameError, match="directory"):
        engine.load(tmp_path)


def test_without_its_packages_it_says_how_to_get_them(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "textworld" else find(name, *more),
    )
    for fast in (True, False):
        with pytest.raises(
            ModuleNotFoundError, match=r"^textworld: not installed; run `make setup-alfworld`$"
        ):
            Engine(fast=fast, cache_folder=None)


def test_calls_in_the_wrong_order_are_refused(official_games):
    engine = Engine(cache_folder=None)
    with pytest.raises(RuntimeError, match=r"call load\(\) first"):
        engine.reset()
    engine.load(official_games["pick"])
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        engine.step("look")


def test_the_command_line_and_the_output_are_as_before(engine, official_games, capsys):
    before = list(sys.argv)
    engine.load(official_games["pick"])
    engine.reset()
    engine.step("look")
    assert sys.argv == before
    print("still here")
    assert capsys.readouterr().out == "still here\n"


def test_a_second_thread_is_refused_and_one_after_the_end_of_the_first_is_not(official_games):
    caught = []

    def use(engine, call):
        try:
            getattr(engine, call[0])(*call[1:])
        except Exception as error:
            caught.append(error)

    def in_thread(*arguments):
        thread = threading.Thread(target=use, args=arguments, name="other")
        thread.start()
        thread.join()

    engine = Engine(cache_folder=None)
    engine.load(official_games["pick"])
    engine.reset()
    for call in (("load", official_games["pick"]), ("reset",), ("step", "look")):
        in_thread(engine, call)
    assert [type(error) for error in caught] == [EngineThreadError] * 3
    assert "'other'" in str(caught[0])
    assert engine.step("look")["feedback"]


def test_a_thread_may_use_the_engine_after_the_one_before_it_has_ended():
    code = """
import threading
from pathlib import Path
from holderpo.alfworld.engine import Engine
thread = threading.Thread(target=Engine, kwargs={"cache_folder": None})
thread.start()
thread.join()
Engine(cache_folder=None)
print("made")
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "made\n"


def test_starting_an_engine_leaves_no_folder_in_the_home(tmp_path):
    code = """
import os
from holderpo.alfworld.engine import Engine
Engine(cache_folder=None), Engine(fast=False)
assert "ALFWORLD_DATA" not in os.environ
"""
    environment = {key: value for key, value in os.environ.items() if key != "ALFWORLD_DATA"}
    subprocess.run(
        [sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "holderpo" / "alfworld"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_folder() == tmp_path / "home" / ".cache" / "holderpo" / "alfworld"


def test_a_user_without_a_home_is_told_that_nothing_is_kept(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(RuntimeWarning, match="no home; set XDG_CACHE_HOME"):
        assert default_cache_folder() is None
