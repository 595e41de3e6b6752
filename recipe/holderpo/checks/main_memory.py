"""Main memory of a machine: what a run expects of it, and what to change where that is too much."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from holderpo.memory.gpu_memory import USABLE
from holderpo.memory.host_memory import (
    COPIES,
    ENGINES,
    FIRST_ADAPTERS,
    LOADING_REFERENCE,
    OFFLOADED,
    PROCESSES,
    REFERENCE,
    HostMemory,
    host_memory,
)
from holderpo.memory.sizes import GIB, ModelShape, Training
from recipe.holderpo.checks.memory_settings import adapters_of, processes

_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
_ENGINE = f"{_ACTOR}.fsdp_config"
_LESS = {
    OFFLOADED: f"offload less ({_ENGINE}.param_offload, optimizer_offload, offload_policy)",
    REFERENCE: (
        f"do without the reference model ({_ACTOR}.use_kl_loss, algorithm.use_kl_in_reward), or "
        "set actor_rollout_ref.ref.fsdp_config.model_dtype=bf16"
    ),
    ENGINES: "set actor_rollout_ref.model.lora.merge=true",
    PROCESSES: f"lower {_ROLLOUT}.agent.num_workers or reward.num_workers",
}


def main_memory(config: DictConfig, shape: ModelShape, training: Training) -> HostMemory:
    """Expected main memory of one machine of a run."""
    return host_memory(
        shape,
        training,
        machines=config.trainer.nnodes,
        processes=processes(config),
        adapters=adapters_of(config),
    )


def main_memory_line(host: HostMemory) -> str:
    """For the plan."""
    moments = ", ".join(f"{size / GIB:.1f} {name}" for name, size in host.sums.items())
    of_processes = next(iter(host.moments.values()))[PROCESSES] / GIB
    return (
        f"           main memory of a machine, in GiB: {moments}; {of_processes:.1f} of each is of "
        "processes"
    )


def main_memory_warnings(host: HostMemory, shape: ModelShape, here: int) -> Iterator[str]:
    """What does not fit, and what its largest part follows from.

    Args:
        host: what is expected.
        shape: of the model.
        here: bytes of this machine.

    Yields:
        One line, or none.
    """
    if host.peak <= USABLE * here:
        return
    sums = host.sums
    moment, part = max(sums, key=sums.__getitem__), host.largest_part
    fix = _fewer_copies(moment, shape) if part == COPIES else _LESS[part]
    close = "" if host.peak > here else "close: "
    yield (
        f"main memory: {close}{host.peak / GIB:.1f} GiB expected {moment}, this machine has "
        f"{here / GIB:.1f}; most is of {part}: {fix}"
    )


def _fewer_copies(moment: str, shape: ModelShape) -> str:
    if moment == FIRST_ADAPTERS:
        return f"set {_ROLLOUT}.load_format=safetensors, with which vLLM loads them itself"
    if moment == LOADING_REFERENCE:
        return _LESS[REFERENCE]
    if shape.is_tied:
        return (
            "each GPU's process loads the whole model where the output layer is the embedding; "
            "take fewer GPUs of each machine, and more machines"
        )
    return "the first process of each copy loads the whole model; take a machine with more"
