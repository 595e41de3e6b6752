r"""Left-hand sides and chains of equations: ``x = 5``, ``m + n = 2 + 3 = 5``, ``\approx 1.67``."""

from __future__ import annotations

import re
from collections.abc import Callable

from holderpo.grading.numbers import parse_number
from holderpo.grading.structure import split_top_level, split_with_separators
from holderpo.grading.words import NOT_MINE

_SUBSCRIPT = r"(?:\s*_\s*(?:\{[^{}]*\}|\w)|')"
_NAME = (
    rf"(?:\\(?!frac|sqrt|sin|cos|tan|cot|sec|csc|log|ln|pi|pm)[a-zA-Z]++|[a-zA-Z]++){_SUBSCRIPT}*+"
)
_NO_CLAUSE = r"(?![^{}]*\b(?:not|where|when|if|unless|except)\b)"
# Atomic: a name has one reading, so that a long text that is none fails at once.
_VALUE = (
    rf"(?>\\text\s*\{{{_NO_CLAUSE}[^{{}}]*\}}{_SUBSCRIPT}*(?:\s*\([^()=]*\))?"
    rf"|{_NAME}(?:\s*\^\s*\{{-1\}})?(?:\s*\([^()=]*\))?"
    rf"|\\(?:sin|cos|tan|cot|sec|csc|log|ln)\s*\(?\s*{_NAME}\s*\)?"
    r"|m?\s*\\(?:angle|triangle|measuredangle)\s*[A-Z][A-Z\s]*"
    r"|\\(?:overline|vec|hat|bar|overrightarrow)\s*\{[^{}]*\}"
    r"|\|[^|\d]+\||\[\s*[A-Z\s]+\]"
    rf"|\\frac\s*\{{\s*{_NAME}\s*\}}\s*\{{\s*{_NAME}\s*\}})"
)
# What a question asks the value of; no digits, so that 2x = 10 is not the answer 10.
_ONE_VALUE = re.compile(rf"{_VALUE}|\({_NAME}(?:\s*,\s*{_NAME})+\)")
_QUANTITY = re.compile(r"[A-Z]{2,}|\\text\s*\{\s*[A-Z]{2,}\s*\}")
_SUM_OF_VALUES = re.compile(rf"{_VALUE}(?:\s*(?:[-+/:]|\\cdot)?\s*{_VALUE}){{0,8}}")
_EQUAL = r"(?<![<>!\\])=|\\equiv(?![a-zA-Z])"
_ABOUT = r"\\approx(?![a-zA-Z])"
_FUNCTION_OF_X = re.compile(r"y|[a-zA-Z]\(([a-z])\)")
_MEMBER = re.compile(r"([a-zA-Z](?:\([a-z]\))?)\s*\\in(?![a-zA-Z])\s*(?=[\\(\[\]])")
_SEVERAL = r",|;|\b(?:and|or)\b|\\text\s*\{\s*,?\s*(?:and|or)\s*\}"
# A longer chain of an answer is no answer.
_MAX_MEMBERS = 12
_MODULUS = re.compile(r"\s*\(?\s*\\(?:pmod|bmod|mod)(?![a-zA-Z])\s*(?:\{[^{}]*\}|\w+)\s*\)?$")

Compare = Callable[[str, str], bool | None]
Roughly = Callable[[str, str], bool | None]


