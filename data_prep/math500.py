"""MATH500: the 500 problems of MATH that are usually evaluated on."""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, Hub, MathSet, Repository

SET = MathSet(
    name="math500",
    split="test",
    expected_rows=500,
    hub=Hub(
        id="HuggingFaceH4/MATH-500",
        split="test",
        revision="ff5b20257d8185524591543f8ff5993951537bb8",
    ),
    repository=Repository(
        id=ORIGIN,
        path="datasets/evaluation_suite/math",
        revision=ORIGIN_COMMIT,
        checked=True,
    ),
    licence="MIT",  # Of MATH (github.com/hendrycks/math); the hub's page states none.
    file_names=("math",),
    fingerprint="7bd2dad37dc3e31e",
)


if __name__ == "__main__":
    run(SET)
