"""Whether this machine, or the Ray cluster, has what a run would else wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from omegaconf import DictConfig

from holderpo.alfworld.engine import missing_packages
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent
from recipe.holderpo.checks import this_machine
from recipe.holderpo.checks.from_machine import RAY_CPUS, STORAGE_UNITS, reserved_cpus
from recipe.holderpo.checks.packages import logger_problems, package_problems
from recipe.holderpo.checks.this_machine import Machine
from recipe.holderpo.run.ray_settings import connects_to_ray


def machine_problems(config: DictConfig, machine: Machine | None) -> Iterator[str]:
    """What this machine lacks, where the run is to start a Ray instance of its own on it.

    An instance that is up already is asked itself, by :func:`cluster_problems`; only the trainer
    runs here then.

    Args:
        config: with counts that are counts, also of the CPUs that an own instance counts.
        machine: that a run on GPUs starts on; None for one on a CPU.

    Yields:
        One line per problem: field, value, fix.
    """
    if has_agent(config) and (missing := missing_packages()):
        yield f"agent: games cannot be played here; {missing}"
    if connects_to_ray(config):
        yield from logger_problems(config)
        return
    num_cpus = config.ray_kwargs.ray_init.num_cpus
    if too_few := _too_few_cpus(config, num_cpus):
        yield f"{RAY_CPUS}: {num_cpus}; {too_few}, or raise it (Ray only counts)"
    else:
        yield from _environments(config, num_cpus)
    if machine is not None:
        yield from _without_gpus(config, machine)
    yield from package_problems(config, machine)


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


def _without_gpus(config: DictConfig, machine: Machine) -> Iterator[str]:
    """Devices that are not here."""
    devices, _, _ = reserved_cpus(config)
    visible = machine.num_gpus
    if visible < devices:
        more = "with several machines, connect to their Ray cluster with RAY_ADDRESS"
        has_pool = config.reward.reward_model.enable_resource_pool
        plus = " + those of reward.reward_model" if has_pool else ""
        yield (
            f"trainer.n_gpus_per_node * trainer.nnodes{plus}: {devices}; this machine shows "
            f"{visible} {'GPU' if visible == 1 else 'GPUs'} (nvidia-smi, "
            f"CUDA_VISIBLE_DEVICES): ask for fewer, or choose device=cpu; {more}"
            + ("" if visible else f" ({this_machine.why_torch_may_see_none()})")
        )


def _environments(config: DictConfig, cpus: float) -> Iterator[str]:
    """Environment workers that would find no CPU, and for which Ray would wait for ever."""
    if not has_agent(config):
        return
    _, _, reserved = reserved_cpus(config)
    try:
        agent_settings(config).environment.fit(cpus - reserved)
    except ValueError as error:
        yield (
            f"agent.environment.{error} (Ray counts {cpus:g}, of which devices and TransferQueue "
            f"reserve {reserved})"
        )


def _too_few_cpus(config: DictConfig, cpus: float) -> str | None:
    """Why so many would not do; None if they do."""
    devices, units, needed = reserved_cpus(config)
    if cpus >= needed:
        return None
    return (
        f"{devices} devices and TransferQueue reserve {needed} and would wait for ever: use fewer "
        f"devices, a lower {STORAGE_UNITS} ({units})"
    )
