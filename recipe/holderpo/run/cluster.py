"""The nodes of a Ray cluster: waited for, and each asked what is on it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from recipe.holderpo.checks.machine import cluster_problems
from recipe.holderpo.checks.nodes import (
    missing_nodes,
    node_name,
    node_problems,
    report_node,
    shared_paths,
)

_LOOK_SECONDS = 1.0
# Importing verl from a slow disk takes a minute.
_ANSWER_SECONDS = 300.0


class ClusterError(ValueError):
    """The Ray cluster is not what the run needs; one line per problem."""


def check_before_start(config: DictConfig, say: Callable[[str], None]) -> None:
    """Refuse a Ray instance that lacks something; one with several nodes is also waited for.

    Args:
        config: with counts that are counts.
        say: shows a line to the user.

    Raises:
        ClusterError: with what is missing, or what differs.
    """
    import ray

    if config.trainer.nnodes > 1 or len(ray.nodes()) > 1:
        check_cluster(config, say)
    elif lacking := list(cluster_problems(config, ray.cluster_resources())):
        raise ClusterError("\n".join(lacking))


def check_cluster(config: DictConfig, say: Callable[[str], None]) -> None:
    """Wait for the nodes of a run, and compare them; Ray is connected.

    Args:
        config: with counts that are counts.
        say: shows a line to the user.

    Raises:
        ClusterError: with what is missing after ``wait_for_nodes_seconds``, or what differs.
    """
    nodes = wait_for_nodes(config, say)
    say(f"nodes      {', '.join(map(node_name, nodes))}")
    fields = shared_paths(config)
    paths = list(fields)
    # The driver has this project, whose look at itself needs no import of verl.
    own = report_node([], has_verl=False)
    if problems := list(node_problems(fields, own, ask_nodes(nodes, paths))):
        raise ClusterError("\n".join(problems))
    say(f"nodes      alike: {', '.join(f'{k} {v}' for k, v in own['versions'].items())}")


def wait_for_nodes(config: DictConfig, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Wait until the cluster has what a run needs.

    Args:
        config: with counts that are counts.
        say: shows what is waited for, once for each state.

    Returns:
        The living nodes, as ``ray.nodes()`` describes them.

    Raises:
        ClusterError: with what is missing after ``wait_for_nodes_seconds``.
    """
    import ray

    end, shown = time.monotonic() + config.wait_for_nodes_seconds, ""
    while True:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if not (lacking := "\n".join(_lacking(config, nodes))):
            return nodes
        left = end - time.monotonic()
        if left <= 0:
            raise ClusterError(
                f"{lacking}\nwaited {config.wait_for_nodes_seconds:g} s (wait_for_nodes_seconds)"
            )
        if lacking != shown:
            say(f"waiting    up to {left:.0f} s more. {lacking}")
            shown = lacking
        time.sleep(min(_LOOK_SECONDS, left))


def _lacking(config: DictConfig, nodes: Sequence[dict[str, Any]]) -> Iterator[str]:
    import ray

    yield from missing_nodes(config, nodes, ray.available_resources().get("GPU", 0.0))
    yield from cluster_problems(config, ray.cluster_resources())


def ask_nodes(
    nodes: Sequence[dict[str, Any]], paths: Sequence[str]
) -> dict[str, dict[str, Any] | str]:
    """What is on each node.

    Args:
        nodes: of ``ray.nodes()``, alive.
        paths: to look for.

    Returns:
        By node: its report (:func:`~recipe.holderpo.checks.nodes.report_node`), or why there is
        none.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Sent as a whole, not by its name: a node without this project has to answer too.
    module = sys.modules[report_node.__module__]
    ray.cloudpickle.register_pickle_by_value(module)
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(report_node)
        calls = {}
        for node in nodes:
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            calls[_unique_name(node, nodes)] = task.options(scheduling_strategy=place).remote(paths)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)
    ray.wait(list(calls.values()), num_returns=len(calls), timeout=_ANSWER_SECONDS)
    answers: dict[str, dict[str, Any] | str] = {}
    for name, call in calls.items():
        try:
            answers[name] = ray.get(call, timeout=0)
        except ray.exceptions.GetTimeoutError:
            answers[name] = f"no answer within {_ANSWER_SECONDS:g} s"
        except ray.exceptions.RayError as error:
            answers[name] = str(error).strip().splitlines()[-1]
    return answers


def _unique_name(node: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> str:
    """A node's name; with its identity where another has the same, as on one machine."""
    name = node_name(node)
    if sum(node_name(other) == name for other in nodes) > 1:
        name = f"{name} ({node['NodeID'][:8]})"
    return name
