"""The folder of a split: found wherever it is, never guessed."""

import os

import pytest

from holderpo.alfworld.split_folders import find_split, splits_below, walk
from tests.holderpo.alfworld.game_folders import add_game


def test_a_split_is_found_anywhere_below_or_as_the_folder_itself(tmp_path, monkeypatch):
    split = tmp_path / "a" / "json_2.1.1" / "valid_seen"
    add_game(split)
    for folder in (tmp_path, tmp_path / "a", split.parent, split):
        assert find_split(folder, "valid_seen") == split
        assert splits_below(folder) == {"valid_seen"}
    monkeypatch.chdir(split)
    assert find_split(type(split)("."), "valid_seen") == split


def test_links_are_followed_and_no_folder_is_met_twice(tmp_path):
    add_game(tmp_path / "real" / "valid_seen")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "circle").symlink_to(tmp_path / "real")
    (data / "other").symlink_to(tmp_path / "real" / "valid_seen")
    assert find_split(data, "valid_seen") == data / "link" / "valid_seen"
    assert find_split(data / "other", "valid_seen") == tmp_path / "real" / "valid_seen"


def test_two_splits_of_one_name_are_both_named(tmp_path):
    for place in ("old", "new"):
        add_game(tmp_path / place / "valid_seen")
    with pytest.raises(
        ValueError, match=r"new/valid_seen and .*old/valid_seen .*give one"
    ) as error:
        find_split(tmp_path, "valid_seen")
    assert "\n" not in str(error.value)


def test_a_namesake_without_games_does_not_count(tmp_path):
    add_game(tmp_path / "json_2.1.1" / "train")
    (tmp_path / "gsm8k" / "train").mkdir(parents=True)
    (tmp_path / ".unfinished" / "train").mkdir(parents=True)
    add_game(tmp_path / ".unfinished" / "json_2.1.1" / "train")
    assert find_split(tmp_path, "train") == tmp_path / "json_2.1.1" / "train"
    assert splits_below(tmp_path) == {"train"}


def test_a_missing_split_is_named_with_those_that_are_there(tmp_path):
    add_game(tmp_path / "train" / "json_2.1.1" / "valid_unseen")
    add_game(tmp_path / "train" / "json_2.1.1" / "valid_train")
    with pytest.raises(ValueError, match=r"no folder valid_seen .*valid_train, valid_unseen\)"):
        find_split(tmp_path, "valid_seen")
    # A folder that is called so, but holds other splits, is none.
    with pytest.raises(ValueError, match="no folder train"):
        find_split(tmp_path / "train", "train")
    # One inside another is the inner one.
    add_game(tmp_path / "train" / "json_2.1.1" / "train")
    assert find_split(tmp_path, "train") == tmp_path / "train" / "json_2.1.1" / "train"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no split at all"):
        find_split(empty, "valid_seen")


@pytest.mark.parametrize("name", ["", ".", "..", "a/valid_seen", "/valid_seen", "valid_seen/"])
def test_a_split_is_a_folder_name(tmp_path, name):
    with pytest.raises(ValueError, match=r"split: .*valid_seen"):
        find_split(tmp_path, name)


def test_what_is_no_folder_is_refused(tmp_path):
    file = tmp_path / "valid_seen.tar.xz"
    file.touch()
    for function in (lambda: find_split(file, "valid_seen"), lambda: splits_below(file)):
        with pytest.raises(ValueError, match=r"valid_seen.tar.xz is no folder"):
            function()


def test_a_folder_that_cannot_be_read_is_not_skipped(tmp_path, monkeypatch):
    add_game(tmp_path / "valid_seen")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("trial_1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"trial_1: Permission denied; make it readable"):
        list(walk(tmp_path))
