"""Whether the nodes of a Ray cluster are enough for a run, and what a run reads on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from holderpo.alfworld.games import listed_manifest
from holderpo.studies.run_files import CONFIG_FILE
from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.checkpoints import checkpoints_of
from recipe.holderpo.checks.data import data_files
from recipe.holderpo.checks.from_machine import CPUS_PER_DEVICE

# Files and folders that processes read by themselves, wherever Ray puts them.
_READ_ANYWHERE = (
    *(f"actor_rollout_ref.model.{name}" for name in ("path", "tokenizer_path", "hf_config_path")),
    "actor_rollout_ref.model.lora_adapter_path",
    "actor_rollout_ref.rollout.agent.agent_loop_config_path",
    "actor_rollout_ref.rollout.multi_turn.tool_config_path",
    "actor_rollout_ref.rollout.multi_turn.function_tool_path",
    # verl's agent loops load the class of the data, too.
    "data.custom_cls.path",
    "reward.custom_reward_function.path",
    "reward.reward_manager.module.path",
    "reward.reward_model.model_path",
)
# Distributions of what plays games.
_OF_GAMES = ("alfworld", "textworld", "fast-downward-textworld")
_DEVICES = "trainer.nnodes x trainer.n_gpus_per_node"


def missing_nodes(
    config: DictConfig,
    nodes: Sequence[Mapping[str, Any]],
    free: Mapping[str, Mapping[str, float]],
) -> Iterator[str]:
    """What a Ray cluster lacks for the devices of a run.

    verl takes the devices of one machine together, with CPUs for each: two halves do not do.

    Args:
        config: with counts that are counts.
        nodes: of ``ray.nodes()``; those that are dead do not count.
        free: what no other job holds, by Ray's names, of each node by its identity.

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
    all_of = [node["Resources"] for node in alive]
    free_of = [free.get(node["NodeID"], {}) for node in alive]
    if not (lacking := _without_room(groups, free_of)):
        return
    sizes = " and ".join(f"{size}" for size in sorted(set(lacking)))
    line = (
        f"{_DEVICES}: {asked}; {len(groups) - len(lacking)} of {len(groups)} groups find a "
        f"node, missing are {len(lacking)} with {sizes} GPUs and {CPUS_PER_DEVICE} CPUs for "
        "each GPU. "
    )
    if not _without_room(groups, all_of):
        yield (
            f"{line}Free are {_shown(alive, free_of)}: end what holds the others (ray status), or "
            "ask for fewer"
        )
    elif config.device == "cpu":
        yield (
            f"{line}Here are {_shown(alive, all_of)}: with device=cpu each rank counts as one GPU, "
            f"so start Ray with --num-gpus={max(lacking)} and "
            f"--num-cpus={CPUS_PER_DEVICE * max(lacking)} or more (it only counts them; "
            f"RAY_GPUS={max(lacking)} for scripts/train_slurm.sh) on as many nodes, or ask for "
            "fewer"
        )
    else:
        yield f"{line}Here are {_shown(alive, all_of)}: start Ray on more, or ask for fewer"


def _without_room(groups: Sequence[int], resources: Sequence[Mapping[str, float]]) -> list[int]:
    """Groups of devices that no node takes, the largest placed first and where they fit best."""
    left = [
        int(min(_amount(one, "GPU"), _amount(one, "CPU") // CPUS_PER_DEVICE)) for one in resources
    ]
    homeless = []
    for size in sorted(groups, reverse=True):
        fitting = [i for i, devices in enumerate(left) if devices >= size]
        if fitting:
            left[min(fitting, key=left.__getitem__)] -= size
        else:
            homeless.append(size)
    return homeless


def _amount(resources: Mapping[str, float], name: str) -> float:
    return float(resources.get(name, 0))


def _shown(nodes: Sequence[Mapping[str, Any]], resources: Sequence[Mapping[str, float]]) -> str:
    each = [
        f"{unique_name(node, nodes)} with {_amount(one, 'GPU'):g} GPUs and "
        f"{_amount(one, 'CPU'):g} CPUs"
        for node, one in zip(nodes, resources, strict=True)
    ]
    return ", ".join(each) or "no nodes"


def node_name(node: Mapping[str, Any]) -> str:
    """What a user calls a node of ``ray.nodes()``."""
    return str(node.get("NodeManagerHostname") or node["NodeManagerAddress"])


def unique_name(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """A node's name; with its identity where another has the same, as in some containers."""
    name = node_name(node)
    if sum(node_name(other) == name for other in nodes) > 1:
        name = f"{name} ({node['NodeID'][:8]})"
    return name


def is_used(node: Mapping[str, Any]) -> bool:
    """Whether processes of a run may be on a node of ``ray.nodes()``.

    Ray puts none where it counts neither CPUs nor GPUs, as on a head that only coordinates.
    """
    return any(_amount(node["Resources"], name) > 0 for name in ("CPU", "GPU"))


def shared_paths(config: DictConfig) -> dict[str, str]:
    """Local files and folders that every node of a run has to see.

    Names on a hub and remote addresses are no local paths, and what is not here yet is left to
    others.

    Args:
        config: of a run.

    Returns:
        Field by path, as the processes of a run read it, each from its own folder.
    """
    found: dict[str, str] = {}
    for field in _READ_ANYWHERE:
        path = str(OmegaConf.select(config, field) or "").removeprefix("file://")
        if path and Path(path).expanduser().exists():
            found.setdefault(path, field)
    if has_agent(config):
        for field, path in data_files(config):
            if Path(path).expanduser().exists():
                try:
                    manifest = listed_manifest(Path(path).expanduser())
                except ValueError:
                    continue  # Among the run's own checks.
                found.setdefault(str(manifest.file(manifest.games[0])), f"{field}, its games")
    return found


def driver_paths(config: DictConfig) -> dict[str, str]:
    """Local files that a run gets on without where other nodes do not see them.

    Args:
        config: of a run.

    Returns:
        What that means, by absolute path.
    """
    found: dict[str, str] = {}
    for field, path in data_files(config):
        if Path(path).expanduser().exists():
            means = f"{field}: only the driver reads it"
            found.setdefault(str(Path(path).expanduser().absolute()), means)
    # A file that the driver alone writes: what ranks have written may be on any disk.
    note = Path(config.run_dir).absolute() / CONFIG_FILE
    if note.exists():
        found[str(note)] = (
            f"run_dir: each rank leaves its part of a checkpoint ({checkpoints_of(config)}) on its "
            "own node, and a run is resumed only with the same ranks on the same nodes"
        )
    return found


def packages(config: DictConfig) -> tuple[str, ...]:
    """Distributions that a run needs on every node, beside those that all runs need."""
    return _OF_GAMES if has_agent(config) else ()
