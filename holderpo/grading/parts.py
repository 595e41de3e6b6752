r"""Answers of several parts: lists, sets, values of named unknowns, tuples, intervals, matrices.

Bare lists and sets are unordered, each part as often as the other side has it; tuples, intervals
and matrices are ordered, with their kind of bracket. Inequalities and sets by a rule are written as
intervals, to be compared with intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from holderpo.grading.numbers import parse_number
from holderpo.grading.structure import (
    bracketed,
    parse_matrix,
    split_top_level,
    split_with_separators,
)
from holderpo.grading.words import NOT_MINE

# Compares two parts; none where that takes the symbolic step.
Compare = Callable[[str, str], bool | None]
Decision = bool | None | str

# More parts than this that are not the same at a glance are not compared with each other.
MAX_OPEN_PARTS = 40

_BETWEEN_PARTS = (
    r",|;|\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|\b(?:and|or)\b"
    r"|\\(?:lor|vee|land|wedge)(?![a-zA-Z])"
)
_COMMA_AND = re.compile(r",\s*(?:\\text\s*\{\s*)?(and|or)\b\s*\}?")
_NAME = r"(?:\\?[a-zA-Z]+(?:'|_(?:\{[^{}]*\}|\w))*(?:\([a-z\d]\))?)"
_NAMED = re.compile(rf"({_NAME})\s*=\s*([^=]+)", re.DOTALL)
_NAMED_TUPLE = re.compile(rf"\(\s*({_NAME}(?:\s*,\s*{_NAME})+)\s*\)\s*=\s*([(\\].*)", re.DOTALL)
_WITH_NAME = re.compile(
    rf"({_NAME}|\(\s*{_NAME}(?:\s*,\s*{_NAME})+\s*\))\s*(?:=|\\in(?![a-zA-Z]))\s*(.*)", re.DOTALL
)
_UNION = r"\\cup(?![a-zA-Z])"

# Inequalities and sets by a rule.
_RELATION = r"[<>]|\\[lg]eq(?![a-zA-Z])"
_VARIABLE = re.compile(r"[a-zA-Z](?:_\w|\([a-z]\))?|\\[a-z]+")
_NO_VARIABLES = ("\\infty", "\\pi", "e")
_OR = r"\\text\s*\{\s*,?\s*or\s*\}|\bor\b|\\cup(?![a-zA-Z])|\\(?:lor|vee)(?![a-zA-Z])"
_AND = r"\\text\s*\{\s*,?\s*and\s*\}|\band\b|\\(?:land|wedge)(?![a-zA-Z])"
_BY_RULE = re.compile(
    r"\\\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\s*\{R\}\s*)?(?:\||:)\s*(.*)\\\}", re.DOTALL
)
_IN = re.compile(r"([a-zA-Z](?:\([a-z]\))?)\s*\\in(?![a-zA-Z])\s*(.+)", re.DOTALL)
_WITHOUT = re.compile(r"\\mathbb\s*\{R\}\s*(?:\\setminus|\\backslash)\s*\\\{([^{},]*)\\\}")


def match_named(answer: str, gold: str, compare: Compare) -> Decision:
    """``x = 3, y = 4`` against the same in another order, or against ``(3, 4)``.

    Values without names stand in the alphabetical order of the names.

    Args:
        answer: cleaned.
        gold: cleaned.
        compare: decides about two values.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    left, right = named_values(answer), named_values(gold)
    if left is None and right is None:
        return NOT_MINE
    if left is not None and right is not None:
        if set(left) != set(right):
            return False
        return match_ordered([left[name] for name in right], list(right.values()), compare)
    named, other = (left, gold) if left is not None else (right, answer)
    assert named is not None
    values = [named[name] for name in sorted(named, key=lambda name: name.lstrip("\\"))]
    inside = bracketed(other)
    if inside is not None and (inside[0], inside[2]) != ("(", ")"):
        return False
    parts = split_top_level(other if inside is None else inside[1], _BETWEEN_PARTS)
    if any(len(split_top_level(part, "=")) > 1 for part in parts):
        return NOT_MINE  # a = 2, a = 3 has names too.
    if len(parts) == 1:
        return NOT_MINE if parse_matrix(other) is not None else False
    if len(parts) != len(values):
        return False
    return match_ordered(*((values, parts) if named is left else (parts, values)), compare)


def named_values(text: str) -> dict[str, str] | None:
    """Values by name, of at least two different names."""
    pair = _NAMED_TUPLE.fullmatch(text)
    if pair:
        names = split_top_level(pair[1], ",")
        inside = bracketed(pair[2])
        values = split_top_level(inside[1], ",|;") if inside else []
        return dict(zip(names, values, strict=True)) if len(names) == len(values) else None
    parts = split_top_level(_COMMA_AND.sub(r" \1 ", text), _BETWEEN_PARTS)
    found = [_NAMED.fullmatch(part) for part in parts]
    named = {each[1]: each[2].strip() for each in found if each}
    stems = {re.sub(r"_.*|'", "", name) for name in named}
    return named if len(named) == len(parts) > 1 and len(stems) > 1 else None


