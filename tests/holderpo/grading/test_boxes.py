"""The answer is the last run of closed boxes or the last closed pair of tags."""

import asyncio
import time

import pytest

from holderpo.grading import Status, grade
from holderpo.grading.boxes import SEARCHED_CHARACTERS, extract_answer
from holderpo.rewards.math import compute_score


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
        ("\\boxed{4} Check: 2 + 2 = 4, not 5.", "4"),
        ("\\boxed{\\text{first } \\boxed{4}}", "\\text{first } \\boxed{4}"),
        # What is cut off or empty.
        ("so \\boxed{18", None),
        ("so \\boxed{\\frac{1}{2}", None),
        ("so \\boxed{18\\}", None),
        ("\\boxed{4}. Again: \\boxed{5", None),
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
        "\\boxed{1}, " * 50_000,
        "".join(f"\\boxed{{{n}}} and " for n in range(40_000)) + "\\boxed{0}",
        "\\boxed{1}" + " " * 10**6 + "\\boxed{2}",
        "\\boxed{1}" + "\\quad" * 10**5 + "\\boxed{2}",
        "\\boxed{1}" + "$ " * 10**5 + "\\boxed{2}",
        "\\boxed{1}" + "\\text{ " * 10**5 + "\\boxed{2}",
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


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        # Only a comma, "and", "or" or blanks between them.
        ("\\boxed{2}, \\boxed{3}", "2, 3"),
        ("\\boxed{2},\\boxed{3}", "2, 3"),
        ("\\boxed{2} , \\boxed{3}", "2, 3"),
        ("\\boxed{2}; \\boxed{3}", "2, 3"),
        ("\\boxed{2}\\boxed{3}", "2, 3"),
        ("\\boxed{2} \\boxed{3}", "2, 3"),
        ("\\boxed{2}\n\n\\boxed{3}", "2, 3"),
        ("\\boxed{2}\t\\boxed{3}", "2, 3"),
        ("\\boxed{2} and \\boxed{3}", "2, 3"),
        ("\\boxed{2}, and \\boxed{3}", "2, 3"),
        ("\\boxed{2} And \\boxed{3}", "2, 3"),
        ("\\boxed{2} or \\boxed{3}", "2, 3"),
        ("\\boxed{3} or \\fbox{4}", "3, 4"),
        ("\\boxed{2} & \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\& \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\text{ and } \\boxed{3}", "2, 3"),
        ("\\boxed{2}\\text{ or }\\boxed{3}", "2, 3"),
        ("\\boxed{2} \\mbox{and} \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\mathrm{~and~} \\boxed{3}", "2, 3"),
        ("\\boxed{2}\\text{, }\\boxed{3}", "2, 3"),
        ("\\boxed{2}\\text{, and }\\boxed{3}", "2, 3"),
        ("\\boxed{2},\\ \\boxed{3}", "2, 3"),
        ("\\boxed{2},\\,\\boxed{3}", "2, 3"),
        ("\\boxed{2}\\quad\\boxed{3}", "2, 3"),
        ("\\boxed{2}, \\quad \\text{and} \\quad \\boxed{3}", "2, 3"),
        ("\\boxed{2}~\\boxed{3}", "2, 3"),
        ("\\boxed{2} \\\\ \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\newline \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\land \\boxed{3}", "2, 3"),
        ("\\boxed{2} \\lor \\boxed{3}", "2, 3"),
        ("$\\boxed{2}$, $\\boxed{3}$", "2, 3"),
        ("$\\boxed{2}$ and $\\boxed{3}$.", "2, 3"),
        ("$\\boxed{2}$ or $\\boxed{3}$", "2, 3"),
        ("$\\boxed{2}$ $\\boxed{3}$", "2, 3"),
        ("$$\\boxed{2}$$\n$$\\boxed{3}$$", "2, 3"),
        ("\\(\\boxed{2}\\) and \\(\\boxed{3}\\)", "2, 3"),
        ("\\[\\boxed{2}\\]\n\\[\\boxed{3}\\]", "2, 3"),
        ("**\\boxed{2}** and **\\boxed{3}**", "2, 3"),
        ("\\boxed{1}, \\boxed{2}, \\boxed{3}", "1, 2, 3"),
        ("\\boxed{1}, \\boxed{2}, and \\boxed{3}", "1, 2, 3"),
        ("\\boxed{1} \\boxed{2} \\boxed{3} \\boxed{4}", "1, 2, 3, 4"),
        ("\\fbox{2}, \\boxed{3}", "2, 3"),
        ("\\boxed 2, \\boxed 3", "2, 3"),
        ("\\boxed{2} and \\boxed 3", "2, 3"),
        ("\\boxed 2 and \\boxed{3}", "2, 3"),
        ("\\boxed{x=2}, \\boxed{y=3}", "x=2, y=3"),
        ("\\boxed{(1,2)}, \\boxed{(3,4)}", "(1,2), (3,4)"),
        ("\\boxed{1,2}, \\boxed{3}", "1,2, 3"),
        ("\\boxed{\\frac{1}{2}} and \\boxed{\\sqrt{3}}", "\\frac{1}{2}, \\sqrt{3}"),
        # A thousands separator is no comma between parts.
        ("\\boxed{1,234}, \\boxed{5}", "1234, 5"),
        ("\\boxed{2}, \\boxed{345}", "2, 345"),
        ("\\boxed{1} \\boxed{000}", "1, 000"),
        # The same answer twice is that answer.
        ("\\boxed{2} \\boxed{2}", "2"),
        ("\\boxed{2}\n\n\\boxed{2}", "2"),
        ("\\boxed{2}, \\boxed{2}, \\boxed{2}", "2"),
        ("\\boxed{2} and \\boxed{ 2 }", "2"),
        ("\\boxed{2}, \\boxed{3}, \\boxed{2}", "2, 3"),
        ("\\boxed{0.5} \\boxed{\\frac12}", "0.5"),
        ("\\boxed{\\dfrac{1}{2}}\\boxed{\\frac{1}{2}}", "\\dfrac{1}{2}"),
        ("\\boxed{1,2} \\boxed{2,1}", "1,2"),
        ("\\boxed{x = 5}, \\boxed{5}", "x = 5"),
        # Anything more between them starts anew.
        ("\\boxed{2}. \\boxed{3}", "3"),
        ("\\boxed{2}. And \\boxed{3}", "3"),
        ("\\boxed{2}, no, \\boxed{3}", "3"),
        ("\\boxed{2}, not \\boxed{3}", "3"),
        ("\\boxed{2}, then \\boxed{3}", "3"),
        ("\\boxed{2} = \\boxed{3}", "3"),
        ("\\boxed{2} + \\boxed{3}", "3"),
        ("\\boxed{2}: \\boxed{3}", "3"),
        ("\\boxed{2}, x = \\boxed{3}", "3"),
        ("\\boxed{2} and so \\boxed{3}", "3"),
        ("\\boxed{2} 5 \\boxed{3}", "3"),
        ("\\boxed{2} \\to \\boxed{3}", "3"),
        ("\\boxed{2} android \\boxed{3}", "3"),
        ("\\boxed{2} and/or \\boxed{3}", "3"),
        ("\\boxed{2} and or \\boxed{3}", "3"),
        ("\\boxed{2},, \\boxed{3}", "3"),
        ("\\boxed{1}, \\boxed{2}. So \\boxed{3}", "3"),
        ("\\boxed{3}. So \\boxed{1}, \\boxed{2}", "1, 2"),
        ("\\boxed{3} So \\boxed{1} and \\boxed{2} hold.", "1, 2"),
        ("\\boxed{1}, \\boxed{2}.\n\nFinal: \\boxed{3}, \\boxed{4}.", "3, 4"),
        # What is empty.
        ("\\boxed{}, \\boxed{3}", "3"),
        ("\\boxed{3}, \\boxed{}", None),
        ("\\boxed{3}, \\boxed{ }", None),
        ("\\boxed{}, \\boxed{}", None),
        # Within others.
        ("<answer>\\boxed{2}, \\boxed{3}</answer>", "2, 3"),
        ("<answer>$\\boxed{2}$ and $\\boxed{3}$</answer>", "2, 3"),
        ("\\boxed{<answer>2</answer>}", "2"),
        ("\\boxed{2}, <answer>3</answer>", "3"),
        ("<answer>2</answer>, \\boxed{3}", "3"),
        ("<answer>2</answer>, <answer>3</answer>", "3"),
        ("\\boxed{\\boxed{2}, \\boxed{3}}", "\\boxed{2}, \\boxed{3}"),
        ("\\boxed{1}, \\boxed{\\boxed{2}}", "1, \\boxed{2}"),
        ("{\\boxed{2}}, {\\boxed{3}}", "2, 3"),
    ],
)
def test_adjacent_boxes_are_one_list(response, answer):
    assert extract_answer(response) == answer
    assert extract_answer(f"First \\boxed{{7}}. So {response}") == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{4}, so \\boxed{4", None),
        ("\\boxed{4}. \\boxed{\\frac{1}{2}", None),
        ("\\boxed{4} \\boxed{4", None),
        ("\\boxed{4}, \\boxed{", None),
        ("\\boxed{4}\\boxed {", None),
        ("\\boxed{4}. So \\fbox{4", None),
        ("\\boxed{4}. So \\\\boxed{4", None),
        ("\\boxed{4}. So \\boxed", None),
        ("\\boxed{4}. So \\boxed ", None),
        ("\\boxed{4}. So $\\boxed{4\\}$", None),
        ("\\boxed{4}, \\boxed{5}, \\boxed{6", None),
        ("\\boxed{4} \\boxed{{5}", None),
        ("\\boxed{4} \\boxed{5 and then {6}", None),
        ("\\boxed 4. So \\boxed{4", None),
        ("<answer>4</answer> So \\boxed{4", None),
        ("<answer>\\boxed{4}</answer> \\boxed{5", None),
        ("<answer>\\boxed{4} and \\boxed{5</answer>", None),
        ("\\boxed{\\boxed{4} and \\boxed{5", None),
        # A later one that closes is the answer.
        ("\\boxed{4, no: \\boxed{5}", "5"),
        ("\\boxed{4. Again: \\boxed{5}, \\boxed{6}", "5, 6"),
        ("\\boxed{4. Again: \\boxed 5", "5"),
        ("\\boxed{4. Again: <answer>5</answer>", "5"),
        # The word alone is no box.
        ("\\boxed{4} is boxed{", "4"),
        ("\\boxed{4} {", "4"),
        ("\\boxed{4} \\text{5", "4"),
        ("I write it in \\boxed as \\boxed{4}.", "4"),
        ("\\boxed{4} \\boxedx{5", "4"),
    ],
)
def test_a_last_box_that_never_closes_is_no_answer(response, answer):
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "gold", "status"),
    [
        ("\\boxed{2}, \\boxed{3}", "2,3", Status.CORRECT),
        ("$\\boxed{3}$ and $\\boxed{2}$", "\\{2,3\\}", Status.CORRECT),
        ("\\boxed{2} or \\boxed{3}", "3", Status.WRONG),
        ("\\boxed{2} \\boxed{3}", "3", Status.WRONG),
        ("\\boxed{2}, \\boxed{3}", "2", Status.WRONG),
        ("\\boxed{3} \\boxed{3}", "3", Status.CORRECT),
        ("\\boxed{1}, \\boxed{2}, \\boxed{3}", "1,2,3", Status.CORRECT),
        ("\\boxed{1}, \\boxed{2}, \\boxed{3}", "1,2", Status.WRONG),
        ("\\boxed{x=2}, \\boxed{y=3}", "(2,3)", Status.CORRECT),
        ("\\boxed{(1,2)}, \\boxed{(3,4)}", "(3,4),(1,2)", Status.CORRECT),
        ("\\boxed{1,234}, \\boxed{5}", "5, 1234", Status.CORRECT),
        ("\\boxed{2}, \\boxed{345}", "2345", Status.WRONG),
        ("\\boxed{A}, \\boxed{B}", "A", Status.WRONG),
        ("\\boxed{\\boxed{2}, \\boxed{3}}", "2,3", Status.CORRECT),
        ("<answer>\\boxed{2}, \\boxed{3}</answer>", "2,3", Status.CORRECT),
        ("\\boxed{\\sqrt{4}}, \\boxed{3}", "2,3", Status.CORRECT),
        ("\\boxed{4}, \\boxed{4", "4", Status.NO_ANSWER),
        ("\\boxed{4}. So \\boxed", "4", Status.NO_ANSWER),
        ("\\boxed{5k}, where $k$ is an integer, \\boxed{4", "5k", Status.NO_ANSWER),
    ],
)
def test_grader_and_reward_agree_about_them(response, gold, status):
    assert grade(response, gold).status is status
    result = asyncio.run(compute_score("math", response, gold))
    assert result["score"] == float(status is Status.CORRECT)
    assert result["no_answer"] == float(status is Status.NO_ANSWER)
