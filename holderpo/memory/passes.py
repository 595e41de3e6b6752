"""What forward and backward passes hold on a GPU besides what is sharded; sizes in bytes.

**Source**: derived from transformers' decoders, FSDP2's groups of parameters and verl 0.9.1's
log-probabilities and entropy; ``docs/gpus.md``.
"""

from __future__ import annotations

from holderpo.memory.sizes import ModelShape, Training

# verl computes fused log-probabilities for so many tokens at a time.
FUSED_CHUNK = 512


def backward(shape: ModelShape, training: Training) -> tuple[int, int]:
    """Forward and backward pass of the largest micro-batch.

    Args:
        shape: of the model.
        training: of the actor.

    Returns:
        Activations, and all that is held at the peak, activations included.
    """
    tokens, number = training.update_tokens, training.compute_bytes
    layer = _layer_activations(shape, training, tokens)
    inputs = shape.layers * tokens * shape.hidden * number
    kept = inputs if training.checkpoints_layers else shape.layers * layer
    in_work = layer if training.checkpoints_layers else 0
    logits = logits_bytes(shape, training, tokens, trains=True)
    mlp = 3 * tokens * shape.intermediate * number
    peak = _outer_group_peak if _outer_alone(shape, training) else _root_group_peak
    whole = shape.trained * training.reduce_bytes if training.keeps_whole_gradients else 0
    return kept + in_work, peak(shape, training, kept, logits, in_work + mlp) + whole


def forward(shape: ModelShape, training: Training) -> int:
    """Without gradients: gathered weights, and one layer's work or the logits.

    Args:
        shape: of the model.
        training: of the actor.

    Returns:
        Bytes.
    """
    tokens, number = training.log_prob_tokens, training.compute_bytes
    layer = tokens * number * (3 * shape.intermediate + 4 * shape.hidden)
    if not training.is_flash:
        scores = shape.heads * (number + 4) if training.attention == "eager" else number
        layer += tokens * _keys(training, tokens) * scores
    logits = logits_bytes(shape, training, tokens, trains=False)
    return max(
        layer + _gathered(shape, training, at_output=False),
        logits + _gathered(shape, training, at_output=True),
    )


def logits_bytes(shape: ModelShape, training: Training, tokens: int, *, trains: bool) -> int:
    """Logits of all tokens, in as many copies as there are at once.

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
    copies += trains and not training.flash_cross_entropy
    if trains and not training.trains_entropy:
        return logits * copies
    # Gradients of entropy and log-probabilities.
    copies += 2 if trains else 0
    if training.compiles_entropy and training.packed:
        # Whole or in chunks, a compiled entropy makes no copy.
        return logits * copies
    if training.entropy_chunk is not None and training.packed:
        # In float32; for a backward pass those of all chunks are kept.
        chunk = tokens if trains else min(training.entropy_chunk, tokens)
        return logits * copies + chunk * shape.vocabulary * 4 * (2 if trains else 3)
    return logits * (copies + 2)


def _root_group_peak(
    shape: ModelShape, training: Training, kept: int, logits: int, in_layer: int
) -> int:
    """Embedding and output layer belong to the root, which is gathered all the time.

    Their gradients wait for the end of the backward pass.
    """
    made, shared_out = _gradient_bytes(shape, training)
    waiting = _output_gradient(shape, training)
    in_layers = _gathered(shape, training, at_output=False)
    # Fused, each chunk's part is made beside the sum.
    head = kept + logits + waiting * (2 if training.fused else 1)
    layers = kept + in_layer + waiting + int(shape.layer_parameters * (made + shared_out))
    end = int(shape.outer_parameters * (made + shared_out)) + waiting
    return max(
        head + _gathered(shape, training, at_output=True),
        layers + in_layers,
        end + in_layers,
    )


def _outer_group_peak(
    shape: ModelShape, training: Training, kept: int, logits: int, in_layer: int
) -> int:
    """Embedding and output layer are gathered, and their gradients shared out, by themselves.

    FSDP2 keeps the copy of a gradient that it shares out until the next group is done: the output
    layer's is there beside the last layer's work.
    """
    made, shared_out = _gradient_bytes(shape, training)
    matrix, layer = shape.output_matrix, shape.layer_parameters
    embedding = shape.outer_parameters - matrix
    logits += _output_gradient(shape, training)
    head = max(logits, int(matrix * (made + shared_out)))
    layers = in_layer + int(layer * made + max(matrix, layer) * shared_out)
    end = int(embedding * (made + shared_out)) + embedding * training.compute_bytes
    return max(
        kept + head + _gathered(shape, training, at_output=True),
        kept + layers + _gathered(shape, training, at_output=False),
        end,
    )


def _outer_alone(shape: ModelShape, training: Training) -> bool:
    """Verl makes FSDP2 groups of embedding and output layer where they are two matrices."""
    return training.strategy == "fsdp2" and not shape.is_tied


def _gradient_bytes(shape: ModelShape, training: Training) -> tuple[float, float]:
    """Of a parameter, as it is made and as it is shared out."""
    trained = shape.trained / (shape.parameters + shape.adapter_parameters)
    return training.compute_bytes * trained, training.reduce_bytes * trained


def _output_gradient(shape: ModelShape, training: Training) -> int:
    return 0 if shape.adapter_parameters else shape.output_matrix * training.compute_bytes


def _gathered(shape: ModelShape, training: Training, *, at_output: bool) -> int:
    """Weights in whole: of a layer and the next, and of what is outside, or all that stay."""
    outside, layers = shape.outer_parameters, 1 if at_output else 2
    if not training.reshards:
        layers = shape.layers
    elif _outer_alone(shape, training):
        outside = shape.output_matrix if at_output else 0
    numbers = outside + min(layers, shape.layers) * shape.layer_parameters
    return numbers * training.compute_bytes


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
