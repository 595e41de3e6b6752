"""Small files of data, and a tokenizer, that the checks accept."""

import functools

from data_prep.parquet import verl_row, write_rows
from data_prep.tiny_model import ascii_tokenizer

# The largest batch of the experiments.
NUM_TRAIN = 128

tokenizer = functools.cache(ascii_tokenizer)


def rows(count, split="train", *, data_source="columns", prompt="1+1=", answer="2", **extra):
    """Rows of one problem; ``extra`` is for their ``extra_info``."""
    return [
        verl_row(
            data_source=data_source,
            prompt=prompt,
            answer=answer,
            split=split,
            index=index,
            extra=extra,
        )
        for index in range(count)
    ]


def write_data(folder):
    """Write ``train.parquet``, ``heldout.parquet`` and a model folder with a tokenizer only."""
    write_rows(folder / "train.parquet", rows(NUM_TRAIN))
    write_rows(folder / "heldout.parquet", rows(2, "heldout"))
    tokenizer().save_pretrained(folder / "model")
