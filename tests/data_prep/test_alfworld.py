"""The command: manifests of official games, sets of generated ones, mistakes in one line."""

import importlib.util

import pytest

from data_prep import alfworld
from holderpo.alfworld.games import read_manifest
from tests.alfworld_games import needs_alfworld
from tests.holderpo.alfworld.game_folders import TASK, add_game


@pytest.fixture
def games(tmp_path):
    folder = tmp_path / "data" / "json_2.1.1"
    add_game(folder / "valid_unseen")
    add_game(folder / "valid_seen")
    add_game(folder / "valid_seen", trial="trial_2", solvable=None)
    return tmp_path / "data"


def official(games, *more):
    alfworld.main(["official", "--games", str(games), *map(str, more)])


def test_official_games_stay_and_get_manifests(games, tmp_path, capsys):
    official(games, "--folder", tmp_path / "data")
    seen = read_manifest(tmp_path / "data" / "valid_seen.json")
    assert seen.folder == games / "json_2.1.1"
    assert len(seen.games) == 1
    assert (tmp_path / "data" / "valid_unseen.json").is_file()
    told = capsys.readouterr().out
    assert "task type" in told
    # In the order of the published splits.
    assert told.index("valid_seen") < told.index("valid_unseen")
    assert "warning: valid_seen: 1 games, the published split has 140" in told
    assert "warning: valid_seen: 1 game files without `solvable`" in told
    assert f"valid_seen: put, digest {seen.digest[:12]}" in told
    assert max(map(len, told.split("warning")[0].splitlines())) <= 80
    official(games, "--folder", tmp_path / "data")


def test_a_tiny_model_comes_with_the_games_if_it_is_asked_for(games, tmp_path):
    official(games, "--folder", tmp_path / "without")
    assert not (tmp_path / "without/tiny_model").exists()
    official(games, "--folder", tmp_path / "with", "--tiny-model")
    # Written last.
    assert (tmp_path / "with/tiny_model/tokenizer.json").is_file()


def test_chosen_splits_alone_are_listed(games, tmp_path):
    official(games, "--folder", tmp_path / "m", "--splits", "valid_unseen")
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["valid_unseen.json"]
    with pytest.raises(SystemExit, match=r"error: games: no folder train .*valid_seen, valid_un"):
        official(games, "--splits", "train")


def test_a_manifest_of_other_games_is_not_overwritten(games, tmp_path):
    official(games, "--folder", tmp_path / "m")
    before = (tmp_path / "m" / "valid_seen.json").read_text()
    add_game(games / "json_2.1.1" / "valid_seen", TASK, "trial_3")
    with pytest.raises(SystemExit, match=r"error: folder: .*valid_seen.json lists other games"):
        official(games, "--folder", tmp_path / "m")
    assert (tmp_path / "m" / "valid_seen.json").read_text() == before
    (tmp_path / "m" / "valid_seen.json").write_text("something else")
    with pytest.raises(SystemExit, match="lists other games"):
        official(games, "--folder", tmp_path / "m")


def test_games_that_were_moved_are_listed_anew(games, tmp_path):
    official(games, "--folder", tmp_path / "m")
    games.rename(tmp_path / "moved")
    official(tmp_path / "moved", "--folder", tmp_path / "m")
    seen = read_manifest(tmp_path / "m" / "valid_seen.json")
    assert seen.folder == tmp_path / "moved" / "json_2.1.1"


def test_no_games_is_one_line_that_says_where_they_come_from(tmp_path):
    with pytest.raises(SystemExit, match=r"error: games: none of train, .*alfworld-download") as e:
        official(tmp_path)
    assert "\n" not in str(e.value)
    with pytest.raises(SystemExit, match="is no folder"):
        official(tmp_path / "nowhere")


@pytest.mark.parametrize("command", [[], ["official"]])
def test_the_help_says_where_official_games_come_from(command, capsys):
    with pytest.raises(SystemExit):
        alfworld.main([*command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for word in ("alfworld-download", "3,553", "140", "134"):
        assert word in told


@needs_alfworld
def test_a_set_is_generated_shown_and_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data_prep.alfworld_generator.engine_player", lambda: lambda *_: None)
    arguments = ["generate", "--size", "small", "--train", "2", "--valid-unseen", "1"]
    arguments += ["--folder", str(tmp_path / "set")]
    alfworld.main(arguments)
    told = capsys.readouterr().out
    assert "valid_unseen" in told
    assert "train: move, digest " in told
    assert "warning" not in told
    alfworld.main(arguments)
    assert capsys.readouterr().out == told
    with pytest.raises(SystemExit, match=r"error: folder: .*train 2 instead of 3"):
        alfworld.main([*arguments, "--train", "3"])
    with pytest.raises(SystemExit, match="error: train, valid_seen, valid_unseen: all 0"):
        alfworld.main(["generate", "--train", "0"])


@needs_alfworld
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "set"):
        with pytest.raises(SystemExit, match=rf"error: {tmp_path}/file.*: (File exists|Not a dir)"):
            alfworld.main(["generate", "--train", "1", "--folder", str(folder)])


def test_a_full_disk_is_told_with_the_folder(games, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alfworld, "write_manifest", full)
    folder = tmp_path / "manifests"
    with pytest.raises(SystemExit, match=f"error: {folder}: No space left on device"):
        official(games, "--folder", folder)


@needs_alfworld
def test_replaced_draws_are_told(tmp_path, capsys, monkeypatch):
    verdicts = iter(["won too early"])
    player = lambda *_: next(verdicts, None)  # noqa: E731
    monkeypatch.setattr("data_prep.alfworld_generator.engine_player", lambda: player)
    alfworld.main(["generate", "--size", "small", "--train", "1", "--folder", str(tmp_path / "s")])
    assert "1 draws were replaced: won too early" in capsys.readouterr().out


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in ("alfworld", "fast_downward") else find(name, *more),
    )
    with pytest.raises(
        SystemExit,
        match=r"error: alfworld, fast_downward: not installed; run `make setup-alfworld`",
    ):
        alfworld.main(["generate", "--folder", str(tmp_path / "set")])
    assert [*tmp_path.iterdir()] == []
