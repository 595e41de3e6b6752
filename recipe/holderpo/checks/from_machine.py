"""What a run on GPUs takes from the machine that starts it.

Everything that follows from the machine is derived here and nowhere else: settings that are null in
``configs/device/cuda.yaml``, or were set to null, are filled in before anything is checked, and the
plan shows them. A value that is given stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from holderpo.number_kinds import is_whole
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent
from recipe.holderpo.checks import this_machine
from recipe.holderpo.checks.attention import (
    ATTENTION,
    SDPA,
    default_attention,
    types_in_float32,
)
from recipe.holderpo.checks.defaults import changed_settings
from recipe.holderpo.checks.sdpa_cost import cost_of_sdpa, setting_of_its_size
from recipe.holderpo.checks.this_machine import Machine

STORAGE_UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
RAY_CPUS = "ray_kwargs.ray_init.num_cpus"
_GPUS = "trainer.n_gpus_per_node"
# verl reserves so many CPUs with each device; TransferQueue one for its controller and for each
# storage process. Other actors run where no CPU is left.
CPUS_PER_DEVICE = 3
# CPUs for each process of a kind. A rollout worker waits for vLLM most of the time; a reward worker
# may have four grading processes, a storage process only copies.
_CPUS_PER_PROCESS = {
    "actor_rollout_ref.rollout.agent.num_workers": 4,
    "reward.num_workers": 8,
    STORAGE_UNITS: 8,
}
# verl's own number of each, which is for a machine of 8 GPUs.
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class FromMachine:
    """Which settings were taken from the machine."""

    machine: Machine
    """That the run starts on."""
    names: tuple[str, ...]
    """Dotted names of the settings that were filled in."""
    on_cluster: bool = False
    """Whether a Ray instance that is up has the devices, on machines that nobody has seen yet."""

    def lines(self, config: DictConfig) -> Iterator[str]:
        """What the plan says of the machine and of what follows from it.

        Args:
            config: with the settings filled in.

        Yields:
            One fact per line.
        """
        gpus, used = self.machine.num_gpus, reserved_cpus(config)[0]
        of_them = f" of which {used} {'is' if used == 1 else 'are'} used" if gpus > used else ""
        cpus = _counted(self.machine.num_cpus, "CPU")
        if self.on_cluster:
            yield (
                f"machine    this machine (the cluster's are not known yet): {cpus}, "
                f"{_counted(gpus, 'GPU')}, {self.machine.flash_attention}"
            )
        else:
            yield (
                f"machine    {cpus}, {_counted(gpus, 'GPU')}{of_them}, "
                f"{self.machine.flash_attention}"
            )
        label = "by default" if self.on_cluster else "from it   "
        for name in self.names:
            yield f"{label} {name}={OmegaConf.select(config, name)}"

    def warnings(self, config: DictConfig) -> Iterator[str]:
        """What is left unused, and what it costs to be without flash attention.

        Args:
            config: a checked configuration.

        Yields:
            One line each.
        """
        used, gpus = reserved_cpus(config)[0], self.machine.num_gpus
        if gpus > used and not self.on_cluster and _GPUS not in changed_settings(config):
            each = config.trainer.n_gpus_per_node
            yield (
                f"{_GPUS} is {each}: {gpus - used} of the {gpus} GPUs that this machine shows are "
                f"not used (set {_GPUS}={each + gpus - used}, or show fewer with "
                "CUDA_VISIBLE_DEVICES)"
            )
        if ATTENTION not in self.names or OmegaConf.select(config, ATTENTION) != SDPA:
            return
        because, fix = "flash-attn is not installed here", "install it (README, Train on GPUs), or"
        if fields := list(types_in_float32(config)):
            because = f"flash-attn computes in 16 bits, and {fields[0]} asks for float32"
            fix = "give bf16 there, or"
        yield (
            f"{ATTENTION} is '{SDPA}', because {because}: attention goes "
            f"{cost_of_sdpa(config)} ({fix} lower {setting_of_its_size(config)})"
        )


def take_from_machine(config: DictConfig, *, on_cluster: bool) -> FromMachine | None:
    """Fill in what is left open, from the machine that this process runs on.

    Args:
        config: as composed, perhaps with settings of a wrong kind; changed.
        on_cluster: whether the run connects to a Ray instance that is up already.

    Returns:
        What that was, of a run on GPUs. One on a CPU leaves open at most what Ray counts.
    """
    if config.device == "cuda":
        return fill_in(config, this_machine.machine_here(), on_cluster=on_cluster)
    if not on_cluster:
        fill_ray_cpus(config, this_machine.usable_cpus())
    return None


def fill_in(config: DictConfig, machine: Machine, *, on_cluster: bool) -> FromMachine:
    """Set what the settings of a run on GPUs leave to the machine.

    A Ray cluster may have other machines than the one that starts the run: there verl's own numbers
    are taken, and the attention that is meant to be installed.

    Args:
        config: as composed, perhaps with settings of a wrong kind; changed.
        machine: that the run starts on.
        on_cluster: whether it connects to a Ray instance that is up already.

    Returns:
        What was filled in.
    """
    filled = []

    def fill(name: str, value: Any) -> None:
        if OmegaConf.select(config, name) is None:
            OmegaConf.update(config, name, value, force_add=True)
            filled.append(name)

    for name, cpus in _CPUS_PER_PROCESS.items():
        most = machine.num_cpus // cpus if not on_cluster else _MOST_PROCESSES
        fill(name, max(1, min(_MOST_PROCESSES, most)))
    has_flash = on_cluster or machine.has_flash_attention
    fill(ATTENTION, default_attention(config, has_flash=has_flash))
    if not on_cluster and fill_ray_cpus(config, machine.num_cpus):
        filled.append(RAY_CPUS)
    return FromMachine(machine, tuple(filled), on_cluster)


def fill_ray_cpus(config: DictConfig, num_cpus: int) -> bool:
    """Set how many CPUs a Ray instance of the run's own counts, if that is left open.

    Ray only counts them: with fewer than are reserved it would wait for ever.

    Args:
        config: as composed, perhaps with settings of a wrong kind; changed.
        num_cpus: that this process may use.

    Returns:
        Whether it was set.
    """
    needed = _needed_cpus(config)
    if needed is None or OmegaConf.select(config, RAY_CPUS) is not None:
        return False
    OmegaConf.update(config, RAY_CPUS, max(num_cpus, needed), force_add=True)
    return True


def reserved_cpus(config: DictConfig) -> tuple[int, int, int]:
    """Devices, storage processes, and the CPUs that Ray sets aside for them.

    Args:
        config: with counts that are counts.

    Returns:
        Three numbers; the third without what environments take.
    """
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    pool = config.reward.reward_model
    if pool.enable_resource_pool:
        devices += pool.n_gpus_per_node * pool.nnodes
    backend = config.transfer_queue.backend
    is_simple = backend.storage_backend == "SimpleStorage"
    units = backend.SimpleStorage.num_data_storage_units if is_simple else 0
    return devices, units, CPUS_PER_DEVICE * devices + units + 1


def _needed_cpus(config: DictConfig) -> int | None:
    """CPUs that Ray must count; None where settings of a wrong kind do not say, found later."""
    trainer, pool = config.trainer, config.reward.reward_model
    counts = [trainer.n_gpus_per_node, trainer.nnodes, OmegaConf.select(config, STORAGE_UNITS)]
    counts += [pool.n_gpus_per_node, pool.nnodes]
    if not all(is_whole(count, at_least=0) for count in counts):
        return None
    _, _, needed = reserved_cpus(config)
    if not has_agent(config):
        return needed
    try:
        environment = agent_settings(config).environment
    except ValueError:
        return None
    return needed + math.ceil((environment.num_workers or 1) * environment.cpus_per_worker)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
