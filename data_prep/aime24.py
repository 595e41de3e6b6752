"""AIME 2024: 30 problems, of the paper's Table 2."""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, Hub, MathSet, Repository

SET = MathSet(
    name="aime24",
    split="test",
    expected_rows=30,
    hub=Hub(id="HuggingFaceH4/aime_2024", split="train"),
    repository=Repository(
        id=ORIGIN,
        path="datasets/evaluation_suite/aime",
        revision=ORIGIN_COMMIT,
        checked=True,
    ),
    file_names=("aime",),
    fingerprint="ab159388e8d8c4b0",
)


if __name__ == "__main__":
    run(SET)
