"""The preflight as a command: what it refuses, and how it ends."""

import sys
from types import SimpleNamespace

import pytest

from recipe.holderpo import preflight
from recipe.holderpo.checks.from_machine import reserved_cpus
from recipe.holderpo.run import cluster
from tests.recipe.composing import composed

command = preflight.main.__wrapped__


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(preflight, "set_environment", lambda config: None)


def ended(config, capsys):
    """Exit status, and the lines of the two streams."""
    status = 0
    try:
        command(config)
    except SystemExit as exit:
        status = exit.code
    streams = capsys.readouterr()
    return status, streams.out.splitlines(), streams.err.splitlines()


def test_without_an_address_nothing_is_looked_at(capsys):
    status, _, (line,) = ended(composed("demo"), capsys)
    assert status == 2
    assert line.startswith("preflight: RAY_ADDRESS: not set; give that of the Ray cluster")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("trainer.nnodes=0", "trainer.nnodes: 0; give a number of machines"),
        ("trainer.n_gpus_per_node=two", "trainer.n_gpus_per_node: 'two'; give a number of dev"),
        ("wait_for_nodes_seconds=-1", "wait_for_nodes_seconds: -1; give a number from 0 on"),
        ("trainer.nnodes=${no.such}", "trainer.nnodes: Interpolation key 'no.such' not found"),
    ],
)
def test_counts_that_are_none_are_refused_before_connecting(setting, line, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    status, _, lines = ended(composed("demo", [setting]), capsys)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"preflight: {line}")


def test_an_unknown_device_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    config = composed("demo")
    config.device = "tpu"
    assert ended(config, capsys)[0] == 2


class FakeRay:
    """A head that answers after so many calls."""

    exceptions = SimpleNamespace(RayError=type("RayError", (Exception,), {}))

    def __init__(self, refusals, error=None):
        self.refusals, self.calls = refusals, []
        self.error = error or ConnectionError("nobody there\nand more")

    def init(self, **settings):
        self.calls.append(settings)
        if len(self.calls) <= self.refusals:
            raise self.error


def connected(monkeypatch, ray, limit):
    monkeypatch.setitem(sys.modules, "ray", ray)
    now = SimpleNamespace(seconds=0.0)

    def sleep(seconds):
        now.seconds += seconds

    monkeypatch.setattr(
        preflight, "time", SimpleNamespace(monotonic=lambda: now.seconds, sleep=sleep)
    )
    preflight.connect(composed("demo", [f"wait_for_nodes_seconds={limit}"]), "head:6379")


def test_a_head_that_is_still_starting_is_tried_again(monkeypatch):
    ray = FakeRay(refusals=2)
    connected(monkeypatch, ray, limit=60)
    assert [call["address"] for call in ray.calls] == ["head:6379"] * 3
    # The workers that answer are those of the run.
    assert ray.calls[0]["runtime_env"]["env_vars"]["VERL_PLATFORM"] == "cpu"


def test_a_head_that_never_answers_is_given_up(monkeypatch):
    with pytest.raises(ConnectionError) as given_up:
        connected(monkeypatch, FakeRay(refusals=99), limit=5)
    assert str(given_up.value).startswith(
        "RAY_ADDRESS: head:6379; no Ray cluster answers there within 5 s (wait_for_nodes_seconds)"
    )
    assert "and more" not in str(given_up.value)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, FakeRay.exceptions.RayError])
def test_what_waiting_does_not_change_ends_at_once(kind, monkeypatch):
    ray = FakeRay(refusals=1, error=kind("Version mismatch: 2.50 here\nand more"))
    with pytest.raises(ConnectionError, match=r"^RAY_ADDRESS: head:6379; Version .* here$"):
        connected(monkeypatch, ray, limit=60)
    assert len(ray.calls) == 1


def test_a_cluster_that_asks_for_its_token_is_not_waited_for(monkeypatch):
    error = ConnectionError("Failed to connect to Ray cluster at head:6379")
    error.__cause__ = RuntimeError("Failed to connect to GCS.\nRPC error: InvalidAuthToken: ...")
    ray = FakeRay(refusals=1, error=error)
    with pytest.raises(ConnectionError, match=r"^RAY_ADDRESS: head:6379; .* set RAY_AUTH_MODE="):
        connected(monkeypatch, ray, limit=60)
    assert len(ray.calls) == 1


def test_a_machine_that_is_no_node_of_the_cluster_is_told_so(monkeypatch):
    """With Ray's own words for that."""
    from ray._private import services

    monkeypatch.setattr(services, "find_node_ids", list)
    with pytest.raises(RuntimeError) as rays:
        services.get_node_to_connect_for_driver(None, "10.0.0.9", timeout_seconds=0)
    with pytest.raises(ConnectionError) as told:
        connected(monkeypatch, FakeRay(refusals=1, error=rays.value), limit=60)
    assert str(told.value) == (
        "RAY_ADDRESS: head:6379; this machine is no node of that Ray cluster; run it on one, or "
        "train as a job of the cluster (scripts/train_ray.sh)"
    )


@pytest.mark.parametrize("how", ["variable", "setting"])
@pytest.mark.parametrize("problems", [[], ["verl: one", "ray: another"]])
def test_the_status_says_whether_anything_is_missing(problems, how, monkeypatch, capsys):
    addresses = []

    def check(config, say):
        say("nodes      a")
        if problems:
            raise cluster.ClusterError(problems)

    monkeypatch.setattr(preflight, "connect", lambda config, address: addresses.append(address))
    monkeypatch.setattr(cluster, "check_cluster", check)
    overrides = ["+ray_kwargs.ray_init.address=head:1"] if how == "setting" else []
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "head:1")
    status, said, errors = ended(composed("demo", overrides), capsys)
    assert (status, said, addresses) == (bool(problems), ["nodes      a"], ["head:1"])
    assert errors == [f"preflight: {line}" for line in problems]


def test_what_a_run_leaves_to_the_machine_is_counted_as_the_run_will(monkeypatch, capsys):
    counted = []
    monkeypatch.setenv("RAY_ADDRESS", "head:1")
    monkeypatch.setattr(preflight, "connect", lambda config, address: None)
    monkeypatch.setattr(
        cluster, "check_cluster", lambda config, say: counted.append(reserved_cpus(config))
    )
    assert ended(composed("demo", ["device=cuda"]), capsys) == (0, [], [])
    # 3 for the device, 8 storage processes and 1 for their controller.
    assert counted == [(1, 8, 12)]


def test_the_address_is_the_one_that_the_run_will_take(monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "head:1")
    addresses = []
    monkeypatch.setattr(preflight, "connect", lambda config, address: addresses.append(address))
    monkeypatch.setattr(cluster, "check_cluster", lambda config, say: None)
    given = ["+ray_kwargs.ray_init.address=other:1"]
    assert ended(composed("demo", given), capsys)[0] == 0
    assert addresses == ["other:1"]
    assert ended(composed("demo", ["+ray_kwargs.ray_init.address=local"]), capsys)[0] == 2
