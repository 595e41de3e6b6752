"""What a run on GPUs takes from the machine that starts it.

Everything that follows from the machine is derived here and nowhere else: settings that are null in
``configs/device/cuda.yaml``, or were set to null, are filled in before anything is checked, and the
plan shows them. A value that is given stands.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from holderpo.number_kinds import is_whole
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent

ATTENTION = "actor_rollout_ref.model.override_config.attn_implementation"
FLASH, SDPA = "flash_attention_2", "sdpa"
STORAGE_UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
RAY_CPUS = "ray_kwargs.ray_init.num_cpus"
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
# verl's names of the type.
_FLOAT32 = (32, "32", "fp32", "float32")
_IN_FLOAT32 = "flash-attn computes in 16 bits, and fsdp_config.mixed_precision asks for float32"
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Machine:
    """What there is, as far as a run's settings depend on it."""

    num_cpus: int
    """CPUs that this process may use."""
    num_gpus: int
    """GPUs that it sees."""
    flash_attention_error: str | None
    """Why flash-attn cannot be imported; None where it can."""


@dataclass(frozen=True)
class FromMachine:
    """Which settings were taken from the machine."""

    machine: Machine
    """That the run starts on."""
    names: tuple[str, ...]
    """Dotted names of the settings that were filled in."""

    def lines(self, config: DictConfig) -> Iterator[str]:
        """What the plan says of the machine and of what follows from it.

        Args:
            config: with the settings filled in.

        Yields:
            One fact per line.
        """
        gpus, used = self.machine.num_gpus, config.trainer.n_gpus_per_node
        of_them = f" of which {used} {'is' if used == 1 else 'are'} used" if gpus > used else ""
        has_flash = self.machine.flash_attention_error is None
        yield (
            f"machine    {_counted(self.machine.num_cpus, 'CPU')}, {_counted(gpus, 'GPU')}{of_them}"
            f", {'flash-attn' if has_flash else 'no flash-attn'}"
        )
        for name in self.names:
            yield f"from it    {name}={OmegaConf.select(config, name)}"

    def warnings(self, config: DictConfig) -> Iterator[str]:
        """What it costs to be without flash attention, where the machine decided so.

        **Source**: derived: with sdpa each token attends over the whole pack of N tokens, masked
        to its own row, so N/L rows of L tokens take N^2 products in place of (N/L) L^2, N/L times
        as many.

        Args:
            config: a checked configuration.

        Yields:
            One line, or none.
        """
        if ATTENTION not in self.names or OmegaConf.select(config, ATTENTION) != SDPA:
            return
        because, fix = _IN_FLOAT32, "lower"
        if reason := self.machine.flash_attention_error:
            because = f"flash-attn cannot be imported here ({reason})"
            fix = "install flash-attn (README, Train on GPUs), or lower"
        longest = config.data.max_prompt_length + config.data.max_response_length
        tokens, field = _largest_pack(config, longest)
        cost = "over rows padded to the longest one"
        if config.actor_rollout_ref.model.use_remove_padding:
            cost = (
                f"over whole micro-batches of up to {tokens:,} tokens, "
                f"{max(tokens / longest, 1):.0f} times its arithmetic for rows of {longest:,} "
                "tokens, more for shorter ones"
            )
        yield f"{ATTENTION} is '{SDPA}', because {because}: attention goes {cost} ({fix} {field})"


def machine_here() -> Machine:
    """The machine that this process runs on."""
    return Machine(usable_cpus(), visible_gpus(), flash_attention_error())


def usable_cpus(quota_file: Path = _CPU_QUOTA) -> int:
    """CPUs that the scheduler, and a container's quota, leave this process.

    Args:
        quota_file: microseconds of CPU time and of the period they are for, or ``max``, as Linux
            writes them for a control group; absent outside a container.

    Returns:
        At least 1.
    """
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, math.ceil(int(quota) / int(period))))


def visible_gpus() -> int:
    """GPUs that torch, and so verl and vLLM, would see."""
    import torch

    return torch.cuda.device_count()


def flash_attention_error() -> str | None:
    """Why flash-attn cannot be imported here; None if it can.

    Only an import tells: a build for another torch is installed, and fails with an unknown symbol.
    """
    try:
        importlib.import_module("flash_attn.flash_attn_interface")
    except (ImportError, OSError) as error:
        return str(error).splitlines()[0]
    return None


def connects_to_ray(config: DictConfig) -> bool:
    """Whether the run is to use a Ray instance that is up already."""
    address = config.ray_kwargs.ray_init.get("address")
    return bool(os.environ.get("RAY_ADDRESS") or address not in (None, "local"))


def fill_in(config: DictConfig, machine: Machine) -> FromMachine:
    """Set what the settings of a run on GPUs leave to the machine.

    Args:
        config: as composed, perhaps with settings of a wrong kind; changed.
        machine: that the run starts on.

    Returns:
        What was filled in.
    """
    filled = []

    def fill(name: str, value: Any) -> None:
        if OmegaConf.select(config, name) is None:
            OmegaConf.update(config, name, value, force_add=True)
            filled.append(name)

    for name, cpus in _CPUS_PER_PROCESS.items():
        fill(name, max(1, min(_MOST_PROCESSES, machine.num_cpus // cpus)))
    fill(ATTENTION, _attention(config, machine))
    if not connects_to_ray(config) and (needed := _needed_cpus(config)) is not None:
        # Ray only counts them: with fewer than are reserved it would wait for ever.
        fill(RAY_CPUS, max(machine.num_cpus, needed))
    return FromMachine(machine, tuple(filled))


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


def in_float32(config: DictConfig) -> bool:
    """Whether the actor's forward pass is computed in float32; bfloat16 is verl's default."""
    # verl's configurations do not have the section.
    given = OmegaConf.select(config, "actor_rollout_ref.actor.fsdp_config.mixed_precision")
    return isinstance(given, DictConfig) and given.get("param_dtype") in _FLOAT32


def _attention(config: DictConfig, machine: Machine) -> str:
    actor = config.actor_rollout_ref.actor
    if in_float32(config):
        return SDPA
    # Only flash attention exchanges the parts of a response: without it such a run cannot start.
    is_shared = actor.ulysses_sequence_parallel_size != 1
    return FLASH if is_shared or machine.flash_attention_error is None else SDPA


def _largest_pack(config: DictConfig, longest: int) -> tuple[int, str]:
    """Tokens of the largest micro-batch, and the setting that cuts it."""
    actor = config.actor_rollout_ref.actor
    where = "actor_rollout_ref.actor"
    if actor.use_dynamic_bsz:
        return actor.ppo_max_token_len_per_gpu, f"{where}.ppo_max_token_len_per_gpu"
    rows = actor.ppo_micro_batch_size_per_gpu
    return rows * longest, f"{where}.ppo_micro_batch_size_per_gpu"


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
