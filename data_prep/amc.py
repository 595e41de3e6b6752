"""AMC 12 of 2022 and 2023 with whole numbers as answers: the 83 problems of the paper's Table 2.

The 40-problem set of Tables 6 and 7 is another one: :mod:`data_prep.amc23`.
"""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, Hub, MathSet, Repository

SET = MathSet(
    name="amc",
    split="test",
    expected_rows=83,
    hub=Hub(
        id="AI-MO/aimo-validation-amc",
        split="train",
        revision="8ef249608d65c2de7763ca7525f438e540ba285e",
    ),
    repository=Repository(
        id=ORIGIN,
        path="datasets/evaluation_suite/amc",
        revision=ORIGIN_COMMIT,
        checked=True,
    ),
    licence="Apache-2.0",
    # Some copies carry the other set's name.
    file_names=("amc23",),
    fingerprint="1c8c8a225b7fd3b8",
)


if __name__ == "__main__":
    run(SET)
