"""Nodes are waited for up to a limit, and each is asked; Ray itself only in a slow test."""

import sys
from types import SimpleNamespace

import pytest

from recipe.holderpo.run import cluster
from recipe.holderpo.run.cluster import ClusterError, check_cluster, wait_for_nodes
from tests.recipe.checks.checking import on_cluster
from tests.recipe.checks.test_node_reports import report
from tests.recipe.checks.test_nodes import all_free, node, on


class FakeRay:
    """A cluster that a node joins with each look."""

    def __init__(self, *joining, free=None):
        self.joining, self.looks = joining, 0
        here = {"available_resources_per_node": lambda: free or all_free(*self.here())}
        self._private = SimpleNamespace(state=SimpleNamespace(**here))

    def nodes(self):
        self.looks += 1
        return self.here()

    def here(self):
        return [each for each in self.joining[: self.looks] if each]

    def cluster_resources(self):
        return {"CPU": self.total("CPU")}

    def total(self, name):
        return sum(each["Resources"].get(name, 0) for each in self.here() if each["Alive"])


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only while it is waited."""
    now = SimpleNamespace(seconds=0.0)

    def sleep(seconds):
        now.seconds += seconds

    monkeypatch.setattr(
        cluster, "time", SimpleNamespace(monotonic=lambda: now.seconds, sleep=sleep)
    )
    return now


def waited(monkeypatch, ray, limit=10):
    monkeypatch.setitem(sys.modules, "ray", ray)
    said = []
    return wait_for_nodes(on(2, 4, f"wait_for_nodes_seconds={limit}"), said.append), said


def test_nodes_that_are_there_are_not_waited_for(monkeypatch, clock):
    ray = FakeRay(node("a", 8.0))
    nodes, said = waited(monkeypatch, ray, limit=0)
    assert ([each["NodeID"] for each in nodes], said, clock.seconds) == (["id of a"], [], 0)


def test_nodes_are_waited_for_and_each_state_is_told_once(monkeypatch, clock):
    ray = FakeRay(node("a", 4.0), None, None, node("dead", 4.0, alive=False), node("b", 4.0))
    nodes, said = waited(monkeypatch, ray)
    assert [each["NodeManagerHostname"] for each in nodes] == ["a", "b"]
    assert clock.seconds == 4
    (line,) = said
    assert line.startswith("waiting    up to 10 s more. trainer.nnodes x trainer.n_gpus_per_node:")


def test_after_the_limit_what_is_missing_is_told(monkeypatch, clock):
    with pytest.raises(ClusterError) as ended:
        waited(monkeypatch, FakeRay(node("a", 4.0)), limit=2.5)
    first, last = str(ended.value).splitlines()
    assert "1 of 2 groups find a node" in first
    assert last == "waited 2.5 s (wait_for_nodes_seconds)"
    assert ended.value.problems == [first, last]
    assert clock.seconds == 2.5


def test_devices_of_other_jobs_and_cpus_of_transfer_queue_are_waited_for(monkeypatch, clock):
    free = {"id of a": {"GPU": 5.0, "CPU": 64.0}}
    with pytest.raises(ClusterError, match="Free are a with 5 GPUs and 64 CPUs: end what holds"):
        waited(monkeypatch, FakeRay(node("a", 8.0), free=free))
    with pytest.raises(ClusterError, match="the Ray cluster has 24 CPUs, 8 devices and Transfer"):
        waited(monkeypatch, FakeRay(node("a", 8.0, cpus=24.0)))


def checked(monkeypatch, answers, *more, nodes=(), config=None):
    """What is said; ``more`` takes what the nodes are asked for."""
    ray = FakeRay(node("a", 8.0), *nodes)
    ray.looks = len(nodes)
    monkeypatch.setitem(sys.modules, "ray", ray)

    def ask(*asked):
        for take in more:
            take(asked)
        return answers

    monkeypatch.setattr(cluster, "ask_nodes", ask)
    monkeypatch.setattr(cluster, "report_node", lambda paths, more, has_verl: report())
    said = []
    check_cluster(config or on(2, 4), said.append)
    return said


def test_every_difference_ends_the_start(monkeypatch, clock):
    answers = {"a": report(), "b": report(plugin="why", versions={"verl": "0.9.0"}), "c": "gone"}
    with pytest.raises(ClusterError) as ended:
        checked(monkeypatch, answers)
    problems = ["verl", "recipe.holderpo.plugin", "node c"]
    assert [line.split(":")[0] for line in ended.value.problems] == problems


def test_nodes_that_are_alike_are_named_with_their_versions(monkeypatch, clock):
    first, second = checked(monkeypatch, {"a": report()})
    assert first == "nodes      a"
    assert second.startswith("nodes      alike: verl 0.9.1, torch 2.11.0, ray 2.60.0, vllm 0.24.0")


def test_nodes_of_one_name_are_told_apart(monkeypatch, clock):
    others = [node("a", 8.0) | {"NodeID": letter * 56} for letter in "bc"]
    named, _ = checked(monkeypatch, {}, nodes=others)
    assert named == "nodes      a (id of a), a (bbbbbbbb), a (cccccccc)"


def test_nodes_on_which_ray_puts_nothing_are_not_asked(monkeypatch, clock):
    asked = []
    head = node("head", 0, cpus=0.0)
    checked(monkeypatch, {}, asked.append, nodes=[head, node("c", 0)])
    ((nodes, _, _),) = asked
    assert [each["NodeID"] for each in nodes] == ["id of a", "id of c"]


def test_data_that_other_nodes_do_not_see_are_said_and_the_run_goes_on(
    monkeypatch, clock, tmp_path
):
    # Where the demo's own data are not.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.parquet").touch()
    config, asked = on(2, 4, f"data.train_files={tmp_path}/t.parquet"), []
    answers = {"b": report(missing=[f"{tmp_path}/t.parquet"])}
    _, warning, last = checked(monkeypatch, answers, asked.append, config=config)
    assert asked[0][1] == [f"{tmp_path}/t.parquet"]
    assert warning.startswith(
        f"warning    data.train_files: {tmp_path}/t.parquet is not to be seen"
    )
    assert last.startswith("nodes      alike")


def test_what_plays_games_is_compared_where_games_are_played(monkeypatch, clock):
    asked = []
    checked(
        monkeypatch,
        {},
        asked.append,
        config=on_cluster("alfworld_qwen25_1_5b", ["trainer.n_gpus_per_node=4"]),
    )
    assert asked[0][2] == ("alfworld", "textworld", "fast-downward-textworld")


def started(monkeypatch, config, *nodes):
    """Whether a start looks at the cluster's nodes."""
    ray, looks = FakeRay(*nodes), []
    ray.looks = len(nodes)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(cluster, "check_cluster", lambda config, say: looks.append(config))
    cluster.check_before_start(config, print)
    return bool(looks)


