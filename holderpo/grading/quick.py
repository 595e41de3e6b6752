r"""The quick half of the comparison: exact, without symbolic computation, silent where not sure.

``match`` takes both answers apart (lists, tuples, intervals, matrices, equations) and compares the
parts; parts that are neither numbers nor words go to a leaf comparison: none in ``quick_match``,
math-verify in ``symbolic``.

Policies: numbers are compared exactly (0.33 is not 1/3); a unit, percent or currency sign may be
missing on one side, but two different units differ; bare lists and sets are unordered, tuples and
intervals ordered with their kind of bracket; the base of a numeral must be there; words are
compared without regard to case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from holderpo.grading.answer_text import clean
from holderpo.grading.equations import match_chains, without_left_sides
from holderpo.grading.numbers import parse_number, same_number
from holderpo.grading.parts import (
    as_intervals,
    match_lists,
    match_matrices,
    match_named,
    match_tuples,
    match_unions,
)
from holderpo.grading.qualifiers import match_qualified
from holderpo.grading.structure import bracketed, depth_of
from holderpo.grading.words import (
    NOT_MINE,
    match_base,
    match_choice,
    match_time,
    match_words,
    symbol_of,
    without_choice,
)

# A longer answer is not compared.
MAX_ANSWER_CHARACTERS = 2000
# Deeper nested answers are left to the symbolic half, which refuses them: they take the parser too
# long, or more than Python's stack.
MAX_DEPTH = 40

Leaf = Callable[[str, str], bool | None]

_MONSTROUS = re.compile(r"\^\s*\{?\s*\d{5,}|\d{4,}\s*!|!\s*\)?\s*!|\d{400,}|\^\s*\{?\s*\(*\d+\s*!")
_TOWER = re.compile(r"(\d+)\s*\^\s*\{?\s*(\d+)\s*\^\s*\{?\s*(\d+)(\s*\^)?")
# Digits of a power that math-verify may still compute.
_MAX_POWER_DIGITS = 5000
# What takes a variable for its own, or a word for no variable.
_BINDING = re.compile(r"\\(?:i+nt|oint|sum|prod|lim|max|min|gcd|[bp]?mod|text|in)(?![a-zA-Z])")
_VARIABLE = re.compile(r"(?<![a-zA-Z])[a-df-hj-zA-Z](?![a-zA-Z])")
_SET_LIKE = re.compile(r"\\(?:cup|cap|mathbb|emptyset|setminus|in)(?![a-zA-Z])|[<>]|\\[lg]eq")


def quick_match(answer: str, gold: str) -> bool | None:
    """Compare without any symbolic computation.

    Args:
        answer: as extracted.
        gold: as prepared.

    Returns:
        Whether they are equal; none if that takes the symbolic step.
    """
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return False
    answer, gold = clean(answer), clean(gold)
    if len(answer) > 2 * MAX_ANSWER_CHARACTERS:  # Unicode written out.
        return False
    if _bare(answer) == _bare(gold):
        return bool(gold)
    if _is_monstrous(answer) and not _is_monstrous(gold):
        return False
    if max(depth_of(answer), depth_of(gold)) > MAX_DEPTH:
        return None
    return match(answer, gold, _undecided, _undecided)


def _undecided(answer: str, gold: str) -> None:
    return None


def _is_monstrous(text: str) -> bool:
    """Whether it holds a power or factorial too large to be computed."""
    if _MONSTROUS.search(text):
        return True
    for base, middle, top, more in _TOWER.findall(text):
        if more and int(top[:3]) > 1:
            return True
        if len(middle) > 3 or len(top) > 3:
            return True
        digits = int(top) * math.log10(max(int(middle), 1))
        if digits > 5 or 10**digits * math.log10(max(int(base[:50]), 2)) > _MAX_POWER_DIGITS:
            return True
    return False


def match(answer: str, gold: str, leaf: Leaf, roughly: Leaf) -> bool | None:
    r"""Compare two cleaned texts, each with clauses such as ``for all x`` or without.

    Args:
        answer: cleaned.
        gold: cleaned.
        leaf: compares parts that are neither numbers nor words; none where it cannot.
        roughly: whether a value behind ``\approx`` is near to the exact one.

    Returns:
        Whether they are equal; none if a part could not be decided.
    """

    def compare(a: str, g: str) -> bool | None:
        return _match(a, g, leaf, roughly)

    qualified = match_qualified(answer, gold, compare)
    return compare(answer, gold) if qualified == NOT_MINE else qualified  # type: ignore[return-value]


def _match(answer: str, gold: str, leaf: Leaf, roughly: Leaf) -> bool | None:
    """Compare by structure; as :func:`match`."""
    if _bare(answer) == _bare(gold):
        return bool(gold)
    if not answer or not gold:
        return False
    for decide in (match_choice, match_time, match_words):
        decision = decide(answer, gold)
        if isinstance(decision, bool):
            return decision
    answer, gold = without_choice(symbol_of(answer)), symbol_of(gold)

    def compare(a: str, g: str) -> bool | None:
        return _match(a, g, leaf, roughly)

    named = match_named(answer, gold, compare)
    if named != NOT_MINE:
        return named  # type: ignore[return-value]
    answer, gold = without_left_sides(answer, gold)
    if _bare(answer) == _bare(gold):
        return True
    left, right = parse_number(answer), parse_number(gold)
    if left is not None and right is not None:
        return same_number(left, right)
    base = match_base(answer, gold)
    if isinstance(base, bool):
        return base
    chains = match_chains(answer, gold, compare, roughly)
    if chains != NOT_MINE:
        return chains  # type: ignore[return-value]
    sets = _match_inequalities(answer, gold, compare)
    if sets != NOT_MINE:
        return sets  # type: ignore[return-value]
    for take_apart in (match_lists, match_unions, match_tuples, match_matrices):
        decided = take_apart(answer, gold, compare)
        if decided != NOT_MINE:
            return decided  # type: ignore[return-value]
    if left is not None and _is_formula(gold):
        return False
    return leaf(answer, gold)


def _is_formula(text: str) -> bool:
    """Whether it has a free variable, so that it is no number."""
    letters = re.sub(r"\\[a-zA-Z]+", " ", text)
    return not _BINDING.search(text) and _VARIABLE.search(letters) is not None


def _bare(text: str) -> str:
    """Without blanks that mean nothing; one between digits or behind a comma does."""
    text = re.sub(r"([_^])\{(\w)\}(?!\d)", r"\1\2", text)
    return re.sub(r"(?<![\d,])\s+|\s+(?!\d)", "", text)


def _match_inequalities(answer: str, gold: str, compare: Leaf) -> bool | str | None:
    """Inequalities against each other or against intervals, all written as intervals."""
    left, right = as_intervals(answer), as_intervals(gold)
    if left is None and right is None:
        return NOT_MINE
    if left is not None and right is not None:
        if left[0] and right[0] and left[0] != right[0]:
            return False
        return compare(left[1], right[1])
    other = answer if left is None else gold
    if bracketed(other) is None and not _SET_LIKE.search(other):
        return False
    if left is not None:
        return compare(left[1], gold)
    assert right is not None
    return compare(answer, right[1])
