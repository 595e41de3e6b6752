"""The benchmark refuses what it cannot measure, and its rows say what was measured."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alfworld_games import needs_alfworld, unpack_official

# scripts/ is no package, and an installed one of that name hides it.
PATH = Path(__file__).parents[2] / "scripts" / "bench_alfworld.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
# Where its dataclasses, and the processes it starts, look for its names.
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)


def write_games(folder, solvable):
    for place, each in enumerate(solvable):
        game = {"pddl_domain": "", "pddl_problem": "", "grammar": "", "solvable": each}
        path = folder / f"trial {place}" / script.GAME_FILE
        path.parent.mkdir()
        path.write_text(json.dumps(game))


def test_games_are_taken_evenly_from_the_playable_ones(tmp_path):
    write_games(tmp_path, [True, False, True, True, True, True, True])
    chosen = script.choose(tmp_path, 3)
    assert [path.parent.name for path in chosen] == ["trial 0", "trial 3", "trial 5"]
    with pytest.raises(SystemExit, match="6 games; give a folder with 7 or more"):
        script.choose(tmp_path, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["engine"], "--official, --generated: none"),
        (["engine", "--official", "x", "--num-steps", "0"], "give at least 1"),
        (["wings", "--official", "x"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", ["bench_alfworld.py", *arguments])
    with pytest.raises(SystemExit):
        script.parse_arguments()
    assert said in capsys.readouterr().err


def test_a_row_holds_the_median_the_spread_and_the_ratio():
    def play(engine, step):
        return script.Play(engine, [1.0, 0.3], [], [0.02], step, step, "")

    stock, ours = play("stock", [0.1, 0.2, 0.05]), play("ours", [0.002, 0.001, 0.004])
    assert script.speed_row("official", stock, stock)[2:4] == ["10 (5-20)", "1"]
    assert script.speed_row("official", ours, stock) == [
        *["official", "ours", "500 (250-1000)", "50", "500 (250-1000)", "650", "20.0"]
    ]
    assert script.memory_row("official", "ours", [50.0, 53.0, 58.0])[2:] == ["50", "58", "4.0"]


@pytest.mark.slow
@needs_alfworld
def test_both_engines_are_measured_on_the_same_play(tmp_path):
    trials = (
        "pick_and_place_simple-ToiletPaper-None-ToiletPaperHanger-406/"
        "trial_T20190908_122858_883968",
        "look_at_obj_in_light-CD-None-DeskLamp-320/trial_T20190907_224451_655673",
    )
    folder = unpack_official("valid_seen", trials, tmp_path)
    command = [str(PATH), "engine", "--official", str(folder), "--num-games", "2"]
    command += ["--num-steps", "5", "--num-repeats", "2", "--out", str(tmp_path / "out.json")]
    shown = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert max(map(len, shown.stdout.splitlines())) <= 80
    record = json.loads((tmp_path / "out.json").read_text())["engine"]
    stock, ours = record["official, stock"], record["official, ours"]
    assert stock["digest"] == ours["digest"]
    assert max(ours["step_cpu"]) * 10 < min(stock["step_cpu"])
    assert len(ours["pss_mb"]) == 2
