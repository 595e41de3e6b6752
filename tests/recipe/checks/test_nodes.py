"""Nodes of a Ray cluster: enough of them, with room, and what is read on them."""

from typing import get_args

import pytest

from holderpo.alfworld.game_facts import Wording
from holderpo.alfworld.games import Game, Manifest, write_manifest
from recipe.holderpo.checks.nodes import (
    driver_paths,
    is_used,
    missing_nodes,
    packages,
    shared_paths,
)
from tests.recipe.checks.checking import MODEL, on_cluster
from tests.recipe.composing import composed


def node(name, gpus, cpus=64.0, alive=True):
    resources = {"GPU": gpus, "CPU": cpus} if gpus else {"CPU": cpus}
    return {
        "NodeID": f"id of {name}",
        "Alive": alive,
        "NodeManagerHostname": name,
        "NodeManagerAddress": "10.0.0.1",
        "Resources": resources,
    }


def on(nnodes, devices, *more):
    overrides = [f"trainer.nnodes={nnodes}", f"trainer.n_gpus_per_node={devices}"]
    return on_cluster("demo", ["device=cuda", *overrides, *more])


def all_free(*nodes):
    return {each["NodeID"]: each["Resources"] for each in nodes if each["Alive"]}


def missing(config, *nodes, free=None):
    return list(missing_nodes(config, nodes, all_free(*nodes) if free is None else free))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("a", 4.0), node("b", 4.0)],
        # What is too large is no fault, nor a node without accelerators beside them.
        [node("a", 4.0), node("b", 8.0), node("login", 0)],
        # verl takes two groups from one machine that has room for both.
        [node("a", 8.0)],
    ],
)
def test_a_cluster_with_room_for_every_group_lacks_nothing(nodes):
    assert missing(on(2, 4), *nodes) == []


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([], "0 of 2 groups find a node, missing are 2 with 4 GPUs"),
        ([node("a", 4.0)], "1 of 2 groups find a node, missing are 1 with 4 GPUs"),
        ([node("a", 4.0), node("b", 4.0, alive=False)], "1 of 2 groups"),
        # Enough in all, but no machine holds the second group.
        ([node("a", 6.0), node("b", 2.0)], "1 of 2 groups"),
        # Three CPUs belong to each device.
        ([node("a", 4.0), node("b", 4.0, cpus=11.0)], "1 of 2 groups"),
    ],
)
def test_a_group_without_a_node_is_missing(nodes, found):
    (line,) = missing(on(2, 4), *nodes)
    assert line.startswith(f"trainer.nnodes x trainer.n_gpus_per_node: 2 x 4; {found}")
    assert line.endswith("start Ray on more, or ask for fewer")


def test_the_nodes_that_are_there_are_shown():
    (line,) = missing(on(3, 8), node("gpu-1", 8.0), node("login", 0, cpus=4.0))
    assert "Here are gpu-1 with 8 GPUs and 64 CPUs, login with 0 GPUs and 4 CPUs: " in line


def test_nodes_of_one_name_are_shown_apart():
    same = [node("vm", 8.0) | {"NodeID": letter * 56} for letter in "ab"]
    (line,) = missing(on(3, 8), *same, node("c", 1.0))
    assert "Here are vm (aaaaaaaa) with 8 GPUs and 64 CPUs, vm (bbbbbbbb) with 8" in line
    assert ", c with 1 GPUs" in line


def test_the_reward_models_own_devices_are_needed_too():
    pool = "reward.reward_model"
    more = [f"{pool}.enable_resource_pool=true", f"{pool}.nnodes=1", f"{pool}.n_gpus_per_node=2"]
    config = on(1, 4, *more)
    assert missing(config, node("a", 4.0), node("b", 2.0)) == []
    # The small group does not take the place of the large one.
    assert missing(config, node("a", 6.0)) == []
    (line,) = missing(config, node("a", 4.0))
    assert "1 x 4, and 1 x 2 of reward.reward_model; 1 of 2 groups" in line
    assert "missing are 1 with 2 GPUs" in line


@pytest.mark.parametrize(
    "left",
    [
        # Six are free, but no four of them on one node.
        {"id of a": {"GPU": 3.0, "CPU": 64.0}, "id of b": {"GPU": 3.0, "CPU": 64.0}},
        {"id of a": {"GPU": 4.0, "CPU": 11.0}, "id of b": {"CPU": 64.0}},
        # Ray has not heard of what is free there.
        {},
    ],
)
def test_devices_that_another_job_holds_are_missing(left):
    (line,) = missing(on(1, 4), node("a", 4.0), node("b", 4.0), free=left)
    free = left.get("id of a", {})
    shown = f"a with {free.get('GPU', 0):g} GPUs and {free.get('CPU', 0):g} CPUs"
    assert f"Free are {shown}, b with " in line
    assert line.endswith("end what holds the others (ray status), or ask for fewer")