def match_lists(answer: str, gold: str, compare: Compare) -> Decision:
    """Bare lists and sets; one part may stand for the set of it.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    left, right = elements(answer), elements(gold)
    if left is None and right is None:
        return NOT_MINE
    if left is not None and right is not None:
        return match_unordered(_names_off(left, right), _names_off(right, left), compare)
    several = left if left is not None else right
    assert several is not None
    if len(several) == 1 and several[0] != "\\emptyset":
        return compare(several[0], gold) if left is not None else compare(answer, several[0])
    return False


def elements(text: str) -> list[str] | None:
    r"""The members of a set or of a bare list; none for anything else."""
    text = _COMMA_AND.sub(r" \1 ", text)
    inside = bracketed(text)
    if inside is not None and inside[0] == "\\{":
        if re.search(r"\\mid|[|:]", inside[1]):
            return None  # A set by its rule.
        parts = split_top_level(inside[1], ",|;")
        return [each for part in parts for each in _plus_minus(part)]
    if inside is not None or parse_number(text) is not None:
        return None
    parts = [part for part in split_top_level(text, _BETWEEN_PARTS) if part]
    expanded = [each for part in parts for each in _plus_minus(part)]
    return expanded if len(expanded) > 1 else None


def _plus_minus(text: str) -> list[str]:
    r"""Both values of an expression with one ``\pm`` or ``\mp``."""
    parts = [part.strip() for part in re.split(r"\\(?:pm|mp)(?![a-zA-Z])", text)]
    if len(parts) != 2:
        return [text]
    before, after = parts
    name, equals, before = before.rpartition("=")
    plus = "+" if before.strip() and not before.endswith(("{", "(")) else ""
    return [f"{name}{equals}{before}{sign}{after}" for sign in (plus, "-")]


def _names_off(parts: Sequence[str], other: Sequence[str]) -> list[str]:
    """``x = 5, x = 6`` or ``x_1 = 5, x_2 = 6`` against ``5, 6``; ``x = 5, 6`` as well."""
    if any(len(split_top_level(part, "=")) > 1 for part in other):
        return list(parts)
    found = [_WITH_NAME.fullmatch(part) for part in parts]
    stems = {re.sub(r"_.*|'", "", each[1]) for each in found if each}
    if len(stems) != 1:
        return list(parts)
    return [each[2] if each else part for each, part in zip(found, parts, strict=True)]


def match_unordered(left: Sequence[str], right: Sequence[str], compare: Compare) -> bool | None:
    """Whether two collections are equal, each part as often in one as in the other.

    Args:
        left: parts of the answer.
        right: parts of the gold answer.
        compare: decides about two parts.

    Returns:
        The decision; none if a part needs the symbolic step.
    """
    if len(left) != len(right):
        return False
    remaining: list[str] = list(right)
    open_parts: list[str] = []
    keys = [_key(part) for part in remaining]
    for part in left:  # What is the same at a glance goes first: long lists stay cheap.
        key = _key(part)
        if key in keys:
            position = keys.index(key)
            del remaining[position], keys[position]
        else:
            open_parts.append(part)
    if len(open_parts) > MAX_OPEN_PARTS:
        return None
    result: bool | None = True
    for part in open_parts:
        decisions = [compare(part, other) for other in remaining]
        if True in decisions:
            del remaining[decisions.index(True)]
        elif None in decisions:
            result = None
        else:
            return False
    return result


def _key(part: str) -> object:
    number = parse_number(part)
    return re.sub(r"\s+", " ", part) if number is None else (number.value, number.unit)


def match_ordered(left: Sequence[str], right: Sequence[str], compare: Compare) -> bool | None:
    """Whether two sequences of one length are equal part by part; as :func:`match_unordered`."""
    decisions = []
    for answer, gold in zip(left, right, strict=True):
        decisions.append(compare(answer, gold))
        if decisions[-1] is False:
            return False
    return None if None in decisions else True


def match_unions(answer: str, gold: str, compare: Compare) -> Decision:
    r"""Unions of the same number of sets, in any order; a rearranged union is left open.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    left, right = (split_top_level(text, _UNION) for text in (answer, gold))
    if len(left) == 1 or len(right) == 1:
        return NOT_MINE
    return match_unordered(left, right, compare) or None


