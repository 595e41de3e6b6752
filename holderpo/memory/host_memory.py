"""What a machine's main memory and the disk have to hold, as arithmetic; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from holderpo.memory.sizes import GIB, ModelShape, Training

# Assumed: main memory of a process that has imported torch, verl or vLLM, and of one with a GPU.
PROCESS, GPU_PROCESS = GIB, 3 * GIB

LOADING_REFERENCE = "while the reference model is loaded"
LOADING = "while the model is loaded"
TRAINING = "in training"
FIRST_ADAPTERS = "while the weights under the adapters go over"

COPIES = "copies that are loaded"
OFFLOADED = "what is offloaded"
REFERENCE = "the reference model"
ENGINES = "weights of sleeping engines"
PROCESSES = "processes"


@dataclass(frozen=True)
class HostMemory:
    """Main memory of one machine."""

    moments: Mapping[str, Mapping[str, int]]
    """What each is made of."""

    @property
    def sums(self) -> dict[str, int]:
        """Of each moment."""
        return {name: sum(parts.values()) for name, parts in self.moments.items()}

    @property
    def peak(self) -> int:
        """Of the largest moment."""
        return max(self.sums.values())

    @property
    def largest_part(self) -> str:
        """Of the largest moment."""
        sums = self.sums
        parts = self.moments[max(sums, key=sums.__getitem__)]
        return max(parts, key=parts.__getitem__)


@dataclass(frozen=True)
class Adapters:
    """Of LoRA that goes over apart from the weights under it, beside an engine that sleeps."""

    engine_gpus: int
    """That one copy of the engine's weights is spread over."""
    engine_bytes: int
    """Of one number."""
    sends_weights: bool
    """Whether the engine is started without weights, and each rank collects all for it once."""


def host_memory(
    shape: ModelShape,
    training: Training,
    *,
    machines: int,
    processes: int,
    adapters: Adapters | None = None,
) -> HostMemory:
    """Expected main memory of one machine.

    Args:
        shape: of the model.
        training: of the actor.
        machines: that share the GPUs evenly.
        processes: without a GPU.
        adapters: None without, or where they are merged.

    Returns:
        Its moments.
    """
    gpus, reference = training.gpus // machines, training.reference
    whole = (shape.parameters + shape.adapter_parameters) * training.weight_bytes
    always = {PROCESSES: processes * PROCESS + gpus * GPU_PROCESS}
    moments: dict[str, dict[str, int]] = {}
    if reference is not None:
        parts = shape.parameters * reference.number_bytes // reference.shards
        here = gpus * pinned_bytes(
            shape, reference.shards, reference.number_bytes, flat=training.strategy == "fsdp"
        )
        loaded = shape.parameters * reference.number_bytes
        moments[LOADING_REFERENCE] = always | {
            COPIES: _copies(shape, gpus, reference.shards) * loaded + gpus * parts,
            REFERENCE: here,
        }
        # verl builds it before the actor.
        always = always | {REFERENCE: here}
    loading = {COPIES: _copies(shape, gpus, training.shards) * whole}
    if training.lives_on_host:
        loading[COPIES] += gpus * whole // training.shards
        loading[OFFLOADED] = gpus * _pinned_weights(shape, training)
    moments[LOADING] = always | loading
    stays = {OFFLOADED: gpus * _offloaded(shape, training)}
    if adapters is not None:
        stays[ENGINES] = gpus * pinned_bytes(shape, adapters.engine_gpus, adapters.engine_bytes)
    moments[TRAINING] = always | stays
    if adapters is not None and adapters.sends_weights:
        moments[FIRST_ADAPTERS] = always | stays | {COPIES: gpus * whole}
    return HostMemory(moments)


def pinned_bytes(shape: ModelShape, shards: int, number_bytes: int, *, flat: bool = False) -> int:
    """Pinned memory of one rank's part of a copy of the model.

    torch rounds each pinned tensor up to a power of two (its CachingHostAllocator). FSDP2 cuts each
    parameter along its rows; FSDP1 lays a layer's parameters in a row and cuts that.

    Args:
        shape: of the model.
        shards: ranks that share a copy.
        number_bytes: of one number.
        flat: as FSDP1 does.

    Returns:
        Bytes, adapters not among them.
    """
    tensors = shape.tensors
    if flat:
        tensors = ((shape.layer_parameters, 1, shape.layers), (shape.outer_parameters, 1, 1))
    return sum(
        count * _power_of_two(-(-rows // shards) * width * number_bytes)
        for rows, width, count in tensors
    )


def _pinned_weights(shape: ModelShape, training: Training) -> int:
    adapters = shape.adapter_parameters * training.weight_bytes // training.shards
    return adapters + pinned_bytes(
        shape, training.shards, training.weight_bytes, flat=training.strategy == "fsdp"
    )


def _offloaded(shape: ModelShape, training: Training) -> int:
    """Of one rank."""
    numbers = shape.trained // training.shards
    weights = _pinned_weights(shape, training) if training.weights_rest_on_host else 0
    if not training.optimizer_rests_on_host:
        return weights
    if training.lives_on_host:
        # Gradients are pinned, too; Adam's state is made on the CPU, and is not.
        gradients = numbers * training.weight_bytes if shape.adapter_parameters else weights
        return weights + gradients + numbers * training.state_bytes
    if shape.adapter_parameters:
        return weights + numbers * training.state_bytes
    number = min(training.weight_bytes, training.state_bytes)
    states = training.state_bytes // number if number else 0
    return weights + states * pinned_bytes(
        shape, training.shards, number, flat=training.strategy == "fsdp"
    )


def _copies(shape: ModelShape, gpus: int, shards: int) -> int:
    """Ranks of one machine that load the model in whole.

    Where the output layer is the embedding each rank does, else the first of each group of shards.
    """
    return gpus if shape.is_tied else max(1, gpus // shards)


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


def checkpoint_bytes(
    shape: ModelShape, training: Training, contents: Collection[str], *, adapter_only: bool = False
) -> int:
    """Disk of one checkpoint.

    Args:
        shape: of the model.
        training: of the actor.
        contents: verl's ``save_contents``.
        adapter_only: of LoRA, verl's ``save_lora_only``.

    Returns:
        Bytes on all machines; each copy of the actor writes its own files.
    """
    whole = shape.parameters + shape.adapter_parameters
    of_model = shape.adapter_parameters if adapter_only and shape.adapter_parameters else whole
    per_copy = of_model * training.weight_bytes * ("model" in contents)
    per_copy += shape.trained * training.state_bytes * ("optimizer" in contents)
    copies = max(training.gpus // training.shards, 1)
    return copies * per_copy + whole * training.weight_bytes * ("hf_model" in contents)
