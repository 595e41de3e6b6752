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


@pytest.mark.parametrize(
    ("response", "gold", "failure"),
    [
        ("so 18", "18", "no_answer"),
        ("\\boxed{#}", "18", "unparseable"),
        ("\\boxed{\\sum_{n=1}^{10^9} \\frac{1}{n^2}}", "18", "timeout"),
        ("\\boxed{18}", [], "error"),
        ("\\boxed{18}", "18", None),
        ("\\boxed{17}", ["18"], None),
    ],
)
def test_math_says_why_there_is_no_verdict_under_the_same_keys_always(response, gold, failure):
    result = asyncio.run(math.compute_score("x", response, gold))
    failures = {key: value for key, value in result.items() if key not in ("score", "acc")}
    expected = dict.fromkeys(("no_answer", "unparseable", "timeout", "error"), 0.0)
    assert failures == expected | ({failure: 1.0} if failure else {})


def test_math_never_raises_and_warns_of_what_would_have():
    with pytest.warns(RuntimeWarning, match=r"not graded .*gsm8k.*response: NoneType"):
        result = asyncio.run(math.compute_score("gsm8k", None, "18", {}, reward_router_address=1))
    assert (result["score"], result["error"]) == (0.0, 1.0)
