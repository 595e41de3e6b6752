r"""Numbers as people write them, read exactly: ``1,234.5``, ``\frac{3}{4}``, ``2e-3``, ``five``.

Values are fractions, so that 0.33 is not 1/3 and 2.88e-19 is not 1.60e-19.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from holderpo.grading.units import same_unit, split_unit

# Characters of a number, its exponent of ten, and the digits of a power that are still computed.
_MAX_CHARACTERS = 400
_MAX_EXPONENT = 400
_MAX_POWER_DIGITS = 1500

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,3}(?:\s\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?\s*(\d+)\s*\}?")
_DECIMAL = re.compile(_PLAIN)
_SLASHED = re.compile(rf"\(?({_PLAIN})\)?\s*/\s*\(?([+-]?{_PLAIN})\)?")
_FRAC = re.compile(rf"\\frac\s*\{{\s*([+-]?\s*{_PLAIN})\s*\}}\s*\{{\s*([+-]?\s*{_PLAIN})\s*\}}")
_MIXED = re.compile(r"(\d+)\s*(?:\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|\s(\d+)\s*/\s*(\d+))")
_SCIENTIFIC = re.compile(
    rf"({_PLAIN})\s*(?:(?:\\times|\\cdot|x)\s*\{{?10\}}?\s*\^\s*"
    r"(?:\{\s*([+-]?\s*\d+)\s*\}|([+-]?\d+))|[eE]\s*([+-]?\d+))"
)
_POWER = re.compile(r"(\d+)\s*\^\s*(?:\{\s*([+-]?\s*\d+)\s*\}|([+-]?\d+))")
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "dozen": 12}
_SCALED = re.compile(
    rf"(.*\d.*?)\s*(?:\\text\s*\{{\s*)?\b({'|'.join(_SCALES)})\b(?!\s*[a-z]*th)(.*)"
)
_WORDS = {
    word: value
    for value, word in enumerate(
        re.findall(
            "[a-z]+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen twenty",
        )
    )
}
_NEGATIVE = re.compile(r"(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A number and what is written beside it."""

    value: Fraction
    """Exactly."""
    unit: str = ""
    """Canonical name of the unit; empty if there is none."""


def same_number(left: Number, right: Number) -> bool:
    """Whether two numbers are equal; a unit, a percent or currency sign may be missing on one side.

    25 % is both 25 and 0.25 where the other side has no unit, as data sets have both.
    """
    if not same_unit(left.unit, right.unit):
        return False
    if left.value == right.value:
        return True
    if (left.unit, right.unit) == ("%", ""):
        return left.value == 100 * right.value
    return (left.unit, right.unit) == ("", "%") and 100 * left.value == right.value


def parse_number(text: str) -> Number | None:
    r"""Read a cleaned text that is one number, with or without a unit.

    Args:
        text: from :func:`holderpo.grading.normalization.clean`.

    Returns:
        The number, or none if the text is something else (also ``\sqrt{4}``, ``2+3``).
    """
    text = text.strip()
    if not text or len(text) > _MAX_CHARACTERS:
        return None
    negative = _NEGATIVE.match(text)
    if negative:
        text = "-" + text[negative.end() :].rstrip("}" if "{" in negative[0] else "")
    dollar = re.match(r"([+-]?)\s*(?:\\\$|USD|US\s*\\\$)\s*(?=[+-]?[\d.\\])", text)
    if dollar:
        text = dollar[1] + text[dollar.end() :]
    scale = 1
    scaled = _SCALED.fullmatch(text)
    if scaled:
        scale = _SCALES[scaled[2]]
        rest = scaled[3].strip(" }")
        text = scaled[1] + (f"\\text{{{rest}}}" if rest else "")
    body, unit = split_unit(text)
    if dollar and unit in ("", "$"):
        unit = "$"
    value = _signed(body)
    return None if value is None else Number(value * scale, unit)


def _signed(text: str) -> Fraction | None:
    sign = 1
    text = text.strip()
    while text[:1] in ("-", "+"):
        sign, text = (-sign if text[0] == "-" else sign), text[1:].strip()
    # Parentheses or braces around a number change nothing; (1,234) may be a pair.
    while len(text) > 2 and text[0] + text[-1] in ("()", "{}") and "," not in text:
        text = text[1:-1].strip()
        while text[:1] in ("-", "+"):
            sign, text = (-sign if text[0] == "-" else sign), text[1:].strip()
    value = _unsigned(text)
    return None if value is None else sign * value


def _unsigned(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return _decimal(text)
    if match := _FRAC.fullmatch(text) or _SLASHED.fullmatch(text):
        above, below = _decimal(match[1]), _decimal(match[2])
        return above / below if below else None
    if match := _MIXED.fullmatch(text):
        top, bottom = int(match[2] or match[4]), int(match[3] or match[5])
        return int(match[1]) + Fraction(top, bottom) if bottom else None
    if match := _SCIENTIFIC.fullmatch(text):
        exponent = int(re.sub(r"\s", "", match[2] or match[3] or match[4]))
        if abs(exponent) > _MAX_EXPONENT:
            return None
        return _decimal(match[1]) * Fraction(10) ** exponent
    if match := _POWER.fullmatch(text):
        return _power(int(match[1]), int(re.sub(r"\s", "", match[2] or match[3])))
    if match := _REPEATING.fullmatch(text):
        integer, fixed, repeated = match[1] or "0", match[2], match[3]
        difference = int(integer + fixed + repeated) - int(integer + fixed)
        return Fraction(difference, 10 ** len(fixed) * (10 ** len(repeated) - 1))
    word = _WORDS.get(text.lower())
    return None if word is None else Fraction(word)


def _decimal(text: str) -> Fraction:
    text = re.sub(r"[,\s]", "", text)
    if text.startswith(("-.", "+.", ".")):
        text = text.replace(".", "0.", 1)
    return Fraction(text.removesuffix("."))


def _power(base: int, exponent: int) -> Fraction | None:
    if abs(exponent) * math.log10(max(base, 2)) > _MAX_POWER_DIGITS or (base == 0 >= exponent):
        return None
    return Fraction(base) ** exponent