def without_left_sides(answer: str, gold: str) -> tuple[str, str]:
    r"""Drop ``x =``, ``f(x) =`` and ``x \in`` where the other side has no equation.

    Of two equations the left sides go if they are the same name, or both a function of a variable.

    Args:
        answer: cleaned.
        gold: cleaned.

    Returns:
        Both, rewritten.
    """
    if "\\mod" not in gold and "mod" not in gold:
        answer = _MODULUS.sub("", answer)
    members = [_MEMBER.match(text) for text in (answer, gold)]
    is_one = all(members) and len({each[1] for each in members if each}) == 1
    if is_one or ("\\in" in answer) != ("\\in" in gold):
        answer, gold = (_MEMBER.sub("", text, count=1) for text in (answer, gold))
    sides = [split_top_level(text, _EQUAL) for text in (answer, gold)]
    if all(len(parts) == 2 for parts in sides):
        left, right = (re.sub(r"\s", "", parts[0]) for parts in sides)
        same = _same_name(left, right) and _ONE_VALUE.fullmatch(sides[0][0])
        functions = [_FUNCTION_OF_X.fullmatch(name) for name in (left, right)]
        if same or (
            functions[0] and functions[1] and len({f[1] for f in functions if f} - {None}) < 2
        ):
            return sides[0][1], sides[1][1]
        return answer, gold
    # x = 10,080 has one part. Several have left sides of their own.
    single = [len(parts) <= 2 and parse_number(parts[-1]) is not None for parts in sides]
    if any(
        split_top_level(text, _SEVERAL)[1:] and not one
        for text, one in zip((answer, gold), single, strict=True)
    ):
        return answer, gold
    if len(sides[0]) > 1 and len(sides[1]) == 1:
        answer = "=".join(_values(sides[0], _SUM_OF_VALUES))
    elif len(sides[1]) > 1 and len(sides[0]) == 1:
        gold = "=".join(_values(sides[1], _ONE_VALUE))
    return answer, gold


def _same_name(left: str, right: str) -> bool:
    """Whether two names are the same, or one is the other with an index."""
    longer, shorter = sorted((left, right), key=len, reverse=True)
    return longer == shorter or longer.startswith(f"{shorter}_")


def _values(parts: list[str], name: re.Pattern[str]) -> list[str]:
    """The members of a chain that starts (or, if it has two, ends) with a name, without the name.

    Formulas between the name and the value (``A = bh = 12``) go as well.
    """
    if not all(parts):
        return parts
    if len(parts) == 2 and all(_QUANTITY.fullmatch(part) for part in parts):
        return parts  # MR = MC says more than either side.
    if name.fullmatch(parts[0]):
        return [part for part in parts[1:-1] if not _has_variable(part)] + parts[-1:]
    if len(parts) == 2 and re.fullmatch(r"\\?[a-zA-Z]", parts[1]):
        return parts[:1]
    return parts


def _has_variable(text: str) -> bool:
    return bool(re.search(r"(?<![\\a-zA-Z])[a-df-hj-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", text)))


def match_chains(answer: str, gold: str, compare: Compare, roughly: Roughly) -> bool | str | None:
    r"""``2 + 3 = 5`` against ``5``: every member must be equal to the other side.

    An approximation behind ``\approx`` must be near to what it approximates.

    Args:
        answer: cleaned, without a left side.
        gold: cleaned, without a left side.
        compare: decides about two values.
        roughly: whether an approximation is near to a value.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    exact, about = split_top_level(answer, _ABOUT), split_top_level(gold, _ABOUT)
    if len(exact) > 1 or len(about) > 1:
        return _match_approximations(exact, about, compare, roughly)
    (left, relations), (right, other) = (
        split_with_separators(text, _EQUAL) for text in (answer, gold)
    )
    if not (relations or other):
        return NOT_MINE
    if relations and other:
        if any(parse_number(part) is None for part in left + right):
            return NOT_MINE
        right = right[:1]
    if any(split_top_level(part, _SEVERAL)[1:] for part in left + right):
        return NOT_MINE
    if len(left) > _MAX_MEMBERS:
        return False
    if other and not relations:
        # An equation is not one of its sides, but 0.56 = 56 % is both.
        if any(_has_variable(part) for part in right):
            return False
        left, right = [answer] * len(right), right
    else:
        right = right * len(left)
    decisions = [compare(a, g) for a, g in zip(left, right, strict=True)]
    return False if False in decisions else None if None in decisions else True


def _match_approximations(
    answer: list[str], gold: list[str], compare: Compare, roughly: Roughly
) -> bool | None:
    answer = [part for part in answer if part and not _ONE_VALUE.fullmatch(part)] or [""]
    gold = [part for part in gold if part and not _ONE_VALUE.fullmatch(part)] or [""]
    near = [roughly(answer[0], part) for part in answer[1:]]
    if False in near:
        return False
    first = compare(answer[0], gold[0])
    others = [compare(answer[0], part) for part in gold[1:]]
    others += [compare(part, gold[0]) for part in answer[1:]]
    decisions = [first, *others]
    if True in decisions:
        return None if None in near else True
    return None if None in decisions else False
