"""Whether this machine, or the Ray cluster, has what a run would else wait for."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping

from omegaconf import DictConfig

from holderpo.alfworld.engine import missing_packages
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent
from recipe.holderpo.checks.devices import FLASH, attention

# verl reserves so many CPUs with each device; TransferQueue one for its controller and for each
# storage process. Other actors run where no CPU is left.
CPUS_PER_DEVICE = 3
# Loggers of verl that bring their own package.
_PACKAGES = ("wandb", "mlflow", "swanlab", "clearml", "trackio", "tensorboard")
_STORAGE = "transfer_queue.backend.SimpleStorage.num_data_storage_units"


def machine_problems(config: DictConfig) -> Iterator[str]:
    """What this machine lacks, where the run is to start a Ray instance of its own on it.

    An instance that is up already is asked itself, by :func:`cluster_problems`.

    Args:
        config: with counts that are counts.

    Yields:
        One line per problem: field, value, fix.
    """
    if has_agent(config) and (missing := missing_packages()):
        yield f"agent: games cannot be played here; {missing}"
    if connects_to_ray(config):
        return
    num_cpus = config.ray_kwargs.ray_init.num_cpus
    given = str(num_cpus) if num_cpus else f"null, and this machine has {own_cpus()}"
    if too_few := _too_few_cpus(config, num_cpus or own_cpus()):
        yield f"ray_kwargs.ray_init.num_cpus: {given}; {too_few}, or raise it (Ray only counts)"
    else:
        yield from _environments(config, num_cpus or own_cpus())
    for name in loggers(config):
        if name in _PACKAGES and importlib.util.find_spec(name) is None:
            yield f"trainer.logger: {name!r}; it is not installed here, install it or leave it out"
    if config.device == "cuda":
        yield from _without_gpus(config)


def cluster_problems(config: DictConfig, resources: Mapping[str, float]) -> Iterator[str]:
    """What a Ray cluster lacks.

    Args:
        config: of a run.
        resources: all of the cluster's, by Ray's names; verl asks for the GPUs itself.

    Yields:
        One line per problem: field, value, fix.
    """
    cpus = resources.get("CPU", 0)
    if too_few := _too_few_cpus(config, cpus):
        devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
        yield (
            f"trainer.n_gpus_per_node * trainer.nnodes: {devices}; the Ray cluster has {cpus:g} "
            f"CPUs, {too_few}"
        )
    else:
        yield from _environments(config, cpus)


def connects_to_ray(config: DictConfig) -> bool:
    """Whether the run is to use a Ray instance that is up already."""
    address = config.ray_kwargs.ray_init.get("address")
    return bool(os.environ.get("RAY_ADDRESS") or address not in (None, "local"))


def loggers(config: DictConfig) -> list[str]:
    """Where verl is to send the metrics."""
    named = config.trainer.logger
    return [named] if isinstance(named, str) else list(named or [])


def visible_gpus() -> int:
    """GPUs that torch, and so verl and vLLM, would see."""
    import torch

    return torch.cuda.device_count()


def own_cpus() -> int:
    """CPUs that Ray would count, unless it is told another number."""
    return os.cpu_count() or 1


def has_flash_attention() -> bool:
    """Whether there is flash-attn, or the package that brings its kernels from the hub."""
    return any(importlib.util.find_spec(name) is not None for name in ("flash_attn", "kernels"))


def _without_gpus(config: DictConfig) -> Iterator[str]:
    """What a run on GPUs needs, and is not here."""
    devices, visible = config.trainer.n_gpus_per_node * config.trainer.nnodes, visible_gpus()
    if visible < devices:
        more = "with several machines, connect to their Ray cluster with RAY_ADDRESS"
        yield (
            f"trainer.n_gpus_per_node * trainer.nnodes: {devices}; this machine shows {visible} "
            f"{'GPU' if visible == 1 else 'GPUs'} (nvidia-smi, CUDA_VISIBLE_DEVICES): ask for "
            f"fewer, or choose device=cpu; {more}"
        )
    if attention(config).startswith(FLASH) and not has_flash_attention():
        yield (
            "actor_rollout_ref.model.override_config.attn_implementation: "
            f"{attention(config)!r}; flash-attn is not installed here: install it, or choose "
            "'sdpa' with actor_rollout_ref.model.use_remove_padding=false"
        )
    engine = config.actor_rollout_ref.rollout.name
    if importlib.util.find_spec("tensorrt_llm" if engine == "trtllm" else engine) is None:
        yield f"actor_rollout_ref.rollout.name: {engine!r}; it is not installed here, install it"


def _environments(config: DictConfig, cpus: float) -> Iterator[str]:
    """Environment workers that would find no CPU, and for which Ray would wait for ever."""
    if not has_agent(config):
        return
    _, _, reserved = _reserved(config)
    try:
        agent_settings(config).environment.fit(cpus - reserved)
    except ValueError as error:
        yield (
            f"agent.environment.{error} (Ray counts {cpus:g}, of which devices and TransferQueue "
            f"reserve {reserved})"
        )


def _reserved(config: DictConfig) -> tuple[int, int, int]:
    """Devices, storage units, and the CPUs that they reserve."""
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    pool = config.reward.reward_model
    if pool.enable_resource_pool:
        devices += pool.n_gpus_per_node * pool.nnodes
    backend = config.transfer_queue.backend
    is_simple = backend.storage_backend == "SimpleStorage"
    units = backend.SimpleStorage.num_data_storage_units if is_simple else 0
    return devices, units, CPUS_PER_DEVICE * devices + units + 1


def _too_few_cpus(config: DictConfig, cpus: float) -> str | None:
    """Why so many would not do; None if they do."""
    devices, units, needed = _reserved(config)
    if cpus >= needed:
        return None
    return (
        f"{devices} devices and TransferQueue reserve {needed} and would wait for ever: use fewer "
        f"devices, a lower {_STORAGE} ({units})"
    )
