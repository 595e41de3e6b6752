"""The sums against a measured run, against what torch keeps, and against each other."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from holderpo.memory.gpu_memory import (
    ANSWERING,
    ASLEEP,
    BACKWARD,
    CONTEXT,
    HANDING_OVER,
    LOADING,
    LOG_PROBABILITIES,
    STEP,
    gpu_memory,
)
from holderpo.memory.passes import FUSED_CHUNK
from holderpo.memory.sizes import GIB, ModelShape, Reference
from tests.holderpo.memory.setups import ENGINE, MEASURED, ON_FOUR, QWEN25_1_5B, QWEN25_7B

H200, H100 = int(139.8 * GIB), 80 * GIB
SMALL = {"vocab_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "head_dim": 32}


def memory(shape=QWEN25_7B, training=ON_FOUR, engine=ENGINE, card=H100, **changes):
    return gpu_memory(shape, replace(training, **changes), engine, card)


def test_the_measured_peaks_are_met():
    expected = memory(QWEN25_1_5B, MEASURED, card=H200)
    # torch's own peak of the actor, which is in the optimiser step and not in the backward pass.
    assert (expected.moments[STEP] - CONTEXT - ASLEEP) / GIB == pytest.approx(28.8, rel=0.01)
    assert expected.moments[BACKWARD] < expected.moments[STEP]
    # The card's, while vLLM answers.
    assert expected.peak == expected.moments[ANSWERING]
    assert expected.peak / GIB == pytest.approx(90.8, rel=0.03)


def kept_by_a_layer(config, attention, mask):
    """Bytes per token that torch keeps of a real layer in bfloat16, weights not among them."""
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, dtype=torch.bfloat16
    )
    tokens = 64
    states = torch.randn(1, tokens, config.hidden_size, dtype=torch.bfloat16, requires_grad=True)
    rotations = model.model.rotary_emb(states, torch.arange(tokens)[None])
    shared = {one.untyped_storage()._cdata for one in (*model.parameters(), *rotations)}
    storages, alive = {}, []

    def pack(tensor):
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage._cdata not in shared:
            storages[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model.layers[0](states, attention_mask=mask, position_embeddings=rotations)
    return sum(storages.values()) / tokens


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(hidden_size=128, intermediate_size=512, num_key_value_heads=2, **SMALL),
        Qwen3Config(hidden_size=96, intermediate_size=384, num_key_value_heads=2, **SMALL),
        LlamaConfig(hidden_size=128, intermediate_size=448, num_key_value_heads=4, **SMALL),
    ],
    ids=["qwen2", "qwen3", "llama"],
)
@pytest.mark.parametrize("attention", ["flash_attention_2", "sdpa", "eager"])
def test_a_layer_keeps_what_the_arithmetic_says(config, attention):
    is_flash = attention.startswith("flash")
    mask = None if is_flash else torch.zeros(1, 1, 64, 64, dtype=torch.bfloat16)
    # Without a mask torch's attention on a CPU keeps what flash-attn's does.
    kept = kept_by_a_layer(config, "sdpa" if is_flash else attention, mask)
    shape = ModelShape(
        parameters=2,
        outer_parameters=1,
        adapter_parameters=0,
        layers=1,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=4,
        key_value_heads=config.num_key_value_heads,
        head_size=32,
        vocabulary=64,
        is_tied=True,
        tensors=((64, config.hidden_size, 1),),
        norms_queries=isinstance(config, Qwen3Config),
    )
    training = replace(
        MEASURED, update_tokens=64, longest=64, checkpoints_layers=False, attention=attention
    )
    expected = gpu_memory(shape, training, ENGINE, None).parts["activations"]
    assert expected / 64 == pytest.approx(kept, rel=0.1)


def test_states_are_spread_over_the_gpus_that_share_a_copy():
    one, four = memory(gpus=1, shards=1).parts, memory().parts
    for name in ("weights", "gradients", "optimiser state", "its step"):
        assert four[name] == one[name] // 4
    assert four["weights"] == 7_615_616_512
    # Two groups of two each hold half of it.
    assert memory(shards=2).parts["weights"] == 2 * four["weights"]
    for name in ("activations", "logits"):
        assert four[name] == one[name]


@pytest.mark.parametrize(
    ("change", "moment", "direction"),
    [
        ({"update_tokens": 8192}, BACKWARD, -1),
        ({"log_prob_tokens": 4096}, LOG_PROBABILITIES, -1),
        ({"step_bytes": 0}, STEP, -1),
        ({"reshards": False}, BACKWARD, 1),
        ({"checkpoints_layers": False}, BACKWARD, 1),
        ({"trains_entropy": True}, BACKWARD, 1),
        ({"flash_cross_entropy": False}, BACKWARD, 1),
        ({"scales_logits": True}, LOG_PROBABILITIES, 1),
        ({"compiles_entropy": False}, LOG_PROBABILITIES, 1),
        ({"entropy_chunk": 2048, "compiles_entropy": False}, LOG_PROBABILITIES, 1),
        ({"packed": False}, LOG_PROBABILITIES, 1),
        ({"attention": "sdpa"}, BACKWARD, 1),
        ({"attention": "eager"}, BACKWARD, 1),
        ({"keeps_whole_gradients": True}, BACKWARD, 1),
        ({"optimizer_rests_on_host": True}, ANSWERING, -1),
        ({"weights_rest_on_host": True}, HANDING_OVER, -1),
        ({"lives_on_host": True}, STEP, -1),
        ({"compute_bytes": 4}, BACKWARD, 1),
        ({"reduce_bytes": 2}, BACKWARD, -1),
        ({"weight_bytes": 2}, BACKWARD, -1),
        ({"weight_bytes": 2}, LOADING, -1),
        ({"strategy": "fsdp"}, BACKWARD, 1),
        ({"reference": Reference(4, shards=2)}, LOADING, 1),
    ],
)
def test_every_setting_moves_its_moment_up_or_down(change, moment, direction):
    # Of a model whose logits and activations matter.
    moved = memory(**change).moments[moment] - memory().moments[moment]
    assert (moved > 0) - (moved < 0) == direction


def test_while_weights_go_over_both_hold_them():
    parameters, matrix = QWEN25_7B.parameters, 152_064 * 3584
    in_bucket = 2**31 + 4 * matrix
    both = 12 * parameters // 4 + 2 * parameters
    assert memory().moments[HANDING_OVER] == both + in_bucket + CONTEXT + ASLEEP


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({}, 1),
        ({"attention": "sdpa"}, 1),
        ({"flash_cross_entropy": False}, 2),
        ({"scales_logits": True}, 2),
        ({"packed": False}, 2),
        ({"trains_entropy": True}, 3),
        ({"trains_entropy": True, "compiles_entropy": False}, 5),
        # Two in float32 in place of two in bfloat16, where it is not compiled.
        ({"trains_entropy": True, "entropy_chunk": 2048, "compiles_entropy": False}, 7),
        ({"trains_entropy": True, "entropy_chunk": 2048}, 3),
    ],
)
def test_logits_are_there_in_as_many_copies_as_are_needed(changes, copies):
    assert memory(**changes).parts["logits"] == copies * 16_384 * 152_064 * 2


def test_tied_matrices_are_gathered_through_the_backward_pass():
    # Little to do in the layers: their inputs, logits by chunks, the output layer's gradient twice,
    # the matrix itself and the last layer.
    shape, few = QWEN25_1_5B, replace(MEASURED, update_tokens=4024)
    matrix, layer = 151_936 * 1536, shape.layer_parameters
    head = 28 * 4024 * 1536 * 2 + 5 * 512 * 151_936 * 4 + 2 * matrix * 2
    head += 2 * (shape.outer_parameters + layer)
    held = 16 * shape.parameters + CONTEXT + ASLEEP
    assert memory(shape, few).moments[BACKWARD] == held + head
    # Much: one layer's activations and three numbers for each of its MLP's, the waiting gradient,
    # gathered weights, and a layer's gradient in bfloat16 and float32.
    many = replace(MEASURED, update_tokens=16_384)
    passes = memory(shape, many).parts["activations"] + 3 * 16_384 * 8960 * 2 + matrix * 2
    gathered = 2 * (shape.outer_parameters + 2 * layer)
    assert memory(shape, many).moments[BACKWARD] == held + passes + gathered + 6 * layer


def test_an_output_layer_of_its_own_is_done_with_before_the_layers_work():
    shape, matrix = QWEN25_7B, 152_064 * 3584
    layer, sharded = shape.layer_parameters, 4 * QWEN25_7B.parameters + CONTEXT + ASLEEP
    # Of its gradient only the copy in float32 is left, until the last layer is done.
    passes = memory().parts["activations"] + 3 * 16_384 * 18_944 * 2
    held = sharded + passes + 4 * matrix + 2 * layer + 2 * 2 * layer
    assert memory().moments[BACKWARD] == held
    # Few tokens: its gradient in both, when the logits are gone, itself, and the last layer.
    inputs, gathered = 28 * 512 * 3584 * 2, 2 * (matrix + layer)
    few = memory(update_tokens=512).moments[BACKWARD]
    assert few == sharded + inputs + (2 + 4) * matrix + gathered
    # Log-probabilities gather it for the logits alone.
    logits = 16_384 * 152_064 * 2
    read = memory(log_prob_tokens=16_384).moments[LOG_PROBABILITIES]
    assert read == 3 * shape.parameters + logits + gathered + CONTEXT + ASLEEP


@pytest.mark.parametrize("shards", [1, 4])
def test_the_model_is_loaded_on_the_gpu_also_where_it_lives_in_main_memory(shards):
    offloaded = memory(
        lives_on_host=True,
        weights_rest_on_host=True,
        optimizer_rests_on_host=True,
        gpus=shards,
        shards=shards,
    )
    loading = 4 * QWEN25_7B.parameters // shards + 4 * 152_064 * 3584 + CONTEXT
    assert offloaded.moments[LOADING] == loading
    if shards == 1:
        # Most of it, then: no GPU of 24 GiB is enough.
        assert loading > 30 * GIB > offloaded.moments[BACKWARD]


def test_a_reference_model_is_loaded_over_its_own_gpus():
    reference = Reference(number_bytes=4, shards=1)
    expected = memory(reference=reference).moments[LOADING]
    assert expected == 4 * QWEN25_7B.parameters + 4 * 152_064 * 3584 + CONTEXT


def test_weights_come_to_the_gpu_to_go_over_where_they_are_put_together_there():
    rests = {"weights_rest_on_host": True}
    away = memory(**rests).moments[HANDING_OVER]
    assert memory(strategy="fsdp", **rests).moments[HANDING_OVER] == away + QWEN25_7B.parameters
    lora = replace(QWEN25_7B, adapter_parameters=4000)
    there, apart = memory(lora).moments, memory(lora, **rests).moments
    assert apart[HANDING_OVER] == there[HANDING_OVER]
    assert apart[ANSWERING] < there[ANSWERING]


def test_the_engines_process_is_beside_its_share():
    rests = memory(weights_rest_on_host=True, optimizer_rests_on_host=True)
    assert rests.moments[ANSWERING] == H100 // 2 + 2 * CONTEXT
    awake = memory(engine=replace(ENGINE, sleeps=False)).moments[STEP]
    assert awake == memory().moments[STEP] - ASLEEP + H100 // 2 + CONTEXT


def test_what_is_offloaded_between_updates_is_back_for_them():
    offloaded = memory(weights_rest_on_host=True, optimizer_rests_on_host=True)
    assert offloaded.moments[BACKWARD] == memory().moments[BACKWARD]
    # Log-probabilities need the weights, and no optimiser state.
    saved = memory().moments[LOG_PROBABILITIES] - offloaded.moments[LOG_PROBABILITIES]
    assert saved == memory().parts["optimiser state"]


def test_an_engine_that_never_sleeps_is_there_in_every_moment():
    awake = dict(memory(engine=replace(ENGINE, sleeps=False)).moments)
    # It is started when the model is there.
    assert awake.pop(LOADING) == memory().moments[LOADING] < H100 // 2
    assert min(awake.values()) > H100 // 2
    assert memory().moments[STEP] < H100 // 2


def test_fused_log_probabilities_do_not_grow_with_the_pack():
    few, many = (memory(fused=True, update_tokens=n).parts["logits"] for n in (4096, 16_384))
    assert few == many == FUSED_CHUNK * 152_064 * 4 * 5
    assert memory().parts["logits"] == 16_384 * 152_064 * 2
    # Of a small model the logits are the largest part of a pass.
    small, fused = (memory(QWEN25_1_5B, fused=one).moments for one in (False, True))
    assert fused[BACKWARD] < small[BACKWARD] - GIB


def test_only_adapters_have_gradients_and_optimiser_state():
    shape = replace(QWEN25_7B, adapter_parameters=40_000_000)
    parts = memory(shape).parts
    assert parts["gradients"] == 40_000_000
    assert parts["optimiser state"] == 80_000_000
    assert parts["weights"] == QWEN25_7B.parameters + 40_000_000
    assert memory(shape).moments[BACKWARD] < memory().moments[BACKWARD] - 20 * GIB


def test_room_for_keys_and_values_is_what_the_weights_leave():
    # 28 layers, keys and values of 4 heads of 128 in bfloat16.
    per_token = 28 * 2 * 4 * 128 * 2
    room = memory().key_value_tokens * per_token
    assert room / GIB == pytest.approx(40 - 2 - 7_615_616_512 * 2 / GIB, abs=0.01)
    assert memory(engine=replace(ENGINE, share=0.1)).key_value_tokens < 0
    assert memory().has_room(replace(ENGINE, longest=memory().key_value_tokens))
    assert not memory().has_room(replace(ENGINE, longest=memory().key_value_tokens + 1))
    # Half of the heads, and half of the weights.
    assert memory(engine=replace(ENGINE, gpus=2)).key_value_tokens > 2 * memory().key_value_tokens


def test_without_a_card_the_engines_share_is_not_known():
    unknown = memory(card=None)
    assert ANSWERING not in unknown.moments
    assert unknown.key_value_tokens is None
    assert unknown.has_room(ENGINE)
    assert unknown.moments[STEP] == memory().moments[STEP]
