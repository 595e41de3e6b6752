"""Both halves of the comparison together, on every family of answers."""

import sys

import pytest

from holderpo.grading.symbolic import UnparseableError, symbolic_match
from tests.holderpo.grading.math_files import answer_table, decision_of


def is_right(answer, gold):
    decision = decision_of(answer, gold)
    if decision is not None:
        return decision
    try:
        return symbolic_match(answer, gold)
    except UnparseableError:
        return False


@pytest.mark.parametrize(
    ("gold", "answers"), answer_table("equal") + answer_table("qualified_equal")
)
def test_accepts_equal_answers(gold, answers):
    assert [answer for answer in answers if not is_right(answer, gold)] == []


@pytest.mark.parametrize(
    ("gold", "answers"), answer_table("different") + answer_table("qualified_different")
)
def test_accepts_no_different_answer(gold, answers):
    assert [answer for answer in answers if is_right(answer, gold)] == []


@pytest.mark.parametrize(
    "answer",
    [
        "18 \\ldots 20 x",
        '__import__("os").system("echo 18")',
        "\\input{x}",
        "\\frac{1}{",
        "x + ",
        "?",
        "(" * 100 + "x" + ")" * 100,
        "2 x 3 4",
    ],
)
def test_says_that_an_answer_is_unparseable(answer):
    with pytest.raises(UnparseableError):
        symbolic_match(answer, "x^2")


def test_an_unparseable_part_of_a_wrong_answer_is_said_too():
    with pytest.raises(UnparseableError):
        symbolic_match("x^2, ?", "x^2, y^2")
    assert not symbolic_match("x, y", "x^2, y^2")


def test_needs_no_main_thread_and_no_import_of_its_own():
    assert "math_verify" in sys.modules or symbolic_match("\\sqrt{4}", "2")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(symbolic_match, "(x+1)^2", "x^2+2x+1").result()
