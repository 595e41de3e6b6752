"""What a GPU has to hold in each moment of a round, as arithmetic.

A run on one set of GPUs loads the model and then goes round in a circle: the engine answers, the
actor computes log-probabilities, runs forward and backward passes, takes optimiser steps, and hands
its weights over. Each moment holds something else; the largest one has to fit.

**Source**: derived from what verl 0.9.1, FSDP2, torch's AdamW and transformers allocate;
``docs/gpus.md`` explains the terms and shows the sums beside what was measured. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holderpo.memory.passes import backward, forward, logits_bytes
from holderpo.memory.sizes import GIB, ModelShape, RolloutEngine, Training

# Assumed, and not measured apart: what a CUDA process takes before its first tensor, ...
CONTEXT = int(0.6 * GIB)
# ... what a sleeping engine keeps: its context, CUDA graphs, buffers of its kernels, ...
ASLEEP = int(1.5 * GIB)
# ... what an engine that answers needs besides its weights and keys and values, ...
WORKSPACE = 2 * GIB
# ... and how much of a card is to be used: NCCL's buffers and fragments are not counted.
USABLE = 0.93

LOADING = "while the model is loaded"
ANSWERING = "while answers are generated"
HANDING_OVER = "while weights go over"
LOG_PROBABILITIES = "in the log-probabilities"
BACKWARD = "in the backward pass"
STEP = "in the optimiser step"


@dataclass(frozen=True)
class GpuMemory:
    """Of one GPU."""

    parts: Mapping[str, int]
    """What the largest moments are made of."""
    moments: Mapping[str, int]
    """All that is held at once; without the engine where its card is not known."""
    key_value_tokens: int | None
    """Tokens whose keys and values find room; below 0 where not even the weights do."""

    @property
    def peak(self) -> int:
        """Of the largest moment."""
        return max(self.moments.values())

    def above(self, size: float) -> dict[str, int]:
        """Moments that hold more."""
        return {name: held for name, held in self.moments.items() if held > size}

    def has_room(self, engine: RolloutEngine) -> bool:
        """Whether keys and values of the longest row fit; also where the card is not known."""
        return self.key_value_tokens is None or self.key_value_tokens >= engine.longest


def gpu_memory(
    shape: ModelShape, training: Training, engine: RolloutEngine, card: int | None
) -> GpuMemory:
    """Expected memory of one GPU.

    Args:
        shape: of the model.
        training: of the actor.
        engine: on the same GPU.
        card: memory of the GPU; None if it is not known.

    Returns:
        Parts and moments.
    """
    on_gpu = 0 if training.lives_on_host else 1
    whole = shape.parameters + shape.adapter_parameters
    weights = on_gpu * whole * training.weight_bytes // training.shards
    gradients = on_gpu * shape.trained * training.weight_bytes // training.shards
    states = on_gpu * shape.trained * training.state_bytes // training.shards
    step = on_gpu * shape.trained * training.step_bytes // training.shards
    resting_states = 0 if training.optimizer_rests_on_host else states
    resting_weights = 0 if training.weights_rest_on_host else weights
    activations, passes = backward(shape, training)
    share = None if card is None else int(engine.share * card)
    engine_weights = whole * engine.number_bytes // engine.gpus
    # Of an engine that answers its context, too, lies outside of its share.
    beside = CONTEXT + (ASLEEP if engine.sleeps else (share or 0) + CONTEXT)
    moments = {
        LOADING: _loading(shape, training),
        HANDING_OVER: (weights if _is_staged(shape, training) else resting_weights)
        + resting_states
        + engine.bucket
        # One matrix is gathered in whole before it is copied into the bucket.
        + shape.largest_tensor * training.weight_bytes
        + beside
        + (engine_weights if engine.sleeps else 0),
        LOG_PROBABILITIES: weights + resting_states + forward(shape, training) + beside,
        BACKWARD: weights + gradients + states + passes + beside,
        STEP: weights + gradients + states + step + beside,
    }
    room = None
    if share is not None:
        moments = {ANSWERING: share + resting_weights + resting_states + 2 * CONTEXT} | moments
        room = _key_value_tokens(shape, engine, share - engine_weights)
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimiser state": states,
        "its step": step,
        "activations": activations,
        "logits": logits_bytes(shape, training, training.update_tokens, trains=True),
    }
    return GpuMemory(parts, moments, room)


def _loading(shape: ModelShape, training: Training) -> int:
    """A rank's part is filled on the GPU, whatever stays in main memory later, matrix by matrix.

    The engine is started afterwards.
    """
    whole = shape.parameters + shape.adapter_parameters
    models = [(whole, training.weight_bytes, training.shards)]
    if (reference := training.reference) is not None:
        models.append((shape.parameters, reference.number_bytes, reference.shards))
    return CONTEXT + max(
        numbers * number // shards + shape.largest_tensor * number
        for numbers, number, shards in models
    )


def _is_staged(shape: ModelShape, training: Training) -> bool:
    """Whether all weights are on the GPU to go over: adapters are merged or collected there."""
    return training.strategy == "fsdp" or shape.adapter_parameters > 0


def _key_value_tokens(shape: ModelShape, engine: RolloutEngine, left: int) -> int:
    heads = max(shape.key_value_heads // engine.gpus, 1)
    of_a_token = 2 * shape.layers * heads * shape.head_size * engine.number_bytes
    return (left - WORKSPACE) // of_a_token
