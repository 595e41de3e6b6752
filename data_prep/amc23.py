"""AMC 2023: the 40 problems of the paper's Tables 6 and 7.

The 83 problems of Table 2 are another set: :mod:`data_prep.amc`.
"""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import Hub, MathSet

SET = MathSet(
    name="amc23",
    split="test",
    expected_rows=40,
    hub=Hub(id="math-ai/amc23", split="test"),
)


if __name__ == "__main__":
    run(SET)
