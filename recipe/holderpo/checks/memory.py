"""Whether a run fits its GPUs, main memory and disk: lines of the plan, and what to lower."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from holderpo.memory.gpu_memory import GpuMemory
from holderpo.memory.host_memory import HostMemory, checkpoint_bytes, host_memory
from holderpo.memory.sizes import GIB, ModelShape, RolloutEngine, Training
from recipe.holderpo.checks import machine
from recipe.holderpo.checks.checkpoints import num_kept
from recipe.holderpo.checks.memory_advice import SHARE, Setup, advice
from recipe.holderpo.checks.memory_settings import (
    engine_of,
    processes,
    reference_bytes,
    training_of,
)
from recipe.holderpo.checks.model_shape import UnknownShapeError, model_shape

_SETTING = "gpu_memory_gib"


@dataclass(frozen=True)
class MemoryPlan:
    """What the plan says of memory."""

    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Card:
    size: int | None
    name: str
    is_here: bool


@dataclass(frozen=True)
class _Disk:
    each: int
    kept: int
    removes: bool


def plan_memory(config: DictConfig) -> MemoryPlan:
    """Expected memory of a run on GPUs.

    Args:
        config: with settings of the right kinds.

    Returns:
        Lines and warnings; no lines on a CPU.
    """
    if config.device == "cpu":
        named = config.get(_SETTING) is not None
        warning = f"{_SETTING} has no effect: it belongs to GPUs, this is device=cpu"
        return MemoryPlan(warnings=(warning,) if named else ())
    try:
        shape = model_shape(config)
    except UnknownShapeError as error:
        return MemoryPlan((f"memory     cannot be told: {error}",))
    setup = Setup(shape, training_of(config), engine_of(config))
    card = _card(config)
    memory = setup.memory(card.size)
    host = _host(config, shape, setup.training, setup.engine)
    disk = _disk(config, shape, setup.training)
    lines = (*_gpu_lines(setup, memory, card), *_other_lines(host, disk))
    return MemoryPlan(lines, tuple(_warnings(config, setup, memory, card, host)))


def _card(config: DictConfig) -> _Card:
    """The GPU at hand, or the one that the configuration names."""
    here = None if machine.connects_to_ray(config) else machine.gpu_memory_here()
    if here is not None:
        return _Card(here, "of the GPU here", is_here=True)
    named = config.get(_SETTING)
    return _Card(None if named is None else int(named * GIB), f"of {_SETTING}", is_here=False)


def _gpu_lines(setup: Setup, memory: GpuMemory, card: _Card) -> Iterator[str]:
    shape, tokens = setup.shape, setup.training.update_tokens
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in memory.parts.items())
    yield (
        f"memory     {shape.parameters / 1e9:.2f} B parameters; on each GPU, in GiB: {parts} "
        f"(of {tokens:,} tokens)"
    )
    moments = ", ".join(f"{_gib(size)} {name}" for name, size in memory.moments.items())
    if card.size is None:
        yield (
            f"           expected, in GiB: {moments}; and vLLM's share, {setup.engine.share:g} of "
            f"a GPU: give {_SETTING} to compare"
        )
        return
    yield (
        f"           expected, in GiB: {moments}; at most {memory.peak / card.size:.0%} of the "
        f"{_gib(card.size)} {card.name}"
    )
    yield (
        f"           vLLM's share {_gib(int(setup.engine.share * card.size))} GiB has room for "
        f"{max(memory.key_value_tokens or 0, 0):,} tokens of keys and values"
    )


def _other_lines(host: HostMemory, disk: _Disk | None) -> Iterator[str]:
    yield (
        f"           main memory of a machine {_gib(host.peak)} GiB: {_gib(host.loading)} while "
        f"the model is loaded, {_gib(host.staying)} offloaded or of a reference model, "
        f"{_gib(host.processes)} of processes"
    )
    if disk is None:
        yield "disk       no checkpoints are written"
        return
    number = "for the one that is kept" if disk.kept == 1 else f"for the {disk.kept} that are kept"
    yield (
        f"disk       {disk.each / 1e9:.1f} GB for each checkpoint, "
        f"{disk.kept * disk.each / 1e9:.1f} GB {number}"
        + (", and one more while it is written" if disk.removes else "")
    )


def _host(
    config: DictConfig, shape: ModelShape, training: Training, engine: RolloutEngine
) -> HostMemory:
    model = config.actor_rollout_ref.model
    # With adapters that are not merged vLLM sleeps with its weights in main memory.
    sleeps_there = model.lora_rank > 0 and not model.lora.get("merge") and engine.sleeps
    return host_memory(
        shape,
        training,
        machines=config.trainer.nnodes,
        processes=processes(config),
        reference_bytes=reference_bytes(config),
        engine_weights=(
            shape.parameters * engine.number_bytes // engine.gpus if sleeps_there else 0
        ),
    )


def _disk(config: DictConfig, shape: ModelShape, training: Training) -> _Disk | None:
    """None where no checkpoint is written."""
    every, steps = config.trainer.save_freq, config.trainer.total_training_steps
    if every <= 0:
        return None
    # verl also saves after the last round.
    written, limit = math.ceil(steps / every), num_kept(config)
    settings = config.actor_rollout_ref.actor.checkpoint
    each = checkpoint_bytes(
        shape,
        training,
        settings.save_contents,
        adapter_only=bool(settings.get("save_lora_only")),
    )
    kept = written if limit is None or limit <= 0 else min(limit, written)
    return _Disk(each, kept, removes=kept < written)


def _warnings(
    config: DictConfig, setup: Setup, memory: GpuMemory, card: _Card, host: HostMemory
) -> Iterator[str]:
    if card.size is not None:
        yield from _card_warnings(config, setup, memory, card, card.size)
    # Of another machine nothing is known.
    if card.is_here and host.peak > (here := machine.own_memory()):
        yield (
            f"main memory: {_gib(host.peak)} GiB expected, this machine has {_gib(here)}: lower "
            "actor_rollout_ref.rollout.agent.num_workers or reward.num_workers, or offload less"
        )


def _card_warnings(
    config: DictConfig, setup: Setup, memory: GpuMemory, card: _Card, size: int
) -> Iterator[str]:
    over = {name: held for name, held in memory.moments.items() if held > size}
    if over:
        moments = ", ".join(f"{_gib(held)} {name}" for name, held in over.items())
        yield (
            f"memory: on each GPU more GiB are expected than the {_gib(size)} {card.name}, "
            f"{moments}: {advice(config, setup, size)}"
        )
        return
    longest = config.actor_rollout_ref.rollout.max_model_len or setup.training.longest
    room = max(memory.key_value_tokens or 0, 0)
    if room < longest:
        yield (
            f"memory: {SHARE} {setup.engine.share:g} leaves vLLM room for {room:,} tokens of keys "
            f"and values beside its weights, and one row may have {longest:,}: raise it, or "
            "actor_rollout_ref.rollout.tensor_model_parallel_size"
        )


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
