"""AIME 2025: 30 problems, of the paper's Tables 6 and 7."""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import Hub, MathSet

SET = MathSet(
    name="aime25",
    split="test",
    expected_rows=30,
    # The id that the code released with the paper builds its evaluation set from.
    hub=Hub(id="yentinglin/aime_2025", split="train"),
    fingerprint="cf92fd8cd2878972",
)


if __name__ == "__main__":
    run(SET)
