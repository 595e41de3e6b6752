"""The command from its options to the table: real games, no Ray, a script instead of vLLM."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from data_prep.tiny_model import save, tiny_qwen2
from holderpo.studies.run_files import read_yaml
from recipe.holderpo.evaluate.alfworld import alfworld_command, playing
from tests.alfworld_games import needs_alfworld
from tests.recipe.evaluate.alfworld.in_process import (
    CHAT,
    InProcessGroup,
    Scripted,
    given,
    some_command,
)
from tests.recipe.evaluate.math.test_math_command import Screen

pytestmark = needs_alfworld


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save(folder, tiny_qwen2(max_tokens=4096))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": CHAT}))
    return folder


@pytest.fixture
def run(monkeypatch, manifest, tmp_path):
    monkeypatch.setattr(alfworld_command, "Console", Screen)
    monkeypatch.setattr(playing, "make_engine", lambda settings: settings)

    def run(*options, group=None, answers=None, out="out", policy="random"):
        group = group or InProcessGroup()
        answers = answers or Scripted()
        monkeypatch.setattr(playing, "environments", lambda settings: given(group))
        monkeypatch.setattr(playing, "AnsweringThread", lambda engine: answers)
        command = ["--policy", str(policy), "--split", manifest.split, "--out", str(tmp_path / out)]
        command += ["--games", str(manifest.folder.parent), "--max-steps", "6", *options]
        return alfworld_command.main(command), group, answers

    return run


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def numbers_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_whole_panel_is_played_recorded_and_in_the_table(run, manifest, tmp_path):
    assert run("--max-steps", "50", "--passes", "2", policy="expert")[0] == 0
    out = tmp_path / "out"
    rows = lines_of(out / "episodes.jsonl")
    assert {(row["game"], row["pass"]) for row in rows} == {
        (game.path, number) for game in manifest.games for number in (1, 2)
    }
    assert {row["outcome"] for row in rows} == {"won"}
    assert all(row["won"] and row["steps"] > 0 and row["sha256"] for row in rows)
    numbers = numbers_of(out)
    name = f"alfworld/train@{manifest.digest[:8]}"
    assert (numbers["name"], numbers["results"][f"{name}/success"]) == (name, 1.0)
    assert numbers["settings"]["games"]["digest"] == manifest.digest
    assert [one["success"] for one in numbers["passes"]] == [1.0, 1.0]
    assert numbers["this_command"]["environment"]["env/step_count"] == sum(r["steps"] for r in rows)
    assert json.loads((out / "manifest.json").read_text())["digest"] == manifest.digest
    report = (out / "report.md").read_text()
    assert f"## Success on train@{manifest.digest[:8]}" in report
    assert f"result     {name}/success 100.0 %" in Screen.last.screen.getvalue()


def test_a_model_plays(run, model, tmp_path):
    options = ["--device", "cpu", "--temperature", "0.4", "--max-tokens", "300"]
    status, _, answers = run(*options, policy=model)
    assert status == 0
    assert answers.closed
    assert {request.max_tokens for request in answers.requests} == {300}
    assert {request.sampling.temperature for request in answers.requests} == {0.4}
    numbers = numbers_of(tmp_path / "out")
    assert numbers["settings"]["turns"]["history_length"] == 2
    assert numbers["settings"]["engine"]["context"] == 2048 + 300
    assert numbers["all"]["malformed"] > 0
    assert "A prompt may have 2048 tokens" in (tmp_path / "out/report.md").read_text()


TINY = Path(__file__).parents[4] / "configs" / "turn_prompt" / "tiny.yaml"


def first_prompt(answers):
    return "".join(map(chr, answers.requests[0].prompt)).removeprefix("<")


def test_a_model_is_told_what_a_file_says(run, model, tmp_path):
    status, _, answers = run("--device", "cpu", "--turn-prompt", str(TINY), policy=model)
    assert status == 0
    assert first_prompt(answers).startswith("-= Welcome to TextWorld, ALFRED! =-")
    assert f"and how it is read: {TINY}." in (tmp_path / "out/report.md").read_text()


def test_the_model_of_a_run_is_told_what_the_run_told_it(run, model, tmp_path):
    place = tmp_path / "run" / "checkpoints" / "global_step_3" / "actor" / "huggingface"
    shutil.copytree(model, place)
    prompt = read_yaml(TINY, []) | {"history_length": "${turns}"}
    actions = {"strictness": "lenient", "accept_other_wording": False}
    config = {"agent": {"prompt": prompt, "actions": actions}, "turns": 3}
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "run" / "metrics.jsonl").touch()
    status, _, answers = run("--device", "cpu", policy=place)
    assert status == 0
    assert first_prompt(answers).startswith("-= Welcome to TextWorld, ALFRED! =-")
    turns = numbers_of(tmp_path / "out")["settings"]["turns"]
    assert turns["strictness"] == "lenient, without other wording"
    assert turns["history_length"] == 3
    # However the checkpoint is named.
    (tmp_path / "best").symlink_to(place)
    _, _, answers = run("--device", "cpu", policy=tmp_path / "best", out="best")
    assert first_prompt(answers).startswith("-= Welcome to TextWorld, ALFRED! =-")
    # What is given counts more, and a run without an agent says nothing.
    run("--device", "cpu", "--strictness", "strict", policy=place, out="strict")
    turns = numbers_of(tmp_path / "strict")["settings"]["turns"]
    assert turns["strictness"] == "strict, without other wording"
    (tmp_path / "run" / "config.yaml").write_text(json.dumps({"agent": None}))
    _, _, answers = run("--device", "cpu", policy=place, out="mathematics")
    assert first_prompt(answers).startswith("You are the agent in ALFWorld")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("first_template: hello\n", "first_template: lacks"),
        ("history: 3\n", "unexpected keyword argument 'history'"),
        ("[1, 2]\n", "give a file of configs/turn_prompt"),
        ("{}\n", "holds no messages itself"),
        ("defaults: [alfworld]\nagent: {}\n", "holds no messages itself"),
        ("agent: {max_steps: 3}\n", "agent.prompt is missing"),
        ("agent: {prompt: 3}\n", "agent.prompt is 3, not a section"),
        ("agent: {prompt: {history_length: '${none}'}}\n", "Interpolation key 'none' not found"),
        (None, "give a file of configs/turn_prompt"),
    ],
)
def test_a_wrong_file_of_prompts_is_named(run, model, tmp_path, capsys, text, expected):
    file = tmp_path / "prompt.yaml"
    if text is not None:
        file.write_text(text)
    assert run("--device", "cpu", "--turn-prompt", str(file), policy=model)[0] == 2
    shown = capsys.readouterr().err
    assert f"--turn-prompt: {file}" in shown
    assert expected in shown


def test_two_evaluations_are_compared_in_the_games_of_both(run, manifest, tmp_path, capsys):
    assert run("--limit-games", "4", out="before")[0] == 0
    against = ["--against", str(tmp_path / "before"), "--max-steps", "50"]
    assert run(*against, policy="expert", out="after")[0] == 0
    difference = numbers_of(tmp_path / "after")["differences"]["all"]
    assert (difference["games"], difference["here"]) == (4, 1.0)
    before = numbers_of(tmp_path / "before")["all"]["success"]
    assert difference["difference"] == pytest.approx(1 - before)
    report = (tmp_path / "after/report.md").read_text()
    assert "## Against the other evaluation" in report
    assert f"- Against {tmp_path / 'before'}, where episodes.max_steps is 6." in report

    broken = InProcessGroup(broken=[manifest.file(one) for one in manifest.games])
    assert run(*against, group=broken, out="failed")[0] == 1
    assert numbers_of(tmp_path / "failed")["differences"] == {}
    assert run(*against, out="before")[0] == 2
    assert "is --out itself" in capsys.readouterr().err

    assert run("--against", str(tmp_path / "nowhere"), out="other")[0] == 2
    assert f"--against: {tmp_path / 'nowhere'} has no episode of these" in capsys.readouterr().err


def test_an_interrupted_evaluation_goes_on_where_it_was(run, model, tmp_path, request):
    options = ["--device", "cpu", "--side-by-side", "2", "--passes", "2"]
    # Whoever runs the tests may ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    status, *_ = run(*options, policy=model, group=InProcessGroup(interrupt_after=40))
    assert status == 130
    path = tmp_path / "out" / "episodes.jsonl"
    done = lines_of(path)
    assert 0 < len(done) < 12
    for name in ("episodes.jsonl", "transcripts.jsonl"):
        with (tmp_path / "out" / name).open("a") as file:
            file.write('{"game": "train/')
    status, group, _ = run(*options, policy=model)
    assert status == 0
    assert sum(group.played.values()) == 12 - len(done)
    assert len(lines_of(path)) == 12
    assert len(lines_of(tmp_path / "out" / "transcripts.jsonl")) == 12
    run("--device", "cpu", "--passes", "2", policy=model, out="whole")
    kept = {
        key: value for key, value in numbers_of(tmp_path / "out").items() if key != "this_command"
    }
    assert kept == {key: numbers_of(tmp_path / "whole")[key] for key in kept}
    # Nothing is left to do: no environment is started.
    assert run(*options, policy=model, group=None)[1].num_steps == 0


def test_episodes_that_the_environment_failed_are_played_again(run, manifest, tmp_path, capsys):
    broken = manifest.file(manifest.games[1])
    status, *_ = run(group=InProcessGroup(broken={broken}))
    assert status == 1
    shown = Screen.last.screen.getvalue()
    assert "failed: 1 of 6 episodes, in the environment; the same command plays them" in shown
    numbers = numbers_of(tmp_path / "out")
    assert numbers["name"].startswith("alfworld/train_5_of_6@")
    assert [one["game"] for one in numbers["failed"]] == [manifest.games[1].path]
    assert numbers["failed"][0]["reason"] == f"{broken}: no answer"
    status, group, _ = run("--check")
    assert "5 are there; 1 that failed are played again" in capsys.readouterr().out
    status, group, _ = run()
    assert (status, dict(group.played)) == (0, {broken: 1})
    rows = lines_of(tmp_path / "out" / "episodes.jsonl")
    assert sorted(row["number"] for row in rows) == [1, 2, 3, 4, 5, 6]
    assert numbers_of(tmp_path / "out")["name"].startswith("alfworld/train@")


@pytest.mark.parametrize(
    ("options", "policy", "setting"),
    [
        (["--max-steps", "7"], "random", "episodes.max_steps is 6 there and 7 here"),
        (["--seed", "1"], "random", "episodes.seed is 0 there and 1 here"),
        ([], "expert", "episodes.policy is 'random' there and 'expert' here"),
        (["--device", "cpu"], None, "episodes.policy is 'random' there and 'model' here"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    run, model, tmp_path, capsys, options, policy, setting
):
    assert run("--limit-games", "1")[0] == 0
    status, group, _ = run(*options, policy=policy or model)
    assert (status, group.num_steps) == (2, 0)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "evaluation.json" in line]
    assert f"{setting}; give another --out" in line


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (["--temperature", "0.4"], "turns.temperature"),
        (["--history-length", "1"], "turns.history_length"),
        (["--strictness", "lenient"], "turns.strictness"),
        (["--max-tokens", "100", "--max-model-len", "2560"], "turns.max_tokens"),
        (["--max-model-len", "3000"], "engine.context"),
        (["--dtype", "bfloat16"], "engine.dtype"),
    ],
)
def test_a_model_is_not_told_otherwise_in_the_same_folder(run, model, capsys, options, setting):
    assert run("--device", "cpu", "--limit-games", "1", policy=model)[0] == 0
    capsys.readouterr()
    assert run("--device", "cpu", *options, policy=model)[0] == 2
    assert f"{setting} is" in capsys.readouterr().err


def test_other_games_in_the_same_folder_are_refused(run, manifest, tmp_path, capsys):
    assert run("--limit-games", "1")[0] == 0
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    written["games"]["digest"] = 64 * "0"
    (tmp_path / "out/evaluation.json").write_text(json.dumps(written))
    assert run()[0] == 2
    assert "games.digest is '0000" in capsys.readouterr().err


def test_a_part_is_called_one_and_more_games_and_passes_add_to_it(run, manifest, tmp_path):
    digest = manifest.digest[:8]
    assert run("--limit-games", "2")[0] == 0
    assert numbers_of(tmp_path / "out")["name"] == f"alfworld/train_2_of_6@{digest}"
    assert "A part of the split: 2 of 6 games" in (tmp_path / "out/report.md").read_text()
    status, group, _ = run("--task-types", "look", "pick_heat_then_place_in_recep")
    assert (status, sum(group.played.values())) == (0, 1)
    assert numbers_of(tmp_path / "out")["name"] == f"alfworld/train_look_heat_2_of_6@{digest}"
    status, group, _ = run("--passes", "2", "--side-by-side", "1", "--workers", "1")
    assert (status, sum(group.played.values())) == (0, 9)
    assert numbers_of(tmp_path / "out")["name"] == f"alfworld/train@{digest}"


def test_everything_wrong_is_listed_at_once(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    options = ["--split", "valid_unseen", "--passes", "0", "--side-by-side", "0", "--seed", "1"]
    options += ["--limit-games", "0", "--task-types", "dance", "--temperature", "nan"]
    options += ["--history-length", "-1", "--max-tokens", "0", "--workers", "1000"]
    assert run(*options, policy=tmp_path / "no model", out="file")[0] == 2
    shown = capsys.readouterr().err
    for words in (
        "--passes: 0; give 1 or more",
        "--side-by-side: 0; give 1 or more",
        "--limit-games: 0; give 1 or more",
        "--max-tokens: 0; give 1 or more",
        "--history-length: -1; give 0 or more",
        "--temperature: nan; give 0 (greedy) or above",
        "--task-types: 'dance'; give some of pick, look",
        "--games: no folder valid_unseen in or below",
        "--workers: 1000 of 0.5 CPUs need 500",
        "no model is not there; give a folder or a name on the hub; or give random or expert",
        "file is a file; give a folder",
    ):
        assert words in shown, words
    assert len(shown.splitlines()) == 12


def test_what_is_missing_is_named(capsys):
    assert alfworld_command.main([]) == 2
    shown = capsys.readouterr().err.splitlines()[1:]
    assert [line.split(":")[0].strip() for line in shown] == [
        *("--policy", "--split", "--games", "--out")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-model-len", "5000"], "has 4096 positions"),
        (["--max-tokens", "4096"], "4096 of 4096 tokens leave no room for a prompt"),
        (["--gpu-memory-utilization", "0.5"], "0.5 has no effect on a CPU"),
        (["--revision", "main"], "--revision: 'main' is for names on the hub"),
        (["--task-types", "heat"], None),
    ],
)
def test_what_does_not_fit_the_model_is_said_before_it_is_loaded(
    run, model, capsys, options, message
):
    status, _, answers = run("--device", "cpu", "--check", *options, policy=model)
    assert status == (0 if message is None else 2)
    assert (message or "games      1 of train@") in "".join(capsys.readouterr())
    assert answers.requests == []


def test_a_model_without_a_chat_template_is_refused(run, tmp_path, capsys):
    save(tmp_path / "bare", tiny_qwen2(max_tokens=4096))
    settings = json.loads((tmp_path / "bare/tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (tmp_path / "bare/tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "bare/chat_template.jinja").unlink(missing_ok=True)
    assert run("--device", "cpu", policy=tmp_path / "bare")[0] == 2
    assert "has no chat template" in capsys.readouterr().err


def test_what_has_no_effect_is_said(run, model, capsys):
    options = ["--temperature", "0.4", "--device", "cpu", "--batch-invariant"]
    run("--check", *options, "--max-num-seqs", "8", "--tensor-parallel-size", "2")
    shown = capsys.readouterr().out
    names = ("temperature", "device", "batch-invariant", "max-num-seqs", "tensor-parallel-size")
    for name in names:
        assert f"--{name} has no effect with --policy random." in shown
    run("--check", "--device", "cpu", "--passes", "3", "--batch-invariant", policy=model)
    shown = capsys.readouterr().out
    assert "--passes 3: all answers are greedy, so the passes are alike." in shown
    assert "--batch-invariant has no effect on a CPU." in shown


def test_check_only_says_what_would_be_done(run, tmp_path, capsys):
    status, group, _ = run("--check", "--passes", "3")
    assert (status, group.num_steps) == (0, 0)
    assert "episodes   18, of which 0 are there" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_failure_of_vllm_is_the_last_line(run, model, tmp_path, monkeypatch):
    def broken(prompt, request):
        raise RuntimeError("no memory")

    failed = []
    monkeypatch.setattr(Screen, "fail_with", lambda screen, error: failed.append(str(error)))
    answers = Scripted(broken)
    assert run("--device", "cpu", policy=model, answers=answers)[0] == 1
    assert failed == ["no memory"]
    assert answers.closed


def shown_by(capsys, *words):
    capsys.readouterr()
    status = alfworld_command.main(["--show", *map(str, words)])
    return status, "".join(capsys.readouterr())


def test_an_episode_is_shown_by_number_and_by_path(run, manifest, model, tmp_path, capsys):
    def evil(prompt, request):
        return "\x1b[31m\x07\r\u202e" + some_command(prompt, request)

    options = ["--device", "cpu", "--passes", "2", "--limit-games", "2"]
    run(*options, policy=model, answers=Scripted(evil))
    out = ["--out", tmp_path / "out"]
    game = manifest.games[1].path
    status, by_number = shown_by(capsys, 2, *out)
    assert status == 0
    assert f"game       {game}" in by_number
    assert re.search(r"  \| \\x1b\[31m\\x07\\r\\u202e", by_number)
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(by_number)
    for name in (game, game.removesuffix("/game.tw-pddl"), manifest.file(manifest.games[1]), "2@1"):
        assert shown_by(capsys, name, *out) == (0, by_number)
    status, second = shown_by(capsys, "2@2", *out)
    assert "episode    2, pass 2 of train" in second
    assert shown_by(capsys, f"{game}@2", *out) == (0, second)
    for name in ("3", "2@3", "0", "nowhere", "game.tw-pddl", "", "@", "\x1b"):
        status, shown = shown_by(capsys, name, *out)
        assert status == 2
        assert "give NUMBER, or NUMBER@PASS" in shown
        assert "\x1b" not in shown


def test_show_needs_an_evaluation(tmp_path, capsys):
    assert "--out: missing" in shown_by(capsys, 1)[1]
    status, shown = shown_by(capsys, 1, "--out", tmp_path)
    assert (status, "has no episodes" in shown) == (2, True)


def test_ray_and_the_group_end_with_the_evaluation(monkeypatch):
    """The order in which things are given up."""
    import ray

    calls = []
    monkeypatch.setattr(ray, "init", lambda **settings: calls.append(settings))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))

    class Group:
        @classmethod
        def start(cls, settings):
            calls.append("start")
            return cls()

        def close(self):
            calls.append("close")

    monkeypatch.setattr(playing, "EnvironmentGroup", Group)
    with pytest.raises(KeyboardInterrupt), playing.environments(None):
        raise KeyboardInterrupt
    settings, *rest = calls
    assert settings["address"] == "local"
    assert settings["include_dashboard"] is False
    assert rest == ["start", "close", "shutdown"]


def test_games_that_a_published_split_lacks_make_it_a_part(run, manifest, official_games, tmp_path):
    """Ten of the official games of valid_seen; generated ones are whole whatever their split."""
    split = official_games["pick"].parents[2]
    options = ["--split", "valid_seen", "--games", str(split), "--limit-games", "1"]
    assert run(*options, out="official")[0] == 0
    numbers = numbers_of(tmp_path / "official")
    assert re.fullmatch(r"alfworld/valid_seen_1_of_140@\w{8}", numbers["name"])
    assert any("the published split has 140" in note for note in numbers["notes"])
