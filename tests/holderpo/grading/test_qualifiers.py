"""Clauses are read whole or not at all, compared where both sides have one, and cost no time."""

import time

import pytest

from holderpo.grading.clauses import MAX_CLAUSE_CHARACTERS, read_clauses
from holderpo.grading.qualifiers import match_qualified
from holderpo.grading.quick import quick_match
from holderpo.grading.words import NOT_MINE


def said(text):
    claims = read_clauses(text)
    return claims and [(*claim.variables, claim.kind, claim.condition) for claim in claims]


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("where k \\in \\mathbb{Z}", [("k", "Z", "")]),
        (", k is an integer.", [("k", "Z", "")]),
        ("(for x, y > 0)", [("x", "", "x > 0"), ("y", "", "y > 0")]),
        ("for all real x > 0", [("x", "R", ""), ("x", "", "x > 0")]),
        ("for all integers", [("*", "Z", "")]),
        ("n = 0, 1, 2, \\ldots", [("n", "Z", ""), ("n", "", "n\\geq 0")]),
        ("for natural n and real x", [("n", "N", ""), ("x", "R", "")]),
        ("x \\neq 0, 1", [("x", "", "x \\neq 0"), ("x", "", "x \\neq 1")]),
        ("when a = b", [("a", "b", "", "a = b")]),
        ("on [0, 1)", [("*", "", "[0, 1)")]),
        ("C is an arbitrary constant", [("C", "", "")]),
        ("for n \\equiv 1 \\pmod{4}", [("n", "", "n \\equiv 1 \\pmod{4}")]),
    ],
)
def test_reads_a_clause(text, claims):
    assert said(text) == claims


@pytest.mark.parametrize(
    "text",
    [
        *("", "where", "k", "where k = 2", "where k is wrong", "4 otherwise", "for no k"),
        *("k \\notin \\mathbb{Z}", "k \\in \\{2\\}", "x > 0 or 4", "x > 0 4", "k = 1, 2", "3 > 2"),
        *(
            "for all",
            "for real",
            "when x",
            "as x \\to 0",
            "x > 0, 4",
            "x > 0 but 4",
            "not as required",
        ),
        "k is an integer " + "and k is an integer " * MAX_CLAUSE_CHARACTERS,
    ],
)
def test_reads_nothing_else(text):
    assert read_clauses(text) is None


def test_claims_nothing_for_a_phrase():
    assert read_clauses(", as required.") == ()
    assert said("for all x, as required") == [("x", "", "")]


def test_leaves_answers_without_clauses_alone():
    for answer, gold in [("3, 4", "4, 3"), ("x > 0", "(0,\\infty)"), ("x=1, y=2", "(1,2)")]:
        assert match_qualified(answer, gold, lambda a, g: True) == NOT_MINE


def test_asks_for_values_and_conditions_alone():
    asked = []

    def compare(answer, gold):
        asked.append((answer, gold))
        return answer == gold or None

    assert match_qualified("x^2, 0<x", "x^2 \\text{ for } x>0", compare) is True
    assert match_qualified("x \\cdot x, x>a^2", "x^2, x>aa", compare) is None
    assert asked[-1] == ("x \\cdot x", "x^2")
    assert all(
        "for" not in text and "," not in answer for answer, text in asked[1:] if "x" in answer
    )


@pytest.mark.parametrize("end", ["", "!", ")", "x>0"])
@pytest.mark.parametrize(
    "text",
    [
        *("for all x, ", "k \\in \\mathbb{Z}, ", "x>0 and ", "n = 0,1,", "all real ", "x, ", "("),
        *(
            "a>b>",
            "\\text{ for } ",
            "non-",
            "x \\neq 0, 1, ",
            "\\in [0,1]\\cup",
            "where ",
            "(x>0) ",
        ),
        *(", ", "; ", "\\forall x", "in terms of x, ", "as required ", "\ue000", "\ue001"),
    ],
)
def test_takes_no_time(text, end):
    answer = ("5k where " + text * 2000)[: 2000 - len(end)] + end
    start = time.process_time()
    quick_match(answer, "5k, k\\in\\mathbb{Z}")
    assert time.process_time() - start < 0.3
