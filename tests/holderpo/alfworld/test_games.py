"""The games of a split: alfworld's own filters, all of them counted; checked manifests."""

import dataclasses
import hashlib
import json
import tarfile

import pytest

from holderpo.alfworld.games import (
    alfworld_version,
    collect_games,
    read_manifest,
    write_manifest,
)
from tests.alfworld_games import official_archive, unpack_official
from tests.holderpo.alfworld.game_folders import TASK, add_game

EARLY = {
    "valid_seen": [
        "pick_clean_then_place_in_recep-Mug-None-CoffeeMachine-26",
        "pick_cool_then_place_in_recep-Mug-None-CoffeeMachine-16",
        "pick_cool_then_place_in_recep-Pan-None-StoveBurner-23",
        "pick_heat_then_place_in_recep-Mug-None-CoffeeMachine-1",
    ],
    "valid_train": [
        "pick_clean_then_place_in_recep-Pan-None-StoveBurner-20",
        "pick_cool_then_place_in_recep-Mug-None-CoffeeMachine-14",
    ],
}
COUNTS = {"valid_seen": [35, 13, 27, 16, 25, 24], "valid_train": [46, 19, 37, 25, 28, 45]}
FILTERED = {"valid_seen": {"movable": 34, "sliced": 30, "not_solvable": 47}, "valid_train": {}}


@pytest.fixture
def split(tmp_path):
    """Three games of a split that was never published, so that no count is expected."""
    folder = tmp_path / "json_2.1.1" / "smoke"
    add_game(folder, "pick_heat_then_place_in_recep-Mug-None-Shelf-7", "trial_2", wording="move")
    add_game(folder, "look_at_obj_in_light-Pen-None-DeskLamp-322")
    add_game(folder)
    return folder


def test_games_are_sorted_and_described(tmp_path, split):
    manifest = collect_games(tmp_path, "smoke")
    assert [game.path for game in manifest.games] == [
        "smoke/look_at_obj_in_light-Pen-None-DeskLamp-322/trial_1/game.tw-pddl",
        f"smoke/{TASK}/trial_1/game.tw-pddl",
        "smoke/pick_heat_then_place_in_recep-Mug-None-Shelf-7/trial_2/game.tw-pddl",
    ]
    heat = manifest.games[2]
    assert (heat.task_type, heat.split, heat.scene) == ("pick_heat_then_place_in_recep", "smoke", 7)
    assert [game.wording for game in manifest.games] == ["put", "put", "move"]
    content = manifest.file(heat).read_bytes()
    assert heat.sha256 == hashlib.sha256(content).hexdigest()
    assert manifest.folder == split.parent
    assert list(manifest.counts.values()) == [1, 1, 0, 1, 0, 0]
    assert (manifest.warnings, manifest.filtered) == ((), {})
    assert manifest.alfworld_version == alfworld_version()


def test_every_filter_is_counted(tmp_path, split):
    add_game(split, "pick_and_place_with_movable_recep-Pen-Mug-Desk-307")
    add_game(split, "pick_and_place_simple-AppleSliced-None-Fridge-3")
    add_game(split, TASK, "trial_7").unlink()
    add_game(split, TASK, "trial_8", solvable=None)
    add_game(split, TASK, "trial_9", solvable=False)
    add_game(split, "dance-None-None-None-301", trial_data={"task_type": "dance"})
    manifest = collect_games(tmp_path, "smoke")
    assert len(manifest.games) == 3
    assert manifest.filtered == dict.fromkeys(
        ["movable", "sliced", "no_game_file", "no_solvable", "not_solvable", "task_type"], 1
    )


def test_folders_above_the_split_may_be_called_anything(tmp_path):
    add_game(tmp_path / "movable disk" / "Sliced" / "valid_seen")
    assert len(collect_games(tmp_path, "valid_seen").games) == 1


def test_a_split_reached_by_a_link_keeps_its_name(tmp_path, split):
    link = tmp_path / "links" / "smoke"
    link.parent.mkdir()
    link.symlink_to(split)
    for folder in (link.parent, split):
        manifest = collect_games(folder, "smoke")
        assert all(manifest.file(game).is_file() for game in manifest.games)
        assert manifest.games[0].path.startswith("smoke/look")


