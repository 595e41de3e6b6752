"""ALFWorld games for tests: a few official ones unpacked, and one of each type generated.

A `conftest.py` that wants a fixture imports it from here.
"""

import importlib.util
import json
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ARCHIVES = REPOSITORY.parent / "shared" / "data" / "alfworld"

needs_alfworld = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("alfworld", "textworld", "fast_downward"))),
    reason="the extra `alfworld` is not installed; run `make setup-alfworld`",
)

# Trials of valid_seen; the first is the smallest room, the kitchens are larger.
OFFICIAL = {
    "pick": "pick_and_place_simple-ToiletPaper-None-ToiletPaperHanger-406"
    "/trial_T20190908_122858_883968",
    "look": "look_at_obj_in_light-CD-None-DeskLamp-320/trial_T20190907_224451_655673",
    "clean": "pick_clean_then_place_in_recep-Cloth-None-Cabinet-405/trial_T20190907_080903_889497",
    "heat": "pick_heat_then_place_in_recep-Mug-None-SideTable-21/trial_T20190909_090729_088825",
    "cool": "pick_cool_then_place_in_recep-Pot-None-DiningTable-21/trial_T20190909_004531_429065",
    "two": "pick_two_obj_and_place-SprayBottle-None-GarbageCan-419/trial_T20190908_164236_518264",
    "clean, large": "pick_clean_then_place_in_recep-Ladle-None-DiningTable-16"
    "/trial_T20190909_183724_205399",
    "heat, large": "pick_heat_then_place_in_recep-Plate-None-Cabinet-1"
    "/trial_T20190908_070946_578973",
    "cool, large": "pick_cool_then_place_in_recep-WineBottle-None-DiningTable-17"
    "/trial_T20190908_024426_412044",
    "two, large": "pick_two_obj_and_place-Glassbottle-None-Shelf-1/trial_T20190907_122204_941737",
}


def official_archive(split):
    """The archive of a split; without it the test is skipped."""
    archive = ARCHIVES / f"{split}.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no official games at {archive.relative_to(REPOSITORY.parent)}")
    return archive


def unpack_official(split, trials, folder):
    """Unpack only these trials (`task/trial`) of a split; the split's folder."""
    wanted = {f"json_2.1.1/{split}/{trial}" for trial in trials}
    with tarfile.open(official_archive(split)) as archive:
        members = [member for member in archive if str(Path(member.name).parent) in wanted]
        archive.extractall(folder, members, filter="data")
    assert {str(Path(member.name).parent) for member in members} == wanted
    return Path(folder) / "json_2.1.1" / split


@pytest.fixture(scope="session")
def official_games(tmp_path_factory):
    """`game.tw-pddl` of the games named in `OFFICIAL`."""
    folder = tmp_path_factory.mktemp("official")
    split = unpack_official("valid_seen", OFFICIAL.values(), folder)
    return {name: split / trial / "game.tw-pddl" for name, trial in OFFICIAL.items()}


@pytest.fixture(scope="session")
def generated_games(tmp_path_factory):
    """`game.tw-pddl` of a small generated game of each type, with a `walkthrough`."""
    from data_prep.alfworld_generator import GeneratorSettings, generate
    from data_prep.alfworld_tables import read_tables

    folder = tmp_path_factory.mktemp("generated")
    generate(folder, GeneratorSettings(size="small", train=1), read_tables())
    files = sorted(folder.rglob("game.tw-pddl"))
    types = [
        json.loads(file.with_name("traj_data.json").read_text())["task_type"] for file in files
    ]
    assert len(set(types)) == len(files) == 6
    return dict(zip(types, files, strict=True))
