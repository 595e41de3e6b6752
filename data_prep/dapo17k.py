"""DAPO-Math-17k and training sets in its form: a prompt, and the answer as ``ground_truth``.

The instruction that DAPO puts around each problem is taken off: the template gives its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.command import run
from data_prep.math_set import Hub, MathSet, Row, first_field


def dapo_answer(row: Row) -> Any:
    """``ground_truth`` of the reward model, or the field ``solution`` or ``answer`` beside it."""
    reward_model = row.get("reward_model")
    if isinstance(reward_model, Mapping) and "ground_truth" in reward_model:
        return reward_model["ground_truth"]
    return first_field(row, ("answer", "solution", "ground_truth"))


SET = MathSet(
    name="dapo17k",
    split="train",
    # Copies differ: 17 thousand problems after duplicates are removed, 1.8 million rows before.
    expected_rows=None,
    hub=Hub(id="open-r1/DAPO-Math-17k-Processed", config="all", split="train"),
    licence="Apache-2.0",  # Of BytedTsinghua-SIA/DAPO-Math-17k, which it is made from.
    file_names=("dapo-math-17k", "DAPO-Math-17k"),
    read_answer=dapo_answer,
)


if __name__ == "__main__":
    run(SET)
