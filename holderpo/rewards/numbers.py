r"""Numbers as people write them, read exactly: ``1,234.5``, ``\frac{3}{4}``, ``2e-3``.

Values are fractions, so that 0.33 is not 1/3 and 2.88e-19 is not 1.60e-19.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# Digits of a number, and of an exponent's value, that are still read.
_MAX_DIGITS = 400
_MAX_EXPONENT = 400

_PLAIN = r"(?:\d{1,3}(?:,\d{3}|\s\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")
_DECIMAL = re.compile(_PLAIN)
_SLASHED = re.compile(rf"({_PLAIN})\s*/\s*([+-]?{_PLAIN})")
_FRAC = re.compile(rf"\\frac\s*\{{\s*([+-]?\s*{_PLAIN})\s*\}}\s*\{{\s*([+-]?\s*{_PLAIN})\s*\}}")
_MIXED = re.compile(r"(\d+)\s*(?:\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|\s(\d+)\s*/\s*(\d+))")
_SCIENTIFIC = re.compile(
    rf"({_PLAIN})\s*(?:(?:\\times|\\cdot|x)\s*10\s*\^\s*(?:\{{\s*([+-]?\s*\d+)\s*\}}|([+-]?\d+))"
    r"|[eE]\s*([+-]?\d+)|\\times\s*\{?10\}?\s*\^\s*\{\s*([+-]?\s*\d+)\s*\})"
)
_POWER_OF_TEN = re.compile(r"10\s*\^\s*(?:\{\s*([+-]?\s*\d+)\s*\}|([+-]?\d))")

_UNIT_SYNONYMS = {
    name: canonical
    for canonical, names in {
        "deg": "degree degrees deg ^\\circ °",
        "%": "percent percentage % pct",
        "$": "\\$ $ dollar dollars usd",
        "cent": "cent cents ¢",
        "m": "m meter meters metre metres",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "mm": "mm millimeter millimeters",
        "km": "km kilometer kilometers kilometre kilometres",
        "in": "in inch inches",
        "ft": "ft foot feet",
        "yd": "yd yard yards",
        "mi": "mi mile miles",
        "s": "s sec secs second seconds",
        "min": "min mins minute minutes",
        "h": "h hr hrs hour hours",
        "g": "g gram grams",
        "kg": "kg kilogram kilograms",
        "l": "l liter liters litre litres",
        "lb": "lb lbs pound pounds",
        "mph": "mph",
        "unit": "unit units",
    }.items()
    for name in names.split()
}
_OF_AN_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
# A unit after a number without \text: never a letter that could be a variable.
_BARE_UNIT = re.compile(
    r"(?:[a-zA-Z]{2,}(?:\s*\^\s*\{?[23]\}?)?\.?)(?:[\s/.]+[a-zA-Z]+(?:\s*\^\s*\{?-?[1-4]\}?)?){0,6}"
)
_TEXT_UNIT = re.compile(
    r"(?:\\text\s*\{[^{}]*\}\s*(?:\^\s*(?:\{\s*-?\d\s*\}|\d))?[\s/]*|\\cdot\s*|/\s*[a-zA-Z]+\s*"
    r"|[a-zA-Z]{2,}\s*)+"
)
_FUNCTION_NAMES = ("pi", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "mod", "or", "and", "to")


@dataclass(frozen=True)
class Number:
    """A number and what is written beside it."""

    value: Fraction
    """Exactly."""
    unit: str = ""
    """Canonical name of the unit; empty if there is none."""


def parse_number(text: str) -> Number | None:
    r"""Read a cleaned text that is one number, with or without a unit.

    Args:
        text: from :func:`holderpo.rewards.normalization.clean`.

    Returns:
        The number, or none if the text is something else (also ``2^{10}``, ``\sqrt{2}``).
    """
    text = text.strip()
    if len(text) > _MAX_DIGITS:
        return None
    dollar = re.match(r"(-?)\s*(?:\\\$|USD|US\\\$)\s*(?=[\d.\\-])", text)
    if dollar:
        text = dollar[1] + text[dollar.end() :]
    body, unit = split_unit(text)
    first, _, rest = unit.partition(" ")
    scale = _SCALES.get(first, 1)
    if scale != 1:
        unit = rest.strip()
    if dollar and unit in ("", "$"):
        unit = "$"
    value = _signed(body)
    return None if value is None else Number(value * scale, unit)


def split_unit(text: str) -> tuple[str, str]:
    r"""Separate a trailing unit: ``5 \text{ cm}^2``, ``90^\circ``, ``12 mph``, ``25%``.

    Args:
        text: cleaned.

    Returns:
        The rest and the unit's canonical name, empty if there is none.
    """
    angle = _OF_AN_ANGLE.search(text)
    for suffix in ("^\\circ", "%"):
        if text.endswith(suffix) and len(text) > len(suffix) and not angle:
            return text[: -len(suffix)].strip(), _UNIT_SYNONYMS[suffix]
    degrees = re.search(r"\^\\circ\s*(?:\\text\s*\{\s*)?([CFK])\s*\}?$", text)
    if degrees:
        return text[: degrees.start()].strip(), "deg" + degrees[1]
    match = re.search(r"[\d})]\s*(\\text\s*\{)", text)
    if match:
        start = match.start(1)
        tail = _TEXT_UNIT.fullmatch(text[start:])
        if tail and re.search(r"[a-zA-Z\\$¢%]", _plain(text[start:])):
            return text[:start].strip(), _canonical(_plain(text[start:]))
    match = re.search(r"[\d})]\s*(?=[a-zA-Z]{2})", text)
    if match and not re.search(r"\\[a-zA-Z]+$", text[: match.end()]):
        tail_text = text[match.end() :]
        words = re.findall("[a-zA-Z]+", tail_text)
        if _BARE_UNIT.fullmatch(tail_text) and not any(word in _FUNCTION_NAMES for word in words):
            apart = text[match.end() - 1] == " " or len(words[0]) != len(tail_text)
            if words[0].lower() in _UNIT_SYNONYMS or (apart and len(words[0]) >= 3):
                return text[: match.end()].strip(), _canonical(tail_text)
    return text, ""


def _plain(text: str) -> str:
    return re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)


def _canonical(unit: str) -> str:
    unit = re.sub(r"[\s{}.]+", " ", unit).strip().lower()
    unit = re.sub(r"\s*\^\s*", "^", unit).replace("\\cdot", " ").strip()
    square = re.match(r"(?:sq|square|cubic|cu) ([a-z]+)$", unit)
    if square:
        power = "^3" if unit.startswith("cu") else "^2"
        return _UNIT_SYNONYMS.get(square[1], square[1].rstrip("s")) + power
    base, caret, power = unit.partition("^")
    if base in _UNIT_SYNONYMS:
        return _UNIT_SYNONYMS[base] + caret + power
    return re.sub(r"s\b", "", unit)


def _signed(text: str) -> Fraction | None:
    sign = 1
    text = text.strip()
    while text[:1] in ("-", "+"):
        sign, text = (-sign if text[0] == "-" else sign), text[1:].strip()
    # One pair of parentheses or braces around a number changes nothing.
    if len(text) > 2 and text[0] + text[-1] in ("()", "{}"):
        inner = _signed(text[1:-1])
        return None if inner is None else sign * inner
    value = _unsigned(text)
    return None if value is None else sign * value


def _unsigned(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return _decimal(text)
    if match := _FRAC.fullmatch(text) or _SLASHED.fullmatch(text):
        above, below = _decimal(match[1]), _decimal(match[2])
        return above / below if below else None
    if match := _MIXED.fullmatch(text):
        over, under = int(match[2] or match[4]), int(match[3] or match[5])
        return int(match[1]) + Fraction(over, under) if under else None
    if match := _SCIENTIFIC.fullmatch(text):
        exponent: str = next(group for group in match.groups()[1:] if group is not None)
        return _times_power_of_ten(_decimal(match[1]), exponent)
    if match := _POWER_OF_TEN.fullmatch(text):
        return _times_power_of_ten(Fraction(1), match[1] or match[2])
    if match := _REPEATING.fullmatch(text):
        whole, fixed, repeated = match[1] or "0", match[2], match[3]
        difference = int(whole + fixed + repeated) - int(whole + fixed)
        return Fraction(difference, 10 ** len(fixed) * (10 ** len(repeated) - 1))
    return None


def _decimal(text: str) -> Fraction:
    text = re.sub(r"[,\s]", "", text)
    if text.startswith(("-.", "+.", ".")):
        text = text.replace(".", "0.", 1)
    return Fraction(text.rstrip(".") if text.endswith(".") else text)


def _times_power_of_ten(value: Fraction, exponent: str) -> Fraction | None:
    power = int(re.sub(r"\s", "", exponent))
    return value * Fraction(10) ** power if abs(power) <= _MAX_EXPONENT else None
