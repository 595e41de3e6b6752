"""Generated games: winnable, disjoint, the same every time, and never half a set."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from data_prep import alfworld_generator
from data_prep.alfworld_generator import GeneratorSettings, generate
from data_prep.alfworld_player import engine_player
from data_prep.alfworld_rooms import SIZES, build_room
from data_prep.alfworld_tables import read_tables
from holderpo.alfworld.games import collect_games, read_manifest
from holderpo.alfworld.tasks import TASK_TYPES
from tests.alfworld_games import needs_alfworld
from tests.holderpo.alfworld.game_folders import GRAMMARS, add_game

pytestmark = needs_alfworld

SMALL = GeneratorSettings(size="small", train=2, valid_seen=1, valid_unseen=1)
# Of SMALL, with alfworld 0.4.2.
DIGESTS = {
    "train": "2a5e1327918f87a9d2afc049424975ec8bdc2484b84c2be437bb560020e5bffb",
    "valid_seen": "b5ddaf675595d280edf652e31410ebe991a3fd88d1e5879a34f5301d5c3b8395",
    "valid_unseen": "847d512b93f189831a61902b7a5f02782f9e40918082dc922434a824021ac01d",
}

MIXED_DIGEST = "102a28b2f3ba385ea7ee03f1979da6823e890ecbb1f30ed06295a7638eff4e90"


def believe(game_file, commands):
    """Plays nothing."""
    assert game_file.is_file()


@pytest.fixture(scope="module")
def tables():
    return read_tables()


@pytest.fixture
def write(tmp_path, tables):
    """Generates, by default without playing; the manifests by split."""

    def write(settings=SMALL, folder=tmp_path, play=believe):
        manifests, replaced = generate(folder, settings, tables, play)
        return {manifest.split: manifest for manifest in manifests}, replaced

    return write


def problems(manifest):
    """Texts without the name of the problem."""
    for game in manifest.games:
        yield json.loads(manifest.file(game).read_text())["pddl_problem"].partition("\n(:obj")[2]


def digests(manifests):
    return {split: manifest.digest for split, manifest in manifests.items()}


def test_the_same_settings_give_the_same_files_and_these(write, tmp_path):
    first, again = (digests(write(folder=tmp_path / name)[0]) for name in "ab")
    assert first == again
    other = dataclasses.replace(SMALL, seed=1)
    assert not {*digests(write(other, tmp_path / "c")[0]).values()} & {*first.values()}
    # Where other games are wanted, GENERATOR_VERSION goes up with these.
    assert first == DIGESTS


def test_processes_agree_whatever_their_hash_seed(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from data_prep.alfworld_generator import GeneratorSettings, generate\n"
        "from data_prep.alfworld_tables import read_tables\n"
        "settings = GeneratorSettings(size='mixed', train=3)\n"
        "generate(Path(sys.argv[1]), settings, read_tables(), lambda *_: None)\n"
    )
    for seed in "12":
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
    contents = [
        {
            path.relative_to(tmp_path / seed): path.read_bytes()
            for path in sorted((tmp_path / seed).rglob("*"))
            if path.is_file()
        }
        for seed in "12"
    ]
    assert len(contents[0]) == 3 * 18 + 4
    assert contents[0] == contents[1]


def test_splits_are_disjoint_and_unseen_rooms_are_never_in_train(write):
    manifests, _ = write(GeneratorSettings(size="small", train=5, valid_seen=4, valid_unseen=4))
    scenes = {split: {g.scene for g in manifest.games} for split, manifest in manifests.items()}
    assert scenes["valid_seen"] <= scenes["train"]
    assert not scenes["valid_unseen"] & scenes["train"]
    texts = [text for manifest in manifests.values() for text in problems(manifest)]
    assert len(texts) == len({*texts}) == 13 * 6
    for split, number in (("train", 5), ("valid_seen", 4), ("valid_unseen", 4)):
        assert manifests[split].counts == dict.fromkeys(TASK_TYPES, number)
        assert manifests[split].warnings == ()


def test_more_games_leave_the_others_as_they_are(write, tmp_path):
    few, _ = write(GeneratorSettings(train=1, size="medium"), tmp_path / "few")
    many, _ = write(GeneratorSettings(train=3, valid_unseen=1, size="medium"), tmp_path / "many")
    assert {*few["train"].games} < {*many["train"].games}


def test_tiny_rooms_hold_little_but_what_tasks_are_done_with(write, tables):
    manifests, _ = write(GeneratorSettings(size="tiny", train=6))
    assert manifests["train"].counts == dict.fromkeys(TASK_TYPES, 6)
    tiny, small = (
        [build_room(scene, SIZES[size], "0", tables) for scene in range(1, 31)]
        for size in ("tiny", "small")
    )
    for kitchen in tiny:
        kinds = [place.type for place in kitchen.receptacles]
        assert {"Fridge", "Microwave", "SinkBasin"} <= {*kinds}
        assert len(kinds) == len({*kinds})
    assert max(len(room.receptacles) for room in tiny) <= 12
    mean_tiny, mean_small = (
        sum(len(room.receptacles) for room in rooms) / 30 for rooms in (tiny, small)
    )
    assert mean_tiny < 0.65 * mean_small


def test_mixed_sizes_are_those_from_small_on(write):
    manifests, _ = write(GeneratorSettings(size="mixed", train=1))
    assert digests(manifests) == {"train": MIXED_DIGEST}


def test_every_game_is_won_by_its_commands_at_the_last_one(write, tmp_path):
    player = engine_player()
    played = Counter()

    def play(game_file, commands):
        wrong = player(game_file, commands)
        played[wrong] += 1
        return wrong

    manifests, replaced = write(GeneratorSettings(size="small", train=1), play=play)
    assert played == {None: 6}
    assert not replaced
    file = manifests["train"].file(manifests["train"].games[0])
    commands = json.loads(file.read_text())["walkthrough"]
    assert player(file, commands[:-1]) == "not won by its commands"
    assert player(file, [*commands, "look"]) == "won too early"
    assert player(file, [commands[0].upper(), *commands[1:]]) == "a command was not admissible"
    file.write_text("{}")
    assert player(file, commands) == "the engine cannot play it"


def test_a_game_that_fails_is_replaced_and_counted(write, tmp_path):
    verdicts = iter(["won too early", "won too early", None, "the engine cannot play it"])
    failed = []

    def play(game_file, commands):
        if wrong := next(verdicts, None):
            failed.append(game_file)
        return wrong

    manifests, replaced = write(play=play)
    assert replaced == {"won too early": 2, "the engine cannot play it": 1}
    assert len(manifests["train"].games) == 12
    assert len(failed) == 3
    folder = tmp_path / "json_2.1.1" / "train"
    assert {len([*task.iterdir()]) > 0 for task in folder.iterdir()} == {True}


def test_like_games_are_drawn_again(write, monkeypatch):
    draw = alfworld_generator.write_game
    first = []

    def repeat(*arguments):
        files = draw(*arguments)
        first.append(files)
        # The second game is the first one's twin.
        return dataclasses.replace(files, key=first[0].key) if len(first) == 2 else files

    monkeypatch.setattr(alfworld_generator, "write_game", repeat)
    assert write()[1] == {"like an earlier game": 1}


def test_games_that_never_come_right_are_an_error_and_leave_nothing(write, tmp_path):
    with pytest.raises(
        ValueError, match=r"train: no game .*in 50 draws \(50 times won too early\)"
    ):
        write(play=lambda *_: "won too early")
    assert [*tmp_path.iterdir()] == []


def test_an_interruption_leaves_no_half_set(write, tmp_path):
    calls = Counter()

    def interrupt(*_):
        calls["played"] += 1
        if calls["played"] == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(play=interrupt)
    assert [*tmp_path.iterdir()] == []
    assert digests(write()[0]) == digests(write(folder=tmp_path / "other")[0])


def test_what_a_killed_program_left_is_named(write, tmp_path):
    (tmp_path / ".unfinished").mkdir()
    with pytest.raises(ValueError, match=r"\.unfinished is there: .*wait, or remove it"):
        write()
    assert (tmp_path / ".unfinished").is_dir()


def test_the_same_set_is_made_once(write):
    first, _ = write()
    times = {game: first["train"].file(game).stat().st_mtime_ns for game in first["train"].games}
    again, _ = write(play=lambda *_: pytest.fail("played again"))
    assert again == first
    assert times == {game: first["train"].file(game).stat().st_mtime_ns for game in times}


def test_a_lost_manifest_or_logic_is_made_again(write, tmp_path):
    first, _ = write()
    for name in ("train.json", "logic/alfred.pddl"):
        (tmp_path / name).unlink()
    assert write()[0] == first
    assert read_manifest(tmp_path / "train.json") == first["train"]
    assert (tmp_path / "logic" / "alfred.pddl").is_file()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"size": "mixed"}, "size 'small' instead of 'mixed'"),
        ({"valid_seen": 2}, "valid_seen 1 instead of 2"),
    ],
)
def test_other_settings_do_not_overwrite(write, change, told):
    before, _ = write()
    with pytest.raises(ValueError, match=rf"other settings \({told}\); remove it or give another"):
        write(dataclasses.replace(SMALL, **change))
    assert write()[0] == before


def test_other_games_are_not_overwritten(write, tmp_path):
    for name in ("json_2.1.1", "train.json", "logic"):
        folder = tmp_path / name.partition(".")[0]
        (folder / name).mkdir(parents=True)
        with pytest.raises(ValueError, match=rf"holds other games \({name}\); give another"):
            write(folder=folder)


def test_a_set_that_has_lost_games_is_not_taken_for_whole(write, tmp_path):
    manifest = write()[0]["train"]
    manifest.file(manifest.games[0]).unlink()
    with pytest.raises(ValueError, match="is missing"):
        write()
    (tmp_path / "train.json").unlink()
    with pytest.raises(ValueError, match="11 games in train instead of 12; remove it"):
        write()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seed": -1}, "seed: -1"),
        ({"seed": 10**8}, "seed: 100000000"),
        ({"size": "huge"}, "size: 'huge'; give one of tiny, small, medium, large, mixed"),
        ({"train": -1}, "train: -1"),
        ({"train": 0}, "all 0"),
        ({"train": 0, "valid_seen": 3}, "valid_seen: its rooms are those of train"),
    ],
)
def test_settings_that_make_no_set_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        GeneratorSettings(**settings)


def test_unseen_games_can_be_had_alone(write):
    manifests, _ = write(GeneratorSettings(size="small", train=0, valid_unseen=1))
    assert [*manifests] == ["valid_unseen"]


def test_the_wording_can_be_that_of_a_game_file(write, tmp_path, official_games):
    logic = official_games["pick"]
    settings = GeneratorSettings(size="small", train=1, logic=logic)
    manifests, _ = write(settings, tmp_path / "put")
    assert {game.wording for game in manifests["train"].games} == {"put"}
    [game] = [g for g in manifests["train"].games if g.task_type == "pick_and_place_simple"]
    texts = json.loads(manifests["train"].file(game).read_text())
    assert engine_player()(manifests["train"].file(game), texts["walkthrough"]) is None
    assert " in/on " in texts["walkthrough"][-1]
    assert "toiletpaper" not in texts["grammar"].partition("Your task is to: ")[2][:80]
    with pytest.raises(ValueError, match=r"logic .*instead of"):
        write(dataclasses.replace(settings, logic=None), tmp_path / "put")
    with pytest.raises(ValueError, match=r"logic: .*No such file"):
        write(dataclasses.replace(settings, logic=tmp_path / "none"), tmp_path / "none")


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ("{}", "no action PutObject"),
        (GRAMMARS["put"], "does not say once what the task is"),
        (GRAMMARS["put"] + '"Your task is to: x." ' * 2, "does not say once what the task is"),
    ],
)
def test_logic_that_no_game_can_be_made_of_is_refused(write, tmp_path, grammar, told):
    logic = add_game(tmp_path / "other", grammar=grammar)
    with pytest.raises(ValueError, match=rf"logic: .*{told}; give another game file"):
        write(dataclasses.replace(SMALL, logic=logic))


@pytest.mark.slow
def test_stock_alfworld_collects_and_plays_them(write, tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    manifests, _ = write(
        GeneratorSettings(size="mixed", train=2, valid_seen=1, valid_unseen=1), tmp_path / "set"
    )
    folder = tmp_path / "set" / "json_2.1.1"
    config = {
        "dataset": {
            "data_path": str(folder / "train"),
            "eval_id_data_path": str(folder / "valid_seen"),
            "eval_ood_data_path": str(folder / "valid_unseen"),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "env": {
            "goal_desc_human_anns_prob": 0,
            "task_types": [1, 2, 3, 4, 5, 6],
            "domain_randomization": False,
            "expert_type": "handcoded",
        },
        "general": {"training_method": "dqn"},
        "rl": {"training": {"max_nb_steps_per_episode": 50}},
    }
    for split, name in (
        ("train", "train"),
        ("valid_seen", "eval_in_distribution"),
        ("valid_unseen", "eval_out_of_distribution"),
    ):
        games = AlfredTWEnv(config, train_eval=name)
        listed = {str(manifests[split].file(game)) for game in manifests[split].games}
        assert {*games.game_files} == listed
        env = games.init_env(batch_size=1)
        for _ in listed:
            _, infos = env.reset()
            with open(infos["extra.gamefile"][0], encoding="utf-8") as file:
                commands = json.load(file)["walkthrough"]
            for command in commands:
                assert not infos["won"][0]
                assert command in infos["admissible_commands"][0]
                _, _, dones, infos = env.step([command])
            assert infos["won"][0]
            assert dones[0]


def test_the_games_folder_is_found_as_the_official_ones(write, tmp_path):
    manifests, _ = write()
    assert collect_games(tmp_path, "valid_unseen") == manifests["valid_unseen"]
