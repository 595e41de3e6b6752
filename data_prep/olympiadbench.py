"""OlympiadBench: the 675 open-ended English text problems of mathematics."""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, MathSet, Repository

SET = MathSet(
    name="olympiadbench",
    split="test",
    expected_rows=675,
    # Copies on the hub have 674 rows; none is known to have the paper's 675.
    repository=Repository(
        id=ORIGIN,
        path="datasets/evaluation_suite/olympiad_bench",
        revision=ORIGIN_COMMIT,
        checked=True,
    ),
    licence="Apache-2.0",  # Of the hub's Hothan/OlympiadBench.
    file_names=("olympiad_bench", "olympiad"),
    fingerprint="adf0720e52f2aaee",
)


if __name__ == "__main__":
    run(SET)