def test_two_files_without_solvable_are_named_and_the_count_is_not_that_of_the_split(tmp_path):
    split = tmp_path / "valid_seen"
    for number in range(140):
        add_game(split, TASK, f"trial_{number:03}", solvable=None if number in (17, 80) else True)
    manifest = collect_games(tmp_path, "valid_seen")
    count, without = manifest.warnings
    assert "138 games, the published split has 140" in count
    assert "2 without `solvable`" in count
    assert "2 game files without `solvable`" in without
    assert "trial_017" in without
    assert "trial_080" in without


def test_files_without_solvable_are_named_even_if_the_count_is_right(tmp_path):
    split = tmp_path / "valid_unseen"
    for number in range(139):
        add_game(split, TASK, f"trial_{number:03}", solvable=True if number < 134 else None)
    [warning] = collect_games(tmp_path, "valid_unseen").warnings
    assert "5 game files" in warning
    assert "trial_134, " in warning
    assert "and 2 more" in warning


def test_generated_games_have_no_published_count(tmp_path):
    add_game(tmp_path / "train", generator="holderpo")
    assert collect_games(tmp_path, "train").warnings == ()
    add_game(tmp_path / "train", trial="trial_2")
    [warning] = collect_games(tmp_path, "train").warnings
    assert "2 games, the published split has 3553" in warning


def test_no_games_is_an_error_that_names_the_filter(tmp_path):
    split = tmp_path / "valid_seen"
    add_game(split, TASK, "trial_1", solvable=False)
    add_game(split, TASK, "trial_2").unlink()
    with pytest.raises(ValueError, match=r"none of the 2 .*1 without game.tw-pddl, 1 not solvable"):
        collect_games(tmp_path, "valid_seen")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"no traj_data.json below .*train; unpack"):
        collect_games(tmp_path, "train")


def test_files_that_cannot_be_read_are_all_named_in_one_line(tmp_path, split):
    add_game(split, TASK, "broken_1").write_text('{"grammar": ')
    add_game(split, TASK, "broken_2").write_text("[]")
    add_game(split, TASK, "broken_3", trial_data={"task": "pick"})
    add_game(split, TASK, "broken_4", pddl_problem=None)
    with pytest.raises(ValueError, match=r"broken_1: game.tw-pddl is no JSON") as error:
        collect_games(tmp_path, "smoke")
    told = str(error.value)
    assert "broken_2: game.tw-pddl holds no JSON object" in told
    assert "broken_3: traj_data.json has no task_type" in told
    assert "and 1 more; unpack" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        ("pick_and_place_simple-Mug", {}, "pick_and_place_simple-Mug does not end with the number"),
        (TASK, {"grammar": "action Look {}"}, "no action PutObject"),
        (TASK, {"pddl_domain": 3}, "has no pddl_domain"),
        ("pick_heat_then_place_in_recep-Mug-None-Shelf-7", {"pddl_problem": "()"}, "no goal"),
    ],
)
def test_a_game_that_is_not_understood_is_named(tmp_path, task, changes, told):
    add_game(tmp_path / "smoke", task, "odd", **changes)
    with pytest.raises(ValueError, match=rf"odd: .*{told}"):
        collect_games(tmp_path, "smoke")


def test_a_manifest_comes_back_as_it_was(tmp_path, split):
    add_game(split, TASK, "trial_8", solvable=None)
    manifest = collect_games(tmp_path, "smoke")
    write_manifest(tmp_path / "smoke.json", manifest)
    assert read_manifest(tmp_path / "smoke.json") == manifest
    assert manifest.warnings
    written = json.loads((tmp_path / "smoke.json").read_text())
    assert written["folder"] == "json_2.1.1"
    # Games that lie elsewhere are named by their whole path.
    (tmp_path / "manifests").mkdir()
    write_manifest(tmp_path / "manifests" / "smoke.json", manifest)
    assert read_manifest(tmp_path / "manifests" / "smoke.json") == manifest
    # Those below it may be moved with it.
    tmp_path.rename(moved := tmp_path.with_name(f"{tmp_path.name} moved"))
    assert read_manifest(moved / "smoke.json").digest == manifest.digest


