r"""Inequalities and sets by a rule, written as intervals to be compared with intervals."""

from __future__ import annotations

import re

from holderpo.grading.structure import bracketed, split_top_level, split_with_separators

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
