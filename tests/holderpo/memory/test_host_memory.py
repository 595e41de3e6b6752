"""Main memory and disk."""

from dataclasses import replace

import pytest

from holderpo.memory.host_memory import (
    COPIES,
    ENGINES,
    FIRST_ADAPTERS,
    GPU_PROCESS,
    LOADING,
    LOADING_REFERENCE,
    OFFLOADED,
    PROCESS,
    REFERENCE,
    TRAINING,
    Adapters,
    checkpoint_bytes,
    host_memory,
    pinned_bytes,
)
from holderpo.memory.sizes import GIB, Reference
from tests.holderpo.memory.setups import MEASURED, ON_FOUR, QWEN25_1_5B, QWEN25_7B

CONTENTS = ("model", "optimizer", "extra")
SMALL, LARGE = QWEN25_1_5B.parameters, QWEN25_7B.parameters
LIVES = {"weights_rest_on_host": True, "optimizer_rests_on_host": True, "lives_on_host": True}


def moments(shape=QWEN25_7B, machines=1, adapters=None, **changes):
    training = replace(ON_FOUR, **changes)
    return host_memory(shape, training, machines=machines, processes=0, adapters=adapters).moments


def loaded(shape=QWEN25_7B, **changes):
    return moments(shape, **changes)[LOADING][COPIES]


def offloaded(**changes):
    return moments(**changes)[TRAINING][OFFLOADED]


def test_every_rank_loads_a_model_whose_output_layer_is_the_embedding():
    assert loaded(QWEN25_1_5B) == 4 * 4 * SMALL
    assert loaded(QWEN25_1_5B, machines=2) == 2 * 4 * SMALL
    assert loaded() == 4 * LARGE


@pytest.mark.parametrize(
    ("gpus", "shards", "machines", "copies"),
    [
        (8, 8, 1, 1),
        (16, 16, 2, 1),
        # The first rank of each group of shards.
        (8, 4, 1, 2),
        (16, 4, 2, 2),
        (8, 1, 1, 8),
        (16, 16, 4, 1),
    ],
)
def test_else_the_first_rank_of_each_copy_loads_it(gpus, shards, machines, copies):
    assert loaded(gpus=gpus, shards=shards, machines=machines) == copies * 4 * LARGE


def test_pinned_tensors_are_rounded_up_to_a_power_of_two():
    # One GPU: each matrix alone, 28.4 GiB of numbers.
    assert pytest.approx(28.4, abs=0.1) == 4 * LARGE / GIB
    assert pinned_bytes(QWEN25_7B, 1, 4) / GIB == pytest.approx(53.9, abs=0.1)
    shape = replace(QWEN25_7B, tensors=((1000, 10, 2), (3, 1, 1)))
    assert pinned_bytes(shape, 1, 4) == 2 * 65_536 + 16
    # Cut along the rows, the last part filled up: 334 rows, and one.
    assert pinned_bytes(shape, 3, 4) == 2 * 16_384 + 4
    # A power of two is left as it is.
    assert pinned_bytes(replace(shape, tensors=((1024, 1, 1),)), 2, 4) == 2048


def test_a_layer_is_one_tensor_to_fsdp1():
    flat = pinned_bytes(QWEN25_7B, 4, 4, flat=True)
    # Layers of 233 million numbers and 1,090 million around them: 222 and 1,040 MiB each rank.
    assert flat == 28 * 2**28 + 2**31
    assert offloaded(weights_rest_on_host=True, strategy="fsdp") == 4 * flat


def test_what_is_offloaded_stays_in_pinned_memory():
    weights = 4 * pinned_bytes(QWEN25_7B, 4, 4)
    assert offloaded() == 0
    assert offloaded(weights_rest_on_host=True) == weights
    assert offloaded(optimizer_rests_on_host=True) == 2 * weights
    assert offloaded(optimizer_rests_on_host=True, machines=2) == weights
    halves = {"weight_bytes": 2, "state_bytes": 4}
    assert offloaded(optimizer_rests_on_host=True, **halves) == weights
    assert offloaded(optimizer_rests_on_host=True, state_bytes=2) == weights // 2
    assert offloaded(optimizer_rests_on_host=True, state_bytes=0) == 0


def test_what_lives_there_has_gradients_and_a_state_that_is_not_pinned():
    weights = 4 * pinned_bytes(QWEN25_7B, 4, 4)
    assert offloaded(**LIVES) == 2 * weights + 8 * LARGE
    # While it is loaded, too, beside the whole model and each rank's part as it came.
    parts = moments(**LIVES)[LOADING]
    assert parts[OFFLOADED] == weights
    assert parts[COPIES] == 2 * 4 * LARGE


def test_the_reference_model_is_loaded_first_and_stays():
    reference = Reference(number_bytes=4, shards=4)
    made = moments(reference=reference)
    pinned = 4 * pinned_bytes(QWEN25_7B, 4, 4)
    first, then, later = (made[name] for name in (LOADING_REFERENCE, LOADING, TRAINING))
    assert (first[COPIES], first[REFERENCE]) == (2 * 4 * LARGE, pinned)
    assert (then[COPIES], then[REFERENCE]) == (4 * LARGE, pinned)
    assert later[REFERENCE] == pinned
    # A small one beside a large actor: the actor's loading is what counts.
    small = replace(ON_FOUR, reference=Reference(2, shards=4))
    host = host_memory(QWEN25_1_5B, small, machines=1, processes=0)
    assert host.peak == host.sums[LOADING] > host.sums[LOADING_REFERENCE]
    # By its own groups of shards, each of which loads it.
    alone = moments(reference=Reference(4, shards=1))[LOADING_REFERENCE]
    assert alone[COPIES] == 4 * 4 * LARGE + 4 * 4 * LARGE


def test_processes_are_there_in_every_moment():
    with_reference = replace(ON_FOUR, reference=Reference(2, shards=4))
    host = host_memory(QWEN25_7B, with_reference, machines=1, processes=5)
    for name, held in host.sums.items():
        rest = sum(size for part, size in host.moments[name].items() if part != "processes")
        assert held == rest + 5 * PROCESS + 4 * GPU_PROCESS


def test_adapters_leave_the_engines_weights_in_main_memory_and_collect_all_once():
    shape = replace(QWEN25_7B, adapter_parameters=1000)
    engines = 4 * pinned_bytes(QWEN25_7B, 2, 2)
    made = moments(shape, adapters=Adapters(2, 2, sends_weights=True))
    assert made[TRAINING][ENGINES] == engines
    # All weights in float32, in each rank.
    assert made[FIRST_ADAPTERS][COPIES] == 4 * 4 * (LARGE + 1000)
    assert made[FIRST_ADAPTERS][ENGINES] == engines
    assert FIRST_ADAPTERS not in moments(shape, adapters=Adapters(2, 2, sends_weights=False))
    # Only the adapters' state is offloaded, in many small tensors.
    assert moments(shape, optimizer_rests_on_host=True)[TRAINING][OFFLOADED] == 8 * 1000


def test_the_largest_part_is_that_of_the_largest_moment():
    host = host_memory(QWEN25_7B, replace(ON_FOUR, **LIVES), machines=1, processes=0)
    assert (host.peak, host.largest_part) == (host.sums[TRAINING], OFFLOADED)
    assert host_memory(QWEN25_1_5B, ON_FOUR, machines=1, processes=0).largest_part == COPIES


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
