"""Games as rows of verl, read by verl's own data set factory and loader."""

from collections import Counter

import pytest
import torch
from omegaconf import OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
from verl.utils import tensordict_utils
from verl.utils.dataset.rl_dataset import collate_fn

from recipe.holderpo.alfworld.game_rows import AGENT_LOOP
from tests.recipe.alfworld.manifests import write_games


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    write_games(folder, "train")
    write_games(folder, "valid_seen", (1, 2, 1, 4, 1, 1))
    return folder


def settings(folder, **values):
    return OmegaConf.create(
        {
            "train_files": f"{folder}/train.json",
            "val_files": [f"{folder}/valid_seen.json"],
            "train_batch_size": 4,
            "shuffle": False,
            "seed": 3,
            "custom_cls": {
                "path": "pkg://recipe.holderpo.alfworld.game_rows",
                "name": "GameRows",
            },
        }
        | values
    )


def data_set(config, split="train", max_samples=-1):
    """As verl's trainer makes it."""
    files = config[f"{split}_files"]
    return create_rl_dataset(files, config, None, None, split == "train", max_samples)


def loader(config, size=4, workers=0):
    rows = data_set(config)
    return StatefulDataLoader(
        rows,
        batch_size=size,
        num_workers=workers,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(config, rows),
    )


def taken(iterator, steps):
    return [game for _ in range(steps) for game in next(iterator)["game"]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_resumed_twice_goes_on_with_the_games_it_would_have_had(folder, workers):
    config = settings(folder)
    whole = taken(iter(loader(config)), 12)
    state, played = None, []
    # 18 games, so the second pass begins within the fifth step.
    for steps in (3, 4, 5):
        fresh = loader(config, workers=workers)
        if state is not None:
            fresh.load_state_dict(state)
        iterator = iter(fresh)
        played += taken(iterator, steps)
        state = fresh.state_dict()
    assert played == whole
    assert sorted(whole[:18]) == sorted(set(whole))


def test_rows_that_are_fetched_one_by_one_are_the_same(folder):
    config = settings(folder)
    steps = taken(iter(loader(config)), 5)
    one_by_one = taken(iter(loader(config, size=1)), 20)
    assert one_by_one == steps


def test_another_seed_is_another_order_of_the_same_games(folder):
    orders = [taken(iter(loader(settings(folder, seed=seed))), 4) for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_a_row_has_what_verl_and_the_loop_need(folder):
    batch = next(iter(loader(settings(folder))))
    assert batch["agent_name"].tolist() == [AGENT_LOOP] * 4
    assert batch["index"].tolist() == [0, 1, 2, 3]
    for i in range(4):
        game, task_type = batch["game"][i], batch["task_type"][i]
        assert batch["game_file"][i] == f"{folder}/json_2.1.1/{game}"
        assert batch["data_source"][i] == f"alfworld_train/{task_type}"
        assert batch["raw_prompt"][i][0]["content"] == f"{task_type}: {game}"
        assert batch["reward_model"][i] == {"style": "environment", "ground_truth": game}
    batch["uid"] = batch["game"]
    rows = tensordict_utils.get_tensordict(batch)
    assert rows["reward_model"][1]["ground_truth"] == batch["game"][1]
    assert isinstance(rows["dummy_tensor"], torch.Tensor)


def test_validation_has_every_game_once_in_the_order_of_the_manifest(folder):
    rows = data_set(settings(folder), "val")
    games = [rows[i]["game"] for i in range(len(rows))]
    assert len(games) == 10
    assert games == sorted(set(games))
    sources = Counter(rows[i]["data_source"] for i in range(len(rows)))
    assert sources["alfworld_valid_seen/heat"] == 4
    assert len(sources) == 6
    with pytest.raises(IndexError):
        rows[10]


@pytest.mark.parametrize("max_samples", [6, 8])
def test_a_part_of_a_panel_has_as_many_of_each_type_and_another_name(folder, max_samples):
    config = settings(folder)
    rows = [data_set(config, "val", max_samples)[i] for i in range(max_samples)]
    counts = Counter(row["task_type"] for row in rows)
    assert len(counts) == 6
    assert counts["heat"] == (1 if max_samples == 6 else 2)
    assert {row["data_source"].split("/")[0] for row in rows} == {
        f"alfworld_valid_seen_{max_samples}_of_10"
    }
    again = [data_set(settings(folder, seed=8), "val", max_samples)[i] for i in range(max_samples)]
    assert [row["game"] for row in again] == [row["game"] for row in rows]


def test_more_samples_than_games_are_all_of_them(folder):
    rows = data_set(settings(folder), "val", 50)
    assert len(rows) == 10
    assert rows[0]["data_source"].startswith("alfworld_valid_seen/")


def test_training_games_may_come_from_several_manifests(folder, tmp_path):
    more = write_games(tmp_path, "valid_train", (1, 1, 1, 1, 1, 1))
    config = settings(folder, train_files=[f"{folder}/train.json", str(more)])
    games = taken(iter(loader(config)), 6)
    assert len(set(games)) == 24
    assert sum(game.startswith("valid_train/") for game in games) == 6


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"shuffle": True}, "data.shuffle: true"),
        ({"train_files": "{folder}/none.json"}, "none.json: No such file"),
        ({"train_files": ["{folder}/valid_seen.json"]}, "data.val_files: .*as data.train_files"),
    ],
)
def test_what_cannot_be_right_is_refused(folder, values, error):
    values = {
        key: [one.format(folder=folder) for one in value] if isinstance(value, list) else value
        for key, value in values.items()
    }
    with pytest.raises(ValueError, match=error):
        data_set(settings(folder, **values))


def test_success_in_two_sets_does_not_go_under_one_name(folder, tmp_path):
    other = write_games(tmp_path, "valid_seen", (1, 1, 1, 1, 1, 1))
    config = settings(folder, val_files=[f"{folder}/valid_seen.json", str(other)])
    with pytest.raises(ValueError, match=r"data\.val_files: several manifests of .* valid_seen"):
        data_set(config, "val")


def test_a_game_that_has_changed_is_refused(tmp_path):
    write_games(tmp_path, "train", (2, 1, 1, 1, 1, 1))
    write_games(tmp_path, "valid_seen", (1, 1, 1, 1, 1, 1))
    next(tmp_path.rglob("train/*/trial/game.tw-pddl")).write_text("another one")
    with pytest.raises(ValueError, match="1 are not as listed"):
        data_set(settings(tmp_path))
