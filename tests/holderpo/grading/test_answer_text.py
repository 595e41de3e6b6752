"""The answer is the last complete box or closed pair of tags; both sides get one spelling."""

import time

import pytest

from holderpo.grading.answer_text import SEARCHED_CHARACTERS, clean, clean_gold, extract_answer
from tests.holderpo.grading.math_files import NAMES, stored_answers


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


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("$\\dfrac12$.", "\\frac{1}{2}"),
        ("\\(\\tfrac{1}2\\)", "\\frac{1}{2}"),
        ("{1 \\over 2}", "\\frac{1 }{ 2}"),
        ("½", "\\frac{1}{2}"),
        ("1½", "1 \\frac{1}{2}"),
        ("−5", "-5"),
        ("５", "5"),
        ("x²", "x^2"),
        ("10⁻¹⁹", "10^{-19}"),
        ("52₈", "52_8"),
        ("√2", "\\sqrt{2}"),
        ("√(2)", "\\sqrt{2}"),
        ("sqrt(2)", "\\sqrt{2}"),
        ("\\sqrt12", "\\sqrt{12}"),
        ("32,\\!349", "32,349"),
        ("32{,}349", "32,349"),
        ("32\\,349", "32349"),
        ("32, 349", "32, 349"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "( 3, \\frac{\\pi}{2} )"),
        ("90^{\\circ}", "90^\\circ"),
        ("90°", "90^\\circ"),
        ("25\\%", "25%"),
        ("\\$5", "\\$5"),
        ("\\mathbf{5}", "5"),
        ("\\mathrm{cm}", "\\text{cm}"),
        ("\\boxed{5}", "5"),
        ("**5**", "5"),
        ("\\text{The answer is 5}", "5"),
        ("answer: 5", "5"),
        ("5^{\\text{th}}", "5"),
        ("x \\le 3", "x \\leq 3"),
        ("a\nb", "a b"),
        # A row break of a matrix is no blank.
        (
            "\\begin{pmatrix}1\\\\ 2\\end{pmatrix}",
            "\\begin{pmatrix}1\\\\ 2\\end{pmatrix}",
        ),
        ("", ""),
    ],
)
def test_clean(text, cleaned):
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "fragment",
    ["~", "\\,", "\\ ", " ", "{", "\\text{", "\\frac", "\\sqrt", "^", "1,", "(", "\\over", "."],
)
def test_clean_takes_no_time(fragment):
    text = ("5" + fragment * 2000)[:2000]
    start = time.process_time()
    clean(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("value", "golds"),
    [
        ("18", ["18"]),
        ("  18\n", ["18"]),
        ("$2n$", ["2n"]),
        ("$$2n$$", ["2n"]),
        ("\\$18.90", ["\\$18.90"]),
        ("$\\$18.90$", ["\\$18.90"]),
        ("a\nb", ["a b"]),
        (142.0, ["142"]),
        (142, ["142"]),
        (0.5, ["0.5"]),
        (["9.6\n"], ["9.6"]),
        (["4.5e33\n", "4.5 \\times 10^{33}\n"], ["4.5e33", "4.5 \\times 10^{33}"]),
        (("1", 2.0), ["1", "2"]),
        ("", []),
        (["", "5"], ["5"]),
        ([], []),
    ],
)
def test_clean_gold(value, golds):
    assert clean_gold(value) == golds


@pytest.mark.parametrize("value", [None, True, {"answer": "5"}, b"5", object()])
def test_clean_gold_refuses_what_is_no_answer(value):
    with pytest.raises(TypeError, match=r"answer: .*give a text, a number, or a list"):
        clean_gold(value)


@pytest.mark.parametrize("name", NAMES)
def test_cleaning_golds_twice_changes_nothing(name):
    golds = {gold for stored in stored_answers(name) for gold in clean_gold(stored)}
    assert [gold for gold in golds if clean_gold(gold) != [gold]] == []
    assert [gold for gold in golds if not clean(gold) or "\n" in gold] == []
