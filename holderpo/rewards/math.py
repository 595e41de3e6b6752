"""Reward for mathematical answers, as a custom reward function of verl.

``reward.custom_reward_function: {path: pkg://holderpo.rewards.math, name: compute_score}``
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holderpo.rewards.grading import DEFAULT_TIMEOUT_SECONDS, agrade
from holderpo.rewards.verdict import Status


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Iterable[str],
    extra_info: Any = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    **_: Any,
) -> dict[str, float]:
    r"""1 if the last boxed or tagged answer equals a ground truth, else 0.

    A coroutine, which verl awaits in its reward worker; the symbolic comparison runs in processes
    of their own, so that no answer can stop the worker. It never raises: verl would count the
    whole prompt group as failed.

    Args:
        data_source: name of the data set (unused).
        solution_str: the response, without the prompt.
        ground_truth: one gold answer or several, any of which is right.
        extra_info: the row's extra information (unused).
        timeout_seconds: wall clock of one answer; ``reward.custom_reward_function.reward_kwargs``.

    Returns:
        ``score`` and ``acc``, both 0 or 1, and as 0 or 1 why there was no verdict: ``no_answer``,
        ``unparseable``, ``grader_timeout``, ``grader_error``. Always the same keys.
    """
    golds = ground_truth if isinstance(ground_truth, str) else [str(each) for each in ground_truth]
    try:
        verdict = await agrade(solution_str, golds, timeout_seconds=timeout_seconds)
        score, status = verdict.score, verdict.status
    except Exception:
        score, status = 0.0, Status.ERROR
    return {
        "score": score,
        "acc": score,
        "no_answer": float(status is Status.NO_ANSWER),
        "unparseable": float(status is Status.UNPARSEABLE),
        "grader_timeout": float(status is Status.TIMEOUT),
        "grader_error": float(status is Status.ERROR),
    }
