"""The answer is the last complete box or closed pair of answer tags of the response."""

import time

import pytest

from holderpo.grading.answer_text import SEARCHED_CHARACTERS, extract_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        # Boxes.
        ("so \\boxed{18}", "18"),
        ("so $\\boxed{ 18 }$.", "18"),
        ("so \\fbox{18}", "18"),
        ("so \\boxed {18}", "18"),
        ("so \\boxed\n{18}", "18"),
        ("so \\\\boxed{18}", "18"),
        ("so \\boxed 18", "18"),
        ("so \\boxed -5.", "-5"),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("\\boxed{\\left\\{1,2\\right\\}}", "\\left\\{1,2\\right\\}"),
        ("\\boxed{\\{1, 2\\}} and {", "\\{1, 2\\}"),
        ("\\boxed{a}{b}", "a"),
        ("{{{ \\boxed{5}", "5"),
        ("}}} \\boxed{5}", "5"),
        ("\\boxed{1\n2}", "1\n2"),
        # The last one counts.
        ("\\boxed{3}. Wait, recheck: \\boxed{4}", "4"),
        ("\\boxed{3}\\boxed{4}", "4"),
        ("\\boxed{3} or \\fbox{4}", "4"),
        ("\\boxed{4} Check: 2 + 2 = 4, not 5.", "4"),
        ("\\boxed{\\text{first } \\boxed{4}}", "\\text{first } \\boxed{4}"),
        # What is cut off or empty.
        ("so \\boxed{18", None),
        ("so \\boxed{\\frac{1}{2}", None),
        ("so \\boxed{18\\}", None),
        ("\\boxed{4}. Again: \\boxed{5", "4"),
        ("\\boxed{\\boxed{5}", "5"),
        ("18 \\boxed{}", None),
        ("\\boxed{18} and \\boxed{}", None),
        ("\\boxed{ }", None),
        ("\\boxed", None),
        # Tags.
        ("so <answer>18</answer>", "18"),
        ("so <ANSWER> 18 </Answer>", "18"),
        ("<answer>\\boxed{18}</answer>", "18"),
        ("<answer>so 18, that is \\boxed{19}</answer>", "19"),
        ("\\boxed{<answer>18</answer>}", "18"),
        ("<answer>17</answer> no: \\boxed{18}", "18"),
        ("\\boxed{17} no: <answer>18</answer>", "18"),
        ("<answer>17</answer><answer>18</answer>", "18"),
        ("<answer>17</answer> so </answer>", "17"),
        ("<answer>17</answer> <answer>18", "17"),
        ("<answer> a <answer>18</answer>", "18"),
        ("<answer>18", None),
        ("18</answer>", None),
        ("</answer>18<answer>", None),
        ("<answer></answer>", None),
        ("\\boxed{18} <answer> </answer>", None),
        # Nothing else is an answer.
        ("The answer is 18.", None),
        ("#### 18", None),
        ("boxed{18}", None),
        ("$18$", None),
        ("", None),
    ],
)
def test_extracts(response, answer):
    assert extract_answer(response) == answer


def test_searches_only_the_end_of_a_long_response():
    assert extract_answer("x" * 10**6 + "\\boxed{5}") == "5"
    assert extract_answer("\\boxed{5}" + "x" * SEARCHED_CHARACTERS) is None
    assert extract_answer("\\boxed{5}" + "x" * (SEARCHED_CHARACTERS - 9)) == "5"


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{1}" * 50_000,
        "\\boxed{" * 100_000,
        "\\boxed{" * 50_000 + "1" + "}" * 50_000,
        "{" * 500_000 + "}" * 500_000,
        "\\" * 10**6,
        "\\boxed" + " " * 10**6,
        "\\boxed 1" * 100_000,
        "<answer>" * 100_000,
        "<answer>1</answer>" * 50_000,
        "</answer>" * 100_000,
        "é中\U0001f600" * 300_000,
    ],
    ids=lambda response: ascii(response[:12]),
)
def test_a_megabyte_takes_no_time(response):
    start = time.process_time()
    extract_answer(response)
    assert time.process_time() - start < 1
