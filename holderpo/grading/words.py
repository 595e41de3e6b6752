r"""Answers that are no mathematics: words, choices, times of the day, numerals with a base."""

from __future__ import annotations

import re
from typing import Final

from holderpo.grading.numbers import parse_number

# Whole answers in words that mean a symbol.
_PHRASES = {
    "allrealnumbers": r"\mathbb{R}",
    "allreals": r"\mathbb{R}",
    "realnumbers": r"\mathbb{R}",
    "emptyset": r"\emptyset",
    "infinity": r"\infty",
    "positiveinfinity": r"\infty",
    "negativeinfinity": r"-\infty",
    "minusinfinity": r"-\infty",
}
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}\s*")
_BASE = re.compile(
    r"(?:\\text\s*\{\s*|[({]\s*)?([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)\s*[})]?"
    r"\s*_\s*(?:\{?\s*\(?\s*(?:\\text\s*\{)?\s*([a-z]+|\d+)\s*\}?\s*\)?\s*\}?)"
)
_BASE_NAMES = {
    name: str(base)
    for base, name in enumerate(["two", "three", "four", "five", "six", "seven", "eight"], start=2)
} | {"nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16"}
_CHOICE = re.compile(r"\(?\s*([A-Z])\s*\)?")
_LETTER = re.compile(r"(?:option|choice|answer|part)?\s*\(?\s*([A-Za-z])\s*\)?\s*[.:]?", re.I)
_CHOSEN = re.compile(r"(?:\(([A-Z])\)|([A-Z])\)|([A-Z])[.:])\s*(\S.*)", re.DOTALL)
_OTHER_CHOICE = re.compile(
    r"\b(?:or|and|not|nor)\b|\([A-Z]\)|^\W*[A-Z]\W*$|^(?:if|unless|when|for|where)\b"
)
_PREFIX = re.compile(r"\\text\s*\{\s*\(([A-H])\)\s*\}\s*|\(([A-H])\)\s*", re.DOTALL)
_TIME = re.compile(r"0?(\d{1,2})(?::(\d\d)(?::(\d\d))?(am|pm)?|(am|pm))")
_LEFT_SIDE = re.compile(r"^(?:[a-zA-Z]|\\text\s*\{[^{}]*\}|[a-zA-Z\s]{2,20})\s*=\s*")
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)

# What a rule says of two texts that it does not concern.
NOT_MINE: Final = "not mine"


def unwrapped(text: str) -> str:
    r"""The text without ``\text``."""
    return _TEXT.sub(r"\1", text).strip()


def symbol_of(text: str) -> str:
    r"""A phrase such as ``\text{all real numbers}`` as its symbol; a whole ``\text`` unwrapped."""
    whole = _WHOLE_TEXT.fullmatch(text)
    inner = whole[1].strip() if whole else text
    phrase = _PHRASES.get(re.sub(r"[^a-z]", "", inner.lower())) if inner.isascii() else None
    if phrase is not None and re.fullmatch(r"[A-Za-z\s.-]+", inner):
        return phrase
    return inner if whole else text


def match_choice(answer: str, gold: str) -> bool | str:
    """Letters of a multiple choice, with or without parentheses, text and the chosen option.

    Args:
        answer: cleaned.
        gold: cleaned; a capital letter, possibly in parentheses.

    Returns:
        The decision, or :data:`NOT_MINE`.
    """
    wanted = _CHOICE.fullmatch(unwrapped(gold))
    if wanted is None:
        return NOT_MINE
    is_option = "(" in gold or "\\text" in gold
    given = unwrapped(answer)
    letter = _LETTER.fullmatch(given)
    if letter:
        return letter[1] == wanted[1] or (is_option and letter[1].upper() == wanted[1])
    chosen = _CHOSEN.fullmatch(given)
    if chosen is None:
        return False if is_option else NOT_MINE
    if _OTHER_CHOICE.search(chosen[4]):
        return False
    return next(each for each in chosen.groups() if each) == wanted[1]


def without_choice(text: str) -> str:
    r"""``\text{(B)} 12`` without its letter, where the gold answer is the option itself."""
    prefix = _PREFIX.match(text)
    if prefix is None or not text[prefix.end() :]:
        return text
    return text[prefix.end() :]


def match_base(answer: str, gold: str) -> bool | str:
    """Numerals with their base as a subscript: both must be there, literally.

    Returns:
        The decision, or :data:`NOT_MINE`.
    """
    left, right = _numeral(answer), _numeral(gold)
    if left is None and right is None:
        return NOT_MINE
    if left is None or right is None:
        other = answer if left is None else gold
        return False if parse_number(other) is not None else NOT_MINE
    return left == right


def _numeral(text: str) -> tuple[str, str] | None:
    found = _BASE.fullmatch(text)
    if found is None:
        return None
    base = _BASE_NAMES.get(found[2], found[2])
    if not base.isdigit() or not 2 <= int(base[:3]) <= 36:
        return None
    if not found[1][0].isdigit() and (int(base) <= 10 or len(found[1]) < 2):
        return None  # a_2 is a variable.
    return found[1].lstrip("0").upper() or "0", base


def match_time(answer: str, gold: str) -> bool | str:
    """Times of the day: the same hour and minute, and a.m. or p.m. wherever the gold says so.

    Returns:
        The decision, or :data:`NOT_MINE`.
    """
    left, right = (_TIME.fullmatch(_folded(text)) for text in (answer, gold))
    if left is None or right is None:
        return False if right is not None and (right[4] or right[5]) else NOT_MINE
    clocks = [(each[1], each[2] or "00", each[3]) for each in (left, right)]
    halves = [each[4] or each[5] for each in (left, right)]
    return clocks[0] == clocks[1] and halves[1] in (None, halves[0])


def match_words(answer: str, gold: str) -> bool | str:
    """Answers in words, without regard to case, punctuation, articles and plural.

    Returns:
        The decision, or :data:`NOT_MINE`.
    """
    is_prose = _is_prose(gold)
    if is_prose:
        answer = _LEFT_SIDE.sub("", answer)
    if (is_prose or "\\text" in gold) and _folded(answer) == _folded(gold):
        return True
    if re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}", gold) and _unspaced(answer) == _unspaced(gold):
        return True
    if _is_product(answer, gold):
        return True
    if not is_prose or re.search(r"\b(?:and|or)\b", unwrapped(gold)):
        return NOT_MINE
    return False


def _is_product(answer: str, gold: str) -> bool:
    """Whether both are one product of two or three letters: ``abc`` and ``b c a``."""
    factors = [re.sub(r"\\cdot|\s", "", text) for text in (answer, gold)]
    return bool(re.fullmatch("[a-zA-Z]{2,3}", factors[1])) and sorted(factors[0]) == sorted(
        factors[1]
    )


def _unspaced(text: str) -> str:
    return re.sub(r"\s+", "", unwrapped(text))


def _folded(text: str) -> str:
    text = _ARTICLE.sub("", unwrapped(text))
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])|[.'\"]", "", text)
    return re.sub(r"solutions\b", "solution", re.sub(r"\s+", "", text).casefold())


def _is_prose(text: str) -> bool:
    """Words that are no mathematics: letters and blanks, at least one word of three letters."""
    plain = unwrapped(text)
    if not re.fullmatch(r"[A-Za-z][A-Za-z\s'.-]*", plain) or parse_number(plain) is not None:
        return False
    return "\\text" in text or plain.lower() == "no" or re.search("[A-Za-z]{3,}", plain) is not None