def test_a_start_looks_at_nodes_where_there_are_several_or_are_to_be(monkeypatch):
    assert not started(monkeypatch, on(1, 4), node("a", 4.0))
    assert started(monkeypatch, on(2, 4), node("a", 4.0))
    # Some of a run's processes go to any node.
    assert started(monkeypatch, on(1, 4), node("a", 4.0), node("b", 0))
    # Ray also lists nodes that have left.
    assert not started(monkeypatch, on(1, 4), node("a", 4.0), node("b", 4.0, alive=False))


def test_a_start_on_one_node_does_not_wait_for_cpus(monkeypatch):
    with pytest.raises(ClusterError, match="the Ray cluster has 3 CPUs, 4 devices and Transfer"):
        started(monkeypatch, on(1, 4), node("a", 4.0, cpus=3.0))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_node_of_a_real_ray_answers(tmp_path, monkeypatch):
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "here").touch()
    paths = [str(tmp_path / name) for name in ("here", "absent")]
    environment = {"env_vars": {"VERL_PLATFORM": "cpu"}}
    ray.init(num_cpus=1, include_dashboard=False, namespace="preflight", runtime_env=environment)
    try:
        answers = cluster.ask_nodes(ray.nodes(), paths)
        # Ray's own interface to it is not public.
        assert [*ray._private.state.available_resources_per_node()] == [ray.nodes()[0]["NodeID"]]
        assert list(cluster._lacking(on(1, 1), ray.nodes()))
        stopped = [{"NodeID": "a" * 56, "NodeManagerHostname": "gone"}]
        refused = cluster.ask_nodes(stopped, [])
    finally:
        ray.shutdown()
    (answer,) = answers.values()
    assert answer["versions"] == cluster.report_node([], has_verl=False)["versions"]
    assert (answer["plugin"], answer["missing"]) == (None, paths[1:])
    assert isinstance(refused["gone"], str)
