"""MATH, levels 3 to 5: the 8,523 training problems of the paper."""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, MathSet, Repository

SET = MathSet(
    name="math_level3to5",
    split="train",
    expected_rows=8523,
    # No hub id is known to hold this very selection.
    repository=Repository(
        id=ORIGIN,
        path="datasets/train/math_lvl3to5_8k/train",
        revision=ORIGIN_COMMIT,
        checked=False,
    ),
    licence="MIT",  # Of MATH (github.com/hendrycks/math).
    file_names=("math_level3to5_train", "math_lvl3to5_8k"),
    fingerprint="985db9a0cf9340d7",
)


if __name__ == "__main__":
    run(SET)