def test_the_digest_is_that_of_paths_and_contents(tmp_path, split):
    manifest = collect_games(tmp_path, "smoke")
    lines = "".join(f"{game.path} {game.sha256}\n" for game in manifest.games)
    assert manifest.digest == hashlib.sha256(lines.encode()).hexdigest()
    backwards = dataclasses.replace(manifest, games=manifest.games[::-1])
    assert backwards.digest == manifest.digest
    add_game(split, TASK, "trial_2")
    assert collect_games(tmp_path, "smoke").digest != manifest.digest


def test_missing_and_changed_games_are_one_error(tmp_path, split):
    manifest = collect_games(tmp_path, "smoke")
    write_manifest(tmp_path / "smoke.json", manifest)
    first, second, _ = (manifest.file(game) for game in manifest.games)
    first.unlink()
    second.write_text(second.read_text() + " ")
    with pytest.raises(ValueError, match="2 are not as listed") as error:
        read_manifest(tmp_path / "smoke.json")
    assert f"{manifest.games[0].path} is missing" in str(error.value)
    assert f"{manifest.games[1].path} has another content" in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda entry: entry.pop("digest"), "lacks 'digest'"),
        (lambda entry: entry["games"].pop(), "its digest is not that of its games"),
        (lambda entry: entry["counts"].update(look_at_obj_in_light=2), "its digest is not"),
        (lambda entry: entry["games"][0].pop("scene"), "is no manifest .*scene"),
        (lambda entry: entry.update(games=3), "is no manifest"),
        (lambda entry: entry.update(split="train"), "split of a manifest"),
        (lambda entry: entry.update(filtered={"odd": 1}), "filtered of a manifest"),
        (lambda entry: entry.update(filtered=3), "is no manifest"),
        (lambda entry: entry.update(alfworld_version=3), "alfworld_version of a manifest"),
        (lambda entry: entry.update(warnings=[3]), "warnings of a manifest"),
        (lambda entry: entry["games"].clear(), "games of a manifest"),
        (lambda entry: entry["games"][0].update(path="../x"), "path of a game"),
        (lambda entry: entry["games"][0].update(path="smoke/../x"), "path of a game"),
        (lambda entry: entry["games"][0].update(path=3), "path of a game|is no manifest"),
        (lambda entry: entry["games"][0].update(task_type="dance"), "task_type of a game"),
        (lambda entry: entry["games"][0].update(scene="7"), "scene of a game"),
        (lambda entry: entry["games"][0].update(wording="lay"), "wording of a game"),
        (lambda entry: entry["games"][0].update(wins_without_put=0), "wins_without_put of a game"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path, split, change, told):
    file = tmp_path / "smoke.json"
    write_manifest(file, collect_games(tmp_path, "smoke"))
    entry = json.loads(file.read_text())
    change(entry)
    file.write_text(json.dumps(entry))
    with pytest.raises(ValueError, match=rf"manifest: .*smoke.json.*{told}.*make it again"):
        read_manifest(file)


def test_what_is_no_manifest_is_refused(tmp_path):
    file = tmp_path / "smoke.json"
    with pytest.raises(ValueError, match="No such file"):
        read_manifest(file)
    for content in ("[]", "{"):
        file.write_text(content)
        with pytest.raises(ValueError, match="is no manifest"):
            read_manifest(file)


def test_official_games_are_understood(tmp_path):
    early = f"{EARLY['valid_seen'][3]}/trial_T20190907_222640_487432"
    usual = "pick_heat_then_place_in_recep-Mug-None-SideTable-21/trial_T20190909_090729_088825"
    unpack_official("valid_seen", [early, usual], tmp_path)
    games = collect_games(tmp_path, "valid_seen").games
    assert [game.wins_without_put for game in games] == [True, False]
    assert [(game.scene, game.wording) for game in games] == [(1, "put"), (21, "put")]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["valid_seen", "valid_train"])
def test_official_splits_are_whole(tmp_path, split):
    with tarfile.open(official_archive(split)) as archive:
        archive.extractall(tmp_path, filter="data")
    manifest = collect_games(tmp_path, split)
    assert list(manifest.counts.values()) == COUNTS[split]
    assert manifest.filtered == FILTERED[split]
    assert manifest.warnings == ()
    early = [game.path.split("/")[1] for game in manifest.games if game.wins_without_put]
    assert early == EARLY[split]
