r"""The quick half of the comparison: linear time, exact, and silent where it is not sure.

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
from collections.abc import Callable, Sequence
from enum import Enum

from holderpo.rewards.normalization import clean
from holderpo.rewards.numbers import Number, parse_number
from holderpo.rewards.structure import Matrix, bracketed, parse_matrix, split_top_level

# A longer answer is not compared.
MAX_ANSWER_CHARACTERS = 2000

Leaf = Callable[[str, str], bool | None]


class _NotMine(Enum):
    """Says that a rule does not concern these two texts."""

    NOT_MINE = 0


NOT_MINE = _NotMine.NOT_MINE
Decision = bool | None | _NotMine

_NAME = r"(?:\\?[a-zA-Z]+(?:'|\s*_\s*(?:\{[^{}]*\}|\w))*)"
_LEFT_SIDE = re.compile(
    rf"(?:\\text\s*\{{[^{{}}]*\}}|{_NAME}(?:\s*\([^()=]*\))?|\\angle\s*[A-Z]+|\|?\s*[A-Z]{{2}}\s*\|?"
    rf"|\({_NAME}(?:\s*,\s*{_NAME})+\))"
)
_BASE = re.compile(
    r"(?:\\text\s*\{)?([0-9A-Za-z]+)\}?\s*_\s*(?:\{?\s*(?:\\text\s*\{)?(\w+)\}?\s*\}?)"
)
_BASE_NAMES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
_BASE_NAMES |= {"eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_CHOSEN = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z])\)|([A-Za-z])[.:])\s*\S.*", re.DOTALL)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_RELATION = r"(?<![<>!\\])=|\\in(?![a-zA-Z])|\\approx(?![a-zA-Z])"
_AND = r",|;|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|\b(?:and|or)\b|\\(?:lor|vee|land|wedge)(?![a-zA-Z])"
_MONSTROUS = re.compile(r"\^\s*\{?\s*\d{5,}|\d{4,}\s*!|!\s*\)?\s*!|\d{400,}")
_TOWER = re.compile(r"(\d+)\s*\^\s*\{?\s*(\d+)\s*\^\s*\{?\s*(\d+)(\s*\^)?")
# Digits of a power that math-verify may still compute.
_MAX_POWER_DIGITS = 5000
_FUNCTION_OF_X = re.compile(r"y|[a-zA-Z]\(\w\)")
_TIME = re.compile(r"\d:\d\d")
_SET_BY_RULE = re.compile(
    r"\\\{\s*([a-zA-Z])\s*(?:\\mid(?![a-zA-Z])|\||:)\s*(.*[<>].*|.*\\[lg]eq.*)\\\}"
)


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
    if _is_monstrous(answer) and not _is_monstrous(gold):
        return False
    return match(answer, gold, leaf=lambda a, g: None)


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
        if 10**digits * math.log10(max(int(base[:50]), 2)) > _MAX_POWER_DIGITS:
            return True
    return False


def match(answer: str, gold: str, leaf: Leaf) -> bool | None:
    """Compare two cleaned texts by their structure.

    Args:
        answer: cleaned.
        gold: cleaned.
        leaf: compares parts that are neither numbers nor words; none where it cannot.

    Returns:
        Whether they are equal; none if a part could not be decided.
    """
    if _bare(answer) == _bare(gold):
        return bool(gold)
    if not answer or not gold:
        return False
    answer, gold = _without_left_sides(answer, gold)
    if _bare(answer) == _bare(gold):
        return True
    for decide in _DECISIONS:
        decision = decide(answer, gold, leaf)
        if not isinstance(decision, _NotMine):
            return decision
    return leaf(answer, gold)


def _bare(text: str) -> str:
    # A blank between digits counts: "3 4" is not 34.
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def _without_left_sides(answer: str, gold: str) -> tuple[str, str]:
    r"""``x = 5`` becomes ``5`` where the other side has no equation; likewise ``x \in``."""
    answer, gold = (_SET_BY_RULE.sub(r"\2", text).strip() for text in (answer, gold))
    sides = [split_top_level(text, _RELATION) for text in (answer, gold)]
    if all(len(parts) == 2 for parts in sides):
        left, right = (_bare(parts[0]) for parts in sides)
        same = left == right and _LEFT_SIDE.fullmatch(sides[0][0])
        if same or (_FUNCTION_OF_X.fullmatch(left) and _FUNCTION_OF_X.fullmatch(right)):
            return sides[0][1], sides[1][1]
        return answer, gold
    stripped = []
    for text, parts, other in ((answer, sides[0], sides[1]), (gold, sides[1], sides[0])):
        droppable = len(parts) > 1 and len(other) == 1 and _LEFT_SIDE.fullmatch(parts[0])
        stripped.append("=".join(parts[1:]) if droppable and all(parts) else text)
    return stripped[0], stripped[1]


def _chains(answer: str, gold: str, leaf: Leaf) -> Decision:
    """``2 + 3 = 5`` against ``5``: every member of the chain must be equal to the other side."""
    left, right = (split_top_level(text, _RELATION) for text in (answer, gold))
    if (len(left) > 1) == (len(right) > 1) or any(
        split_top_level(side, _AND)[1:] for side in (answer, gold)
    ):
        return NOT_MINE
    if len(left) > 1:
        return _ordered(left, [gold] * len(left), leaf)
    return match(answer, right[-1], leaf)


def _numbers(answer: str, gold: str, leaf: Leaf) -> Decision:
    left, right = parse_number(answer), parse_number(gold)
    if left is None or right is None:
        return NOT_MINE
    return _same_number(left, right)


def _same_number(left: Number, right: Number) -> bool:
    if left.unit and right.unit and left.unit != right.unit:
        percents = {left.unit, right.unit} & {"%"}
        if percents or left.unit.replace(" ", "") != right.unit.replace(" ", ""):
            return False
    if left.value == right.value:
        return True
    # 25 % is also 0.25 where the other side says nothing.
    if (left.unit, right.unit) == ("%", ""):
        return left.value == 100 * right.value
    return (left.unit, right.unit) == ("", "%") and 100 * left.value == right.value


def _bases(answer: str, gold: str, leaf: Leaf) -> Decision:
    left, right = _BASE.fullmatch(answer), _BASE.fullmatch(gold)
    if right is None or not right[1][0].isdigit():
        return NOT_MINE
    if left is None:
        return False if parse_number(answer) is not None else NOT_MINE
    return _numeral(left) == _numeral(right)


def _numeral(found: re.Match[str]) -> tuple[str, str]:
    base = found[2].lower()
    return found[1].lstrip("0").upper() or "0", _BASE_NAMES.get(base, base)


def _choices(answer: str, gold: str, leaf: Leaf) -> Decision:
    """Letters of a multiple choice, with or without parentheses, text and the chosen option."""
    wanted = _CHOICE.fullmatch(_unwrapped(gold))
    if wanted is None:
        return NOT_MINE
    given = _unwrapped(answer)
    is_option = "(" in _unwrapped(gold) or "\\text" in gold
    if re.fullmatch(r"\(?[A-Za-z]\)?[.:]?", given):
        letter = re.sub("[^A-Za-z]", "", given)
        return letter == wanted[1] or (is_option and letter.upper() == wanted[1])
    chosen = _CHOSEN.fullmatch(given)
    if chosen is None:
        return NOT_MINE
    return next(letter for letter in chosen.groups() if letter) == wanted[1]


def _unwrapped(text: str) -> str:
    return _TEXT.sub(r"\1", text).strip()


def _lists(answer: str, gold: str, leaf: Leaf) -> Decision:
    left, right = _elements(answer), _elements(gold)
    if left is None and right is None:
        return NOT_MINE
    if left is None or right is None:
        alone, other = (answer, right) if left is None else (gold, left)
        # A set of one, or an expression whose value may be a set: not for us to say.
        if other is not None and len(other) == 1 and bracketed(alone) is None:
            return match(answer, other[0], leaf) if left is None else match(other[0], gold, leaf)
        if parse_number(alone) is not None or bracketed(alone) is not None:
            return False
        return NOT_MINE
    return _unordered(_common_names_off(left, right), _common_names_off(right, left), leaf)


def _elements(text: str) -> list[str] | None:
    r"""The members of a set or of a bare list; none for anything else."""
    # "a, b, and c"
    text = re.sub(r",\s*(?:\\text\s*\{\s*)?(and|or)\b\s*\}?", r" \1 ", text)
    inside = bracketed(text)
    if inside is not None and inside[0] == "\\{":
        if re.search(r"\\mid|[|:]", inside[1]):
            return None  # A set by its rule.
        parts = split_top_level(inside[1], ",|;")
        return [each for part in parts for each in _plus_minus(part)]
    parts = [part for part in split_top_level(text, _AND) if part]
    expanded = [each for part in parts for each in _plus_minus(part)]
    return expanded if len(expanded) > 1 else None


def _plus_minus(text: str) -> list[str]:
    r"""Both values of an expression with one ``\pm``."""
    if len(re.findall(r"\\pm(?![a-zA-Z])", text)) != 1 or "\\mp" in text:
        return [text]
    before, after = (part.strip() for part in re.split(r"\\pm(?![a-zA-Z])", text))
    name, equals, before = before.rpartition("=")
    plus = "+" if before.strip() else ""
    return [f"{name}{equals}{before}{sign}{after}" for sign in (plus, "-")]


def _common_names_off(parts: Sequence[str], other: Sequence[str]) -> list[str]:
    """``x = 5, x = 6`` against ``5, 6``."""
    split = [split_top_level(part, "=") for part in parts]
    if any(len(each) > 1 for each in (split_top_level(part, "=") for part in other)):
        return list(parts)
    names = {_bare(each[0]) for each in split if len(each) == 2}
    if len(names) != 1 or not all(
        _LEFT_SIDE.fullmatch(each[0]) for each in split if len(each) == 2
    ):
        return list(parts)
    return [each[-1] for each in split]


def _unordered(left: Sequence[str], right: Sequence[str], leaf: Leaf) -> bool | None:
    """Whether the two are equal as collections; exact pairs are taken first."""
    if len(left) != len(right):
        return False
    remaining, unsure = list(right), []
    for part in left:
        same = next((other for other in remaining if match(part, other, _nothing)), None)
        if same is None:
            unsure.append(part)
        else:
            remaining.remove(same)
    result: bool | None = True
    for part in unsure:
        decisions = [match(part, other, leaf) for other in remaining]
        if True in decisions:
            del remaining[decisions.index(True)]
        elif None in decisions:
            result = None
        else:
            return False
    return result


def _nothing(answer: str, gold: str) -> None:
    return None


def _unions(answer: str, gold: str, leaf: Leaf) -> Decision:
    left, right = (split_top_level(text, r"\\cup(?![a-zA-Z])") for text in (answer, gold))
    if len(left) == 1 or len(right) == 1 or len(left) != len(right):
        return NOT_MINE
    return _unordered(left, right, leaf) or None


def _brackets(answer: str, gold: str, leaf: Leaf) -> Decision:
    """Tuples and intervals: the same brackets, the same elements in the same order."""
    left, right = bracketed(answer), bracketed(gold)
    if left is None or right is None:
        return NOT_MINE
    a, g = (split_top_level(inside[1], ",|;") for inside in (left, right))
    if len(a) == 1 and len(g) == 1:
        return NOT_MINE
    if (left[0], left[2]) != (right[0], right[2]) or len(a) != len(g):
        return False
    return _ordered(a, g, leaf)


def _ordered(left: Sequence[str], right: Sequence[str], leaf: Leaf) -> bool | None:
    decisions = []
    for a, g in zip(left, right, strict=True):
        decisions.append(match(a, g, leaf))
        if decisions[-1] is False:
            return False
    return None if None in decisions else True


def _matrices(answer: str, gold: str, leaf: Leaf) -> Decision:
    left, right = parse_matrix(answer), parse_matrix(gold)
    if left is None or right is None:
        return NOT_MINE
    if left.fence != right.fence or _shape(left) != _shape(right):
        return False
    return _ordered(
        [entry for row in left.rows for entry in row],
        [entry for row in right.rows for entry in row],
        leaf,
    )


def _vectors(answer: str, gold: str, leaf: Leaf) -> Decision:
    """A column or row vector written as a tuple."""
    for one, other in ((answer, gold), (gold, answer)):
        matrix, inside = parse_matrix(one), bracketed(other)
        if matrix is None or inside is None or (inside[0], inside[2]) != ("(", ")"):
            continue
        entries = [entry for row in matrix.rows for entry in row]
        parts = split_top_level(inside[1], ",")
        if matrix.fence or 1 not in (len(matrix.rows), len(matrix.rows[0])) or len(parts) < 2:
            return NOT_MINE
        if len(entries) != len(parts):
            return False
        return _ordered(*((entries, parts) if one is answer else (parts, entries)), leaf)
    return NOT_MINE


def _shape(matrix: Matrix) -> list[int]:
    return [len(row) for row in matrix.rows]


def _words(answer: str, gold: str, leaf: Leaf) -> Decision:
    """Answers in words, times of the day and names, without regard to case and punctuation."""
    if not (_is_prose(gold) or _TIME.search(gold)):
        return NOT_MINE
    if _folded(answer) == _folded(gold):
        return True
    return False if _is_prose(answer) or parse_number(answer) is not None else None


def _folded(text: str) -> str:
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])|[.'\"]", "", _unwrapped(text))
    return re.sub(r"\s+", "", text).casefold()


def _is_prose(text: str) -> bool:
    """Words that are no mathematics: letters and blanks, at least one word of two letters."""
    unwrapped = _unwrapped(text)
    if not re.fullmatch(r"[A-Za-z][A-Za-z\s'.,-]*", unwrapped):
        return False
    return "\\text" in text or re.search(r"[A-Za-z]{3,}", unwrapped) is not None


_DECISIONS = (
    _numbers,
    _bases,
    _choices,
    _chains,
    _lists,
    _unions,
    _brackets,
    _matrices,
    _vectors,
    _words,
)