def test_what_other_jobs_leave_is_enough():
    left = {"id of a": {"GPU": 1.0, "CPU": 9.0}, "id of b": {"GPU": 4.0, "CPU": 12.0}}
    assert missing(on(1, 4), node("a", 4.0), node("b", 8.0), free=left) == []


def test_ranks_on_cpus_are_said_to_need_gpus_that_are_only_counted():
    (line,) = missing(composed("demo", ["trainer.n_gpus_per_node=2"]), node("a", 0))
    assert "with device=cpu each rank counts as one GPU" in line
    assert "start Ray with --num-gpus=2 and --num-cpus=6 or more " in line
    assert "on as many nodes, " in line
    assert "RAY_GPUS=2 for scripts/train_slurm.sh" in line


def test_a_node_that_counts_nothing_is_not_used():
    assert is_used(node("a", 4.0, cpus=0.0))
    assert is_used(node("a", 0))
    assert not is_used(node("head", 0, cpus=0.0))
    assert not is_used({"Resources": {"memory": 1e9}})


def test_local_paths_are_looked_for_and_names_on_the_hub_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = ("model/config.json", "reward.py", "manager.py", "data.py", "tools.yaml", "loops.yaml")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rollout = "actor_rollout_ref.rollout"
    read = {
        "model": f"{MODEL}.path",
        "reward.py": "reward.custom_reward_function.path",
        "manager.py": "reward.reward_manager.module.path",
        "data.py": "data.custom_cls.path",
        "tools.yaml": f"{rollout}.multi_turn.tool_config_path",
        "loops.yaml": f"{rollout}.agent.agent_loop_config_path",
    }
    given = [f"{field}={path}" for path, field in read.items()]
    assert shared_paths(composed("demo", given)) == read
    given[1] = "reward.custom_reward_function.path=file://reward.py"
    assert shared_paths(composed("demo", given)) == read
    hub = composed("demo", [f"{MODEL}.path=Qwen/Qwen3-4B-Base"])
    assert shared_paths(hub) == {}


def test_data_and_the_runs_folder_are_read_and_written_by_the_driver(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("t.parquet", "v.parquet", "out/config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    settings = ["data.train_files=[t.parquet,absent.parquet]", "data.val_files=v.parquet"]
    config = composed("demo", settings)
    config.run_dir = "out"
    assert shared_paths(config) == {}
    found = driver_paths(config)
    assert [*found] == [
        f"{tmp_path}/{name}" for name in ("t.parquet", "v.parquet", "out/config.yaml")
    ]
    assert found[f"{tmp_path}/t.parquet"] == "data.train_files: only the driver reads it"
    assert found[f"{tmp_path}/out/config.yaml"].startswith(
        f"run_dir: each rank leaves its part of a checkpoint ({tmp_path}/out/checkpoints) on its "
    )
    config.run_dir = "another"
    assert [*driver_paths(config)] == [*found][:2]


def test_games_are_looked_for_where_environment_workers_play_them(tmp_path):
    for split in ("train", "valid_seen"):
        path, facts = f"{split}/trial/game.tw-pddl", ("pick_and_place_simple", split, 1, "0" * 64)
        game = Game(path, *facts, get_args(Wording)[0], wins_without_put=False)
        manifest = Manifest(split, tmp_path / "games", (game,))
        write_manifest(tmp_path / f"{split}.json", manifest)
    given = [
        f"data.train_files={tmp_path}/train.json",
        f"data.val_files={tmp_path}/valid_seen.json",
    ]
    config = composed("alfworld_qwen25_1_5b", given)
    games = shared_paths(config)
    assert [*games.values()] == ["data.train_files, its games", "data.val_files, its games"]
    assert [*games] == [f"{tmp_path}/games/{s}/trial/game.tw-pddl" for s in ("train", "valid_seen")]
    assert packages(config) == ("alfworld", "textworld", "fast-downward-textworld")
    # What is wrong with a manifest is said by the run's own checks.
    (tmp_path / "train.json").write_text("{")
    assert [*shared_paths(config).values()] == ["data.val_files, its games"]
    assert packages(composed("demo")) == ()
