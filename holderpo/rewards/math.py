"""Reward for mathematical answers, by math-verify."""

from __future__ import annotations

from typing import Any

from math_verify import LatexExtractionConfig, parse, verify


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
) -> dict[str, float]:
    r"""1 if the last boxed answer of the response equals the ground truth, else 0.

    math-verify's own time limits are off: they work by signal, which fails outside a process's
    main thread, where reward functions run.

    Args:
        data_source: name of the data set (unused).
        solution_str: the response; only an answer in ``\\boxed{}`` counts.
        ground_truth: the answer as LaTeX or plain text.
        extra_info: the row's extra information (unused).

    Returns:
        ``score`` and ``acc``, both 0 or 1, as verl's reward manager takes them.
    """
    start = solution_str.rfind("\\boxed")
    if start < 0:
        return {"score": 0.0, "acc": 0.0}
    extraction = [LatexExtractionConfig(boxed_match_priority=0)]
    gold = parse(f"\\boxed{{{ground_truth}}}", extraction, parsing_timeout=None)
    answer = parse(solution_str[start:], extraction, parsing_timeout=None)
    score = float(verify(gold, answer, timeout_seconds=None))
    return {"score": score, "acc": score}
