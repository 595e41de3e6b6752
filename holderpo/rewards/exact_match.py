"""Reward for answers that must match character by character."""

from __future__ import annotations

from typing import Any


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
) -> dict[str, float]:
    """1 if the response is the answer, apart from blanks around it, else 0.

    Args:
        data_source: name of the data set (unused).
        solution_str: the response.
        ground_truth: the answer.
        extra_info: the row's extra information (unused).

    Returns:
        ``score`` and ``acc``, both 0 or 1, as verl's reward manager takes them.
    """
    score = float(solution_str.strip() == ground_truth.strip())
    return {"score": score, "acc": score}
