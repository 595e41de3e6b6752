"""Main memory and disk."""

from dataclasses import replace

from holderpo.memory.host_memory import GPU_PROCESS, PROCESS, checkpoint_bytes, host_memory
from tests.holderpo.memory.setups import MEASURED, ON_FOUR, QWEN25_1_5B, QWEN25_7B

CONTENTS = ("model", "optimizer", "extra")
SMALL, LARGE = QWEN25_1_5B.parameters, QWEN25_7B.parameters


def test_every_rank_loads_a_model_whose_output_layer_is_the_embedding():
    assert host_memory(QWEN25_1_5B, ON_FOUR, machines=1, processes=0).loading == 4 * 4 * SMALL
    assert host_memory(QWEN25_1_5B, ON_FOUR, machines=2, processes=0).loading == 2 * 4 * SMALL
    assert host_memory(QWEN25_7B, ON_FOUR, machines=1, processes=0).loading == 4 * LARGE
    # The reference model is loaded after the actor: the larger one counts.
    halves = replace(ON_FOUR, weight_bytes=2)
    host = host_memory(QWEN25_7B, halves, machines=1, processes=0, reference_bytes=4)
    assert host.loading == 4 * LARGE


def test_what_is_offloaded_stays_in_main_memory():
    def staying(training=ON_FOUR, machines=1, **more):
        return host_memory(QWEN25_7B, training, machines=machines, processes=0, **more).staying

    assert staying() == 0
    assert staying(replace(ON_FOUR, weights_rest_on_host=True)) == 4 * LARGE
    assert staying(replace(ON_FOUR, optimizer_rests_on_host=True)) == 8 * LARGE
    assert staying(replace(ON_FOUR, optimizer_rests_on_host=True), machines=2) == 4 * LARGE
    whole = replace(
        ON_FOUR, weights_rest_on_host=True, optimizer_rests_on_host=True, lives_on_host=True
    )
    # Gradients too.
    assert staying(whole) == 16 * LARGE
    assert staying(reference_bytes=4) == 4 * LARGE
    assert staying(engine_weights=100) == 400


def test_processes_come_on_top_of_the_larger_moment():
    host = host_memory(QWEN25_7B, ON_FOUR, machines=1, processes=5, reference_bytes=2)
    assert host.peak == 4 * LARGE + 5 * PROCESS + 4 * GPU_PROCESS


def test_a_checkpoint_has_weights_and_optimiser_state_of_every_copy():
    assert checkpoint_bytes(QWEN25_7B, ON_FOUR, CONTENTS) == 12 * LARGE
    assert checkpoint_bytes(QWEN25_7B, replace(ON_FOUR, shards=2), CONTENTS) == 24 * LARGE
    assert checkpoint_bytes(QWEN25_7B, ON_FOUR, ("model",)) == 4 * LARGE
    assert checkpoint_bytes(QWEN25_7B, ON_FOUR, (*CONTENTS, "hf_model")) == 16 * LARGE
    assert checkpoint_bytes(QWEN25_1_5B, MEASURED, CONTENTS) == 12 * SMALL


def test_a_checkpoint_of_adapters_has_the_whole_model_unless_told_otherwise():
    shape = replace(QWEN25_7B, adapter_parameters=1000)
    assert checkpoint_bytes(shape, ON_FOUR, CONTENTS) == 4 * (LARGE + 1000) + 8 * 1000
    assert checkpoint_bytes(shape, ON_FOUR, CONTENTS, adapter_only=True) == 12 * 1000
