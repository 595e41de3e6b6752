"""The nodes of a Ray cluster: waited for, and each asked what is on it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from recipe.holderpo.checks.machine import cluster_problems
from recipe.holderpo.checks.node_reports import node_problems, node_warnings, report_node
from recipe.holderpo.checks.nodes import (
    driver_paths,
    is_used,
    missing_nodes,
    packages,
    shared_paths,
    unique_name,
)

_LOOK_SECONDS = 1.0
# Importing verl from a slow disk takes a minute.
_ANSWER_SECONDS = 300.0


class ClusterError(ValueError):
    """The Ray cluster is not what the run needs."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the problems, one line each."""
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def check_before_start(config: DictConfig, say: Callable[[str], None]) -> None:
    """Refuse a Ray instance that lacks something; one with several nodes is also waited for.

    Args:
        config: with counts that are counts.
        say: shows a line to the user.

    Raises:
        ClusterError: with what is missing, or what differs.
    """
    import ray

    # Ray also lists the nodes that have left.
    if config.trainer.nnodes > 1 or len(_living()) > 1:
        check_cluster(config, say)
    elif lacking := list(cluster_problems(config, ray.cluster_resources())):
        raise ClusterError(lacking)


def check_cluster(config: DictConfig, say: Callable[[str], None]) -> None:
    """Wait for the nodes of a run, and compare them; Ray is connected.

    Args:
        config: with counts that are counts.
        say: shows a line to the user.

    Raises:
        ClusterError: with what is missing after ``wait_for_nodes_seconds``, or what differs.
    """
    nodes = [node for node in wait_for_nodes(config, say) if is_used(node)]
    say(f"nodes      {', '.join(unique_name(node, nodes) for node in nodes)}")
    fields, means, more = shared_paths(config), driver_paths(config), packages(config)
    # The driver has this project, whose look at itself needs no import of verl.
    own = report_node([], more, has_verl=False)
    answers = ask_nodes(nodes, [*fields, *means], more)
    if problems := list(node_problems(fields, own, answers)):
        raise ClusterError(problems)
    for line in node_warnings(means, answers):
        say(f"warning    {line}")
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
    end, shown = time.monotonic() + config.wait_for_nodes_seconds, ""
    while True:
        nodes = _living()
        problems = list(_lacking(config, nodes))
        if not (lacking := "; ".join(problems)):
            return nodes
        left = end - time.monotonic()
        if left <= 0:
            waited = f"waited {config.wait_for_nodes_seconds:g} s (wait_for_nodes_seconds)"
            raise ClusterError([*problems, waited])
        if lacking != shown:
            say(f"waiting    up to {left:.0f} s more. {lacking}")
            shown = lacking
        time.sleep(min(_LOOK_SECONDS, left))


def _living() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _lacking(config: DictConfig, nodes: Sequence[dict[str, Any]]) -> Iterator[str]:
    import ray

    # As verl itself asks; Ray has it for the public only as a sum over all nodes.
    free = ray._private.state.available_resources_per_node()
    yield from missing_nodes(config, nodes, free)
    yield from cluster_problems(config, ray.cluster_resources())


def ask_nodes(
    nodes: Sequence[dict[str, Any]], paths: Sequence[str], more: Sequence[str] = ()
) -> dict[str, dict[str, Any] | str]:
    """What is on each node.

    Args:
        nodes: of ``ray.nodes()``, alive.
        paths: to look for.
        more: distributions whose versions count too.

    Returns:
        By node: its report (:func:`~recipe.holderpo.checks.node_reports.report_node`), or why
        there is none.
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
            there = task.options(scheduling_strategy=place)
            calls[unique_name(node, nodes)] = there.remote(paths, more)
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
