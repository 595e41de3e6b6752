"""Reward for mathematical answers, as a custom reward function of verl.

``reward.custom_reward_function: {path: pkg://holderpo.rewards.math, name: compute_score}``
"""

from __future__ import annotations

import warnings
from typing import Any

from holderpo.grading.grader import DEFAULT_TIMEOUT_SECONDS, Status, agrade

# Statuses without a verdict; each is a key of the result, 0 or 1, and on average a share.
FAILURES = (Status.NO_ANSWER, Status.UNPARSEABLE, Status.TIMEOUT, Status.ERROR)


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    **_: Any,
) -> dict[str, float]:
    r"""1 if the last boxed or tagged answer equals a ground truth, else 0.

    A coroutine, which verl awaits in its reward worker; the symbolic comparison runs in processes
    of their own, so that no answer can stop the worker. It never raises: verl would count the
    whole prompt group as failed. What would have raised is warned of and counts as ``error``.

    Args:
        data_source: name of the data set (unused).
        solution_str: the response, without the prompt.
        ground_truth: one gold answer or several, any of which is right.
        extra_info: the row's extra information (unused).
        timeout_seconds: wall clock of one answer; ``reward.custom_reward_function.reward_kwargs``.

    Returns:
        ``score`` and ``acc``, both 0 or 1, and as 0 or 1 why there was no verdict: ``no_answer``,
        ``unparseable``, ``timeout``, ``error``. Always the same keys.
    """
    try:
        verdict = await agrade(solution_str, ground_truth, timeout_seconds=timeout_seconds)
        score, status = verdict.score, verdict.status
    except Exception as error:
        warnings.warn(f"not graded ({data_source}): {error}", RuntimeWarning, stacklevel=1)
        score, status = 0.0, Status.ERROR
    failures = {failure.value: float(status is failure) for failure in FAILURES}
    return {"score": score, "acc": score, **failures}
