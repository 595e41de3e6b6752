"""Shapes of public models, and the run whose memory was measured."""

from collections import Counter
from dataclasses import replace

from holderpo.memory.sizes import ModelShape, RolloutEngine, Training


def decoder(layers, hidden, intermediate, heads, key_value_heads, vocabulary, *, is_tied, qwen3):
    """A Qwen2, with biases, or a Qwen3, with norms of queries and keys; heads of 128."""
    queries, keys = 128 * heads, 128 * key_value_heads
    # Two norms of each layer, and the last one.
    counts = Counter({(hidden, 1): 2 * layers + 1})
    counts[hidden, queries] += layers
    counts[queries, hidden] += layers
    counts[keys, hidden] += 2 * layers
    counts[intermediate, hidden] += 2 * layers
    counts[hidden, intermediate] += layers
    counts[vocabulary, hidden] += 1 if is_tied else 2
    if qwen3:
        counts[128, 1] += 2 * layers
    else:
        counts[queries, 1] += layers
        counts[keys, 1] += 2 * layers
    outside = vocabulary * hidden * (1 if is_tied else 2) + hidden
    return ModelShape(
        parameters=sum(rows * width * count for (rows, width), count in counts.items()),
        outer_parameters=outside,
        adapter_parameters=0,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        key_value_heads=key_value_heads,
        head_size=128,
        vocabulary=vocabulary,
        is_tied=is_tied,
        tensors=tuple(sorted((*size, count) for size, count in counts.items())),
        norms_queries=qwen3,
    )


# From the models' published config.json.
QWEN25_1_5B = decoder(28, 1536, 8960, 12, 2, 151_936, is_tied=True, qwen3=False)
QWEN25_7B = decoder(28, 3584, 18_944, 28, 4, 152_064, is_tied=False, qwen3=False)
QWEN3_4B = decoder(36, 2560, 9728, 32, 8, 151_936, is_tied=True, qwen3=True)
QWEN3_8B = decoder(36, 4096, 12_288, 32, 8, 151_936, is_tied=False, qwen3=True)
# configs/math.yaml on one H200: weights and Adam in float32, fused log-probabilities, gradient
# checkpointing, packs of 8,192 tokens, sdpa.
MEASURED = Training(
    strategy="fsdp2",
    gpus=1,
    shards=1,
    weight_bytes=4,
    compute_bytes=2,
    reduce_bytes=4,
    state_bytes=8,
    step_bytes=4,
    update_tokens=8192,
    log_prob_tokens=8192,
    longest=4024,
    packed=True,
    attention="sdpa",
    flash_cross_entropy=False,
    checkpoints_layers=True,
    fused=True,
    scales_logits=False,
    trains_entropy=False,
    compiles_entropy=True,
    entropy_chunk=None,
    reshards=True,
    keeps_whole_gradients=False,
    weights_rest_on_host=False,
    optimizer_rests_on_host=False,
    lives_on_host=False,
)
ON_FOUR = replace(
    MEASURED,
    gpus=4,
    shards=4,
    update_tokens=16_384,
    attention="flash_attention_2",
    flash_cross_entropy=True,
    fused=False,
)
ENGINE = RolloutEngine(share=0.5, gpus=1, number_bytes=2, sleeps=True, bucket=2**31, longest=4024)
