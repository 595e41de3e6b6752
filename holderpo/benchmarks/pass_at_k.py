"""The unbiased estimate of pass@k."""

from __future__ import annotations

from math import comb


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Probability that at least one of ``k`` answers to a problem is right.

    Of the ``n`` answers given, ``c`` are right; the share of the subsets of ``k`` of them with a
    right one is ``1 - C(n - c, k) / C(n, k)``, whose expectation is pass@k whatever ``n >= k`` is.
    Counted in whole numbers and divided once, so the result is the closest float.

    **Source**: Chen et al. (2021), *Evaluating large language models trained on code*, Eq. 1.

    Args:
        num_samples: n, answers given, at least 1.
        num_correct: c, right ones among them, 0 to n.
        k: answers that may be tried, 1 to n.

    Returns:
        The estimate, 0 to 1; ``c / n`` for k = 1.

    Raises:
        ValueError: if the numbers do not fit.
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"k: {k} of {num_samples} samples; give 1 to the number of samples")
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct: {num_correct} of {num_samples} samples")
    subsets = comb(num_samples, k)
    return (subsets - comb(num_samples - num_correct, k)) / subsets
