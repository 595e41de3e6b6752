"""Two nodes of a Ray cluster on one machine, each as `ray start` makes it on its own."""

import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from tests.e2e.conftest import REPOSITORY, end, still_running

# Of this machine alone: each node has an address of its own, as two machines have.
HEAD, WORKER = "127.0.0.2", "127.0.0.3"
START_SECONDS = 60
END_SECONDS = 40
OBJECT_STORE_BYTES = 256 << 20


@dataclass(frozen=True)
class RayNodes:
    """A cluster that is up."""

    environment: dict[str, str] = field(repr=False)
    """Of whoever joins it or connects to it."""
    started: dict[str, subprocess.Popen]
    """What `ray start` has become, by the node's address."""

    def ask(self, function, *arguments):
        """Call a function of a module, as a driver of the cluster.

        In a process of its own: Ray keeps token and settings for as long as a process lives.
        """
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            1, context, initializer=_connect, initargs=(self.environment,)
        ) as pool:
            return pool.submit(function, *arguments).result()

    def processes(self, address=None):
        """Every process of one node, or of both."""
        started = self.started.values() if address is None else [self.started[address]]
        roots = [psutil.Process(one.pid) for one in started if one.poll() is None]
        return [*roots, *(child for root in roots for child in root.children(recursive=True))]


@contextmanager
def two_nodes(*, num_cpus=8, num_gpus=(1, 1)):
    """Start a head and a worker, and end both by their process ids.

    Args:
        num_cpus: that Ray counts on each.
        num_gpus: that Ray counts on head and worker.

    Yields:
        The cluster, with both nodes in it.
    """
    port, client_port = _free_ports(2)
    address = f"{HEAD}:{port}"
    # A token that nobody else knows keeps other Rays of this machine apart.
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    nodes = RayNodes(own | {"RAY_ADDRESS": address}, {})
    head = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}"]
    # Paths of Ray's sockets must be short: pytest's own folders are not.
    with tempfile.TemporaryDirectory() as folder:
        try:
            for where, gpus, role in zip(
                (HEAD, WORKER),
                num_gpus,
                ([*head, "--include-dashboard=false"], [f"--address={address}"]),
                strict=True,
            ):
                temporary = f"{folder}/{len(nodes.started)}"
                resources = [f"--num-cpus={num_cpus}", f"--num-gpus={gpus}"]
                words = [*role, *resources, f"--temp-dir={temporary}"]
                nodes.started[where] = _start(where, words, own)
                _wait_until_ready(nodes, where)
            yield nodes
        finally:
            _end(nodes)


def _start(where, words, environment):
    """`ray start`, which stays: its ports are of the system's choice, so that none is taken."""
    command = [
        *[sys.executable, "-m", "ray.scripts.scripts", "start", "--block"],
        *["--disable-usage-stats", f"--node-ip-address={where}"],
        *[f"--object-store-memory={OBJECT_STORE_BYTES}", "--dashboard-agent-listen-port=0"],
        *["--node-manager-port=0", "--object-manager-port=0"],
        *["--min-worker-port=0", "--max-worker-port=0"],
        *words,
    ]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )


def _wait_until_ready(nodes, where):
    """Until a node is in the cluster's list."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        status = nodes.started[where].poll()
        assert status is None, f"ray start at {where} has ended with {status}"
        if where in nodes.ask(living_nodes).values():
            return
        assert time.monotonic() < deadline, f"no Ray node at {where}"


def _end(nodes):
    """End the worker, then the head; nothing of either stays."""
    every = nodes.processes()
    for one in reversed(nodes.started.values()):
        one.send_signal(signal.SIGTERM)
        try:
            one.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    left = still_running(every)
    end(every)
    assert left == [], "these processes of the nodes do not end by themselves"


def _connect(environment):
    """Be a driver; a head that is still starting is tried again by Ray."""
    os.environ.update(environment)
    import ray

    ray.init(logging_level="ERROR", log_to_driver=False)


def living_nodes():
    """Address of every node that is there, by its identity."""
    import ray

    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


class Actor(NamedTuple):
    """Of Ray, in any job of the cluster."""

    kind: str
    address: str
    """Of its node."""
    has_ended: bool


def actors():
    """Every actor that there is or was."""
    # For the public only where Ray's dashboard runs; this is what that asks.
    from ray._private import state

    return [
        Actor(
            one["ActorClassName"].rsplit(".", 1)[-1],
            one["Address"]["IPAddress"],
            one["State"] == "DEAD",
        )
        for one in state.actors().values()
    ]


def _free_ports(number):
    """Ports that nobody has; found together, so that they differ."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
