"""Shapes of public models, and the run whose memory was measured."""

from dataclasses import replace

from holderpo.memory.sizes import ModelShape, RolloutEngine, Training


def of_qwen2(layers, hidden, intermediate, key_values, vocabulary, *, is_tied):
    """Sizes of a Qwen2's parameters."""
    biases = {(hidden, 1): 3 * layers + 1, (key_values, 1): 2 * layers}
    matrices = {
        (hidden, hidden): 2 * layers,
        (key_values, hidden): 2 * layers,
        (intermediate, hidden): 2 * layers,
        (hidden, intermediate): layers,
        (vocabulary, hidden): 1 if is_tied else 2,
    }
    return tuple(sorted((*size, count) for size, count in (biases | matrices).items()))


# From the models' published config.json.
QWEN25_1_5B = ModelShape(
    parameters=1_543_714_304,
    outer_parameters=151_936 * 1536 + 1536,
    adapter_parameters=0,
    layers=28,
    hidden=1536,
    intermediate=8960,
    heads=12,
    key_value_heads=2,
    head_size=128,
    vocabulary=151_936,
    is_tied=True,
    tensors=of_qwen2(28, 1536, 8960, 256, 151_936, is_tied=True),
)
QWEN25_7B = ModelShape(
    parameters=7_615_616_512,
    outer_parameters=2 * 152_064 * 3584 + 3584,
    adapter_parameters=0,
    layers=28,
    hidden=3584,
    intermediate=18_944,
    heads=28,
    key_value_heads=4,
    head_size=128,
    vocabulary=152_064,
    is_tied=False,
    tensors=of_qwen2(28, 3584, 18_944, 512, 152_064, is_tied=False),
)
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
