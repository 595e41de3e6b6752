"""What a GPU has to hold in each moment of a round, as arithmetic.

A run on one set of GPUs goes round in a circle: the engine answers, the actor computes
log-probabilities, runs forward and backward passes, takes optimiser steps, and hands its weights
over. Each moment holds something else; the largest one has to fit.

**Source**: derived from what verl 0.9.1, FSDP2, torch's AdamW and transformers allocate;
``docs/gpus.md`` explains the terms and shows the sums beside what was measured. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holderpo.memory.sizes import GIB, ModelShape, RolloutEngine, Training

# Assumed, and not measured apart: what a CUDA process takes before its first tensor, ...
CONTEXT = int(0.6 * GIB)
# ... what a sleeping engine keeps: its context, CUDA graphs, buffers of its kernels, ...
ASLEEP = int(1.5 * GIB)
# ... and what an engine that answers needs besides its weights and keys and values.
WORKSPACE = 2 * GIB
# verl computes fused log-probabilities for so many tokens at a time.
FUSED_CHUNK = 512

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
    resting = (0 if training.weights_rest_on_host else weights) + (
        0 if training.optimizer_rests_on_host else states
    )
    activations, passes = _backward(shape, training)
    logits = _logits(shape, training, training.update_tokens, trains=True)
    share = None if card is None else int(engine.share * card)
    engine_weights = whole * engine.number_bytes // engine.gpus
    beside = CONTEXT + (ASLEEP if engine.sleeps else share or 0)
    # One matrix is gathered in whole before it is copied into the bucket.
    largest_matrix = shape.output_matrix * training.weight_bytes
    moments = {
        HANDING_OVER: resting
        + engine.bucket
        + largest_matrix
        + beside
        + (engine_weights if engine.sleeps else 0),
        LOG_PROBABILITIES: weights
        + (0 if training.optimizer_rests_on_host else states)
        + _forward(shape, training)
        + beside,
        BACKWARD: weights + gradients + states + passes + beside,
        STEP: weights + gradients + states + step + beside,
    }
    room = None
    if share is not None:
        moments = {ANSWERING: share + resting + CONTEXT} | moments
        room = _key_value_tokens(shape, engine, share - engine_weights)
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimiser state": states,
        "its step": step,
        "activations": activations,
        "logits": logits,
    }
    return GpuMemory(parts, moments, room)


def _key_value_tokens(shape: ModelShape, engine: RolloutEngine, left: int) -> int:
    heads = max(shape.key_value_heads // engine.gpus, 1)
    of_a_token = 2 * shape.layers * heads * shape.head_size * engine.number_bytes
    return (left - WORKSPACE) // of_a_token


def _layer_activations(shape: ModelShape, training: Training, tokens: int) -> int:
    """What one layer keeps for its backward pass, as transformers' decoders do.

    A norm keeps its input in float32, what it normalised, and its output; the MLP its two
    projections, the activation and the product; attention queries, keys, values and its output.
    """
    number = training.compute_bytes
    queries = shape.heads * shape.head_size
    keys = shape.key_value_heads * shape.head_size
    normed = 2 * shape.hidden + (queries + keys if shape.norms_queries else 0)
    # With a mask keys and values are repeated for all heads.
    attention = 2 * queries + 2 * (keys if training.is_flash else queries)
    of_a_token = normed * (4 + 2 * number) + number * (attention + 4 * shape.intermediate)
    pairs = tokens * _keys(training, tokens)
    if training.is_flash:
        return tokens * of_a_token
    if training.attention == "eager":
        # The softmax of the scores in float32, and its copy.
        return tokens * of_a_token + pairs * shape.heads * (number + 4)
    # Each layer makes its own copy of the mask.
    return tokens * of_a_token + pairs * number


def _keys(training: Training, tokens: int) -> int:
    """Keys beside each token: without flash attention a pack is computed in whole."""
    return tokens if training.packed else min(training.longest, tokens)


def _backward(shape: ModelShape, training: Training) -> tuple[int, int]:
    """Activations, and all that forward and backward pass hold besides what is sharded."""
    tokens, number = training.update_tokens, training.compute_bytes
    layer = _layer_activations(shape, training, tokens)
    inputs = shape.layers * tokens * shape.hidden * number
    kept = inputs if training.checkpoints_layers else shape.layers * layer
    in_work = layer if training.checkpoints_layers else 0
    # The gradient of the output layer waits for the end of the backward pass.
    output_gradient = 0 if shape.adapter_parameters else shape.output_matrix * number
    trained_share = shape.trained / (shape.parameters + shape.adapter_parameters)
    of_a_gradient = number + training.reduce_bytes
    gathered = _gathered(shape, training)
    head = (
        kept
        + _logits(shape, training, tokens, trains=True)
        # Fused, each chunk's part is made beside the sum.
        + output_gradient * (2 if training.fused else 1)
        + shape.outer_parameters * number
    )
    layers = (
        kept
        + in_work
        + 3 * tokens * shape.intermediate * number
        + output_gradient
        + gathered
        + int(shape.layer_parameters * of_a_gradient * trained_share)
    )
    end = gathered + int(shape.outer_parameters * of_a_gradient * trained_share) + output_gradient
    whole = shape.trained * training.reduce_bytes if training.keeps_whole_gradients else 0
    return kept + in_work, max(head, layers, end) + whole


def _forward(shape: ModelShape, training: Training) -> int:
    """Without gradients: gathered weights, and one layer's work or the logits."""
    tokens, number = training.log_prob_tokens, training.compute_bytes
    layer = tokens * number * (3 * shape.intermediate + 4 * shape.hidden)
    if not training.is_flash:
        scores = shape.heads * (number + 4) if training.attention == "eager" else number
        layer += tokens * _keys(training, tokens) * scores
    return _gathered(shape, training) + max(layer, _logits(shape, training, tokens, trains=False))


def _gathered(shape: ModelShape, training: Training) -> int:
    """Weights in whole: all that is outside of the layers, and two layers, or all that stay."""
    layers = 2 if training.reshards else shape.layers
    numbers = shape.outer_parameters + min(layers, shape.layers) * shape.layer_parameters
    return numbers * training.compute_bytes


def _logits(shape: ModelShape, training: Training, tokens: int, *, trains: bool) -> int:
    """Of all tokens, in as many copies as there are at once.

    Args:
        shape: of the model.
        training: of the actor.
        tokens: of the micro-batch on one GPU.
        trains: with a backward pass; without one verl always computes the entropy.

    Returns:
        Bytes.
    """
    number = training.compute_bytes
    if training.fused:
        # In float32: logits, probabilities, one-hot labels, and two differences of them.
        copies = (5 if trains else 3) + (3 if trains and training.trains_entropy else 0)
        return min(FUSED_CHUNK, tokens) * shape.vocabulary * 4 * copies
    logits = tokens * shape.vocabulary * number
    copies = 1 + training.scales_logits + (not training.packed)
    # Without flash-attn's cross entropy the logarithms of all probabilities are kept.
    copies += trains and not training.is_flash
    if trains and not training.trains_entropy:
        return logits * copies
    # Gradients of entropy and log-probabilities.
    copies += 2 if trains else 0
    if training.entropy_chunk is not None and training.packed:
        # In float32; for a backward pass those of all chunks are kept.
        chunk = tokens if trains else min(training.entropy_chunk, tokens)
        return logits * copies + chunk * shape.vocabulary * 4 * (2 if trains else 3)
    if not (training.compiles_entropy and training.packed):
        copies += 2
    return logits * copies
