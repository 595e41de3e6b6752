"""GSM8K: 7,473 training and 1,319 test problems of grade school."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_prep.command import (
    add_options,
    clear_errors,
    ensure_tiny_model,
    prepare_folder,
    settings_of,
)
from data_prep.math_set import Hub, MathSet, Row

HUB_ID = "openai/gsm8k"


def final_answer(row: Row) -> str:
    """What follows ``####`` in the answer, or all of it, without thousands commas."""
    return str(row["answer"]).rpartition("####")[2].strip().replace(",", "")


TRAIN = MathSet(
    name="gsm8k",
    split="train",
    expected_rows=7473,
    hub=Hub(id=HUB_ID, config="main", split="train"),
    licence="MIT",
    file_names=("gsm8k_train",),
    read_answer=final_answer,
    fingerprint="cd26cb424a971c42",
    template="chat",
)
SET = MathSet(
    name="gsm8k",
    split="test",
    expected_rows=1319,
    hub=Hub(id=HUB_ID, config="main", split="test"),
    licence="MIT",
    file_names=("gsm8k_test",),
    read_answer=final_answer,
    fingerprint="047b3be6673c3c30",
    template="chat",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write GSM8K's train and test rows, and a tiny random model to try them with."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.gsm8k", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/gsm8k"))
    parser.add_argument("--source", type=Path, help=f"folder (default: {HUB_ID} of the hub)")
    parser.add_argument("--train", type=Path, help="file instead of the hub's train split")
    parser.add_argument("--test", type=Path, help="file instead of the hub's test split")
    add_options(parser, default_template=TRAIN.template)
    options = parser.parse_args(arguments)
    with clear_errors():
        sources = {SET: options.test or options.source, TRAIN: options.train or options.source}
        prepare_folder(sources, options.folder, settings_of(options))
        ensure_tiny_model(options.folder / "tiny_model")


if __name__ == "__main__":
    main()
