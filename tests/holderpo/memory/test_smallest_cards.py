"""The table of docs/gpus.md, worked out anew."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from holderpo.memory.gpu_memory import USABLE, gpu_memory
from holderpo.memory.sizes import GIB
from tests.holderpo.memory.setups import (
    ENGINE,
    ON_FOUR,
    QWEN3_4B,
    QWEN3_8B,
    QWEN25_1_5B,
    QWEN25_7B,
)

PAGE = Path(__file__).parents[3] / "docs/gpus.md"
CARDS = (16, 24, 32, 40, 48, 80, 141, 180)
SHARES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
MODELS = {
    "Qwen2.5-1.5B": QWEN25_1_5B,
    "Qwen3-4B": QWEN3_4B,
    "Qwen2.5-7B": QWEN25_7B,
    "Qwen3-8B": QWEN3_8B,
}


def smallest(shape, gpus):
    """Card in GiB and the largest share for vLLM that fits it."""
    training = replace(ON_FOUR, gpus=gpus, shards=gpus, log_prob_tokens=16_384)
    for card in CARDS:
        for share in SHARES:
            engine = replace(ENGINE, share=share)
            memory = gpu_memory(shape, training, engine, card * GIB)
            if memory.peak <= USABLE * card * GIB and memory.has_room(engine):
                return card, share
    return None


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_cards_are_those_of_the_page(name):
    (row,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    told = [re.fullmatch(r"(\d+) \(.*?([\d.]+)\)", cell.strip()) for cell in row.split("|")]
    found = [None if cell is None else (int(cell[1]), float(cell[2])) for cell in told]
    assert found == [smallest(MODELS[name], gpus) for gpus in (1, 2, 4, 8)]
