"""Whether a run fits its GPUs, main memory and disk: lines of the plan, and what to lower."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from holderpo.memory.gpu_memory import USABLE, GpuMemory
from holderpo.memory.host_memory import checkpoint_bytes
from holderpo.memory.sizes import GIB, ModelShape, Training
from recipe.holderpo.checks import machine_memory
from recipe.holderpo.checks.checkpoints import num_kept
from recipe.holderpo.checks.main_memory import (
    main_memory,
    main_memory_line,
    main_memory_warnings,
)
from recipe.holderpo.checks.memory_advice import SHARE, Setup, advice, larger_engines
from recipe.holderpo.checks.memory_settings import engine_of, training_of
from recipe.holderpo.checks.model_shape import UnknownShapeError, model_shape
from recipe.holderpo.run.ray_settings import connects_to_ray

_SETTING = "gpu_memory_gib"
_PARTS = "actor_rollout_ref.rollout.tensor_model_parallel_size"


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
    card = _card(config)
    setup = Setup(shape, training_of(config, is_here=card.is_here), engine_of(config))
    memory = setup.memory(card.size)
    host = main_memory(config, shape, setup.training)
    disk = _disk(config, shape, setup.training)
    lines = [*_gpu_lines(setup, memory, card), *_reward_model_line(config)]
    lines += [main_memory_line(host), _disk_line(disk)]
    warnings = [] if card.size is None else [*_card_warnings(config, setup, card, card.size)]
    # Of another machine nothing is known.
    if card.is_here:
        warnings += main_memory_warnings(host, shape, machine_memory.own_memory())
    return MemoryPlan(tuple(lines), tuple(warnings))


def _card(config: DictConfig) -> _Card:
    """The GPU at hand, or the one that the configuration names."""
    if not connects_to_ray(config):
        here = machine_memory.gpu_memory_here(config.trainer.n_gpus_per_node)
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


def _reward_model_line(config: DictConfig) -> Iterator[str]:
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        yield "           a reward model on the same GPUs is not counted"


def _disk_line(disk: _Disk | None) -> str:
    if disk is None:
        return "disk       no checkpoints are written"
    number = "for the one that is kept" if disk.kept == 1 else f"for the {disk.kept} that are kept"
    return (
        f"disk       {disk.each / 1e9:.1f} GB for each checkpoint, "
        f"{disk.kept * disk.each / 1e9:.1f} GB {number}"
        + (", and one more while it is written" if disk.removes else "")
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


def _card_warnings(config: DictConfig, setup: Setup, card: _Card, size: int) -> Iterator[str]:
    memory = setup.memory(size)
    too_large, close = memory.above(size), memory.above(USABLE * size)
    moments = ", ".join(f"{_gib(held)} {name}" for name, held in (too_large or close).items())
    if too_large:
        yield (
            f"memory: on each GPU more GiB are expected than the {_gib(size)} {card.name}, "
            f"{moments}: {advice(config, setup, size)}"
        )
    elif close:
        yield (
            f"memory: close: on each GPU more than {USABLE:.0%} of the {_gib(size)} GiB "
            f"{card.name} is expected, {moments}: {advice(config, setup, size)}"
        )
    elif not memory.has_room(setup.engine):
        parts = (
            f", or {_PARTS} to {larger[-1]}" if (larger := larger_engines(config, setup)) else ""
        )
        yield (
            f"memory: {SHARE} {setup.engine.share:g} leaves vLLM room for "
            f"{max(memory.key_value_tokens or 0, 0):,} tokens of keys and values beside its "
            f"weights, and one row may have {setup.engine.longest:,}: raise it{parts}"
        )


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
