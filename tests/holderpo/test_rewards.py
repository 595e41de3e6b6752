"""Rewards as verl's reward loop calls them: by keyword, off the main thread."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest

from holderpo.rewards import exact_match, math


def score(module, response, gold):
    call = {"data_source": "x", "solution_str": response, "ground_truth": gold, "extra_info": {}}
    function = module.compute_score
    if inspect.iscoroutinefunction(function):
        result = asyncio.run(function(**call))
    else:
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(lambda: function(**call)).result()
    assert result["score"] == result["acc"]
    return result["score"]


@pytest.mark.parametrize(
    ("response", "expected"), [("16 13", 1.0), (" 16 13 ", 1.0), ("16 1", 0.0), ("", 0.0)]
)
def test_exact_match(response, expected):
    assert score(exact_match, response, "16 13") == expected


@pytest.mark.parametrize(
    ("response", "gold", "expected"),
    [
        ("so \\boxed{18}", "18", 1.0),
        ("so \\boxed{\\frac{1}{2}}", "0.5", 1.0),
        ("\\boxed{3}. Wait: \\boxed{4}", "4", 1.0),
        ("\\boxed{4}. Wait: \\boxed{3}", "4", 0.0),
        ("The answer is 18.", "18", 0.0),
        ("\\boxed{", "18", 0.0),
        ("", "18", 0.0),
        ("\\boxed{1,000}", "1000", 1.0),
    ],
)
def test_math(response, gold, expected):
    assert score(math, response, gold) == expected