def match_tuples(answer: str, gold: str, compare: Compare) -> Decision:
    """Tuples and intervals: the same brackets, the same parts in the same order.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    if answer[:1].isupper() and gold[:1] == "(":
        answer = re.sub(r"^[A-Z]\s*=?\s*(?=\()", "", answer)  # P(3, 4)
    left, right = bracketed(answer), bracketed(gold)
    if left is None or right is None:
        inside, other = (right, answer) if left is None else (left, gold)
        is_tuple = inside is not None and len(split_top_level(inside[1], ",|;")) > 1
        return False if is_tuple and parse_number(other) is not None else NOT_MINE
    if "\\{" in (left[0], right[0]):
        return NOT_MINE
    a, g = (split_top_level(inside[1], ",|;") for inside in (left, right))
    if len(a) == 1 and len(g) == 1:
        return NOT_MINE
    if (left[0], left[2]) != (right[0], right[2]) or len(a) != len(g):
        return False
    return match_ordered(a, g, compare)


def match_matrices(answer: str, gold: str, compare: Compare) -> Decision:
    """Matrices entry by entry; a vector may be written as a tuple.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    left, right = parse_matrix(answer), parse_matrix(gold)
    if left is not None and right is not None:
        if left.fence != right.fence or left.shape != right.shape:
            return False
        return match_ordered(left.entries, right.entries, compare)
    matrix, inside = left or right, bracketed(gold if left else answer)
    if matrix is None or inside is None or (inside[0], inside[2]) != ("(", ")"):
        return NOT_MINE
    parts = split_top_level(inside[1], ",")
    if matrix.fence or 1 not in (len(matrix.rows), len(matrix.rows[0])) or len(parts) < 2:
        return NOT_MINE
    if len(matrix.entries) != len(parts):
        return False
    return match_ordered(*((matrix.entries, parts) if left else (parts, matrix.entries)), compare)


def as_intervals(text: str) -> tuple[str, str] | None:
    r"""Write inequalities in one variable as a union of intervals.

    Args:
        text: cleaned, such as ``1 < x \leq 2``, ``x < 1 \text{ or } x > 3``,
            ``\{ x \mid x > 2 \}``, ``x \in (1, 2) \cup (3, 4)``.

    Returns:
        The variable and the intervals, such as ``(1,2]`` or ``(-\infty,1)\cup (3,\infty)``; none
        if the text is something else.
    """
    by_rule = _BY_RULE.fullmatch(text)
    if by_rule:
        text = by_rule[2].strip()
    without = _WITHOUT.fullmatch(text)
    if without:
        return "", f"(-\\infty,{without[1]})\\cup ({without[1]},\\infty)"
    variables: set[str] = set()
    intervals: list[str] = []
    inequalities = 0
    for part in split_top_level(text, _OR):
        interval = _both([_chain(each) for each in split_top_level(part, _AND)])
        if interval is None:
            member = _IN.fullmatch(part)
            body = member[2] if member else part
            if bracketed(body) is None:
                return None
            interval = (member[1] if member else "", body)
        else:
            inequalities += 1
        variables |= {interval[0]} - {""}
        intervals.append(interval[1])
    if len(variables) > 1 or not (inequalities or by_rule or (variables and len(intervals) > 1)):
        return None
    return "".join(variables), "\\cup ".join(intervals)


def _chain(text: str) -> tuple[str, str] | None:
    """One inequality or a double one; also ``x != 3``."""
    parts, relations = split_with_separators(text, _RELATION)
    if len(parts) == 1:
        sides = split_top_level(text, r"\\neq(?![a-zA-Z])")
        if len(sides) == 2 and _is_variable(sides[0]) and not _is_variable(sides[1]):
            return sides[0], f"(-\\infty,{sides[1]})\\cup ({sides[1]},\\infty)"
        return None
    directions = {relation in (">", "\\geq") for relation in relations}
    if len(directions) > 1 or len(parts) > 3 or not all(parts):
        return None
    if True in directions:
        parts, relations = parts[::-1], relations[::-1]
    strict = [relation in "<>" for relation in relations]
    if len(parts) == 2:
        if _is_variable(parts[0]) == _is_variable(parts[1]):
            return None
        if _is_variable(parts[0]):
            parts, strict = ["-\\infty", *parts], [True, *strict]
        else:
            parts, strict = [*parts, "\\infty"], [*strict, True]
    low, variable, high = parts
    ends = re.sub(r"\\[a-zA-Z]+", " ", low + " " + high) if len(variable) == 1 else low + high
    if not _is_variable(variable) or variable in ends:
        return None
    return variable, f"{'(' if strict[0] else '['}{low},{high}{')' if strict[1] else ']'}"


def _is_variable(text: str) -> bool:
    return bool(_VARIABLE.fullmatch(text)) and text not in _NO_VARIABLES


def _both(intervals: list[tuple[str, str] | None]) -> tuple[str, str] | None:
    """``x > 1`` and ``x < 2``."""
    if len(intervals) == 1:
        return intervals[0]
    found = [each for each in intervals if each is not None]
    if len(intervals) != 2 or len(found) != 2:
        return None
    (one, first), (other, second) = found
    if one != other or "\\cup" in first + second:
        return None
    if first.startswith("(-\\infty,"):
        first, second = second, first
    if not (first.endswith(",\\infty)") and second.startswith("(-\\infty,")):
        return None
    return one, first.removesuffix("\\infty)") + second.removeprefix("(-\\infty,")
