r"""Numbers as people write them, read exactly: ``1,234.5``, ``\frac{3}{4}``, ``2e-3``, ``five``.

Values are fractions, so that 0.33 is not 1/3 and 2.88e-19 is not 1.60e-19. The unit beside a number
(``5 \text{ cm}^2``, ``90^\circ``, ``12 mph``, ``25%``, ``3 apples``) is read with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

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

# Units.
_SYNONYMS = {
    name: canonical
    for canonical, names in {
        "deg": "degree degrees deg ^\\circ °",
        "%": "percent percentage percents pct %",
        "$": "\\$ $ dollar dollars usd",
        "cent": "cent cents ¢",
        "m": "m meter meters metre metres",
        "cm": "cm cms centimeter centimeters centimetre centimetres",
        "mm": "mm millimeter millimeters millimetre millimetres",
        "km": "km kms kilometer kilometers kilometre kilometres",
        "in": "in inch inches",
        "ft": "ft foot feet",
        "yd": "yd yds yard yards",
        "mi": "mi mile miles",
        "s": "s sec secs second seconds",
        "min": "min mins minute minutes",
        "h": "h hr hrs hour hours",
        "day": "day days",
        "yr": "yr yrs year years",
        "g": "g gm gms gram grams",
        "kg": "kg kgs kilogram kilograms",
        "l": "l liter liters litre litres",
        "ml": "ml milliliter milliliters",
        "lb": "lb lbs pound pounds",
        "oz": "oz ounce ounces",
        "rad": "rad radian radians",
        "arcsec": "arcsec arcsecs arcsecond arcseconds ''",
        "unit": "unit units",
        "angstrom": "angstrom angstroms",
        "j": "j joule joules",
        "n": "n newton newtons",
        "k": "k kelvin kelvins",
        "hz": "hz hertz",
        "pa": "pa pascal pascals",
        "w": "w watt watts",
        "ev": "ev electronvolt electronvolts",
    }.items()
    for name in names.split()
}
_CANONICAL = frozenset(_SYNONYMS.values())
_SHORTHANDS = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "cc": "cm^3"}
_OF_AN_ANGLE = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)")
_TEXT_UNIT = re.compile(
    r"(?:\\text\s*\{[^{}]*\}\s*(?:\^\s*(?:\{\s*-?\d\s*\}|-?\d))?[\s/]*|\\cdot\s*|/\s*[a-zA-Z]++\s*"
    r"|[a-zA-Z]{2,}+\s*)+"
)
# A unit without \text: never a single letter, which could be a variable.
_BARE_UNIT = re.compile(
    r"(?:[a-zA-Z]{2,}(?:\s*\^\s*\{?-?[1-4]\}?)?\.?)"
    r"(?:[\s/.-]+[a-zA-Z]+(?:\s*\^\s*\{?-?[1-4]\}?)?\.?){0,6}"
)
# m/s, km/h^2
_COMPOUND = re.compile(r"[\d})]\s+([ckm]?[mg]\s*/\s*[a-z]{1,3}(?:\s*\^\s*\{?-?[1-4]\}?)?)$")
_FUNCTION_NAMES = ("pi", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "mod", "or", "and", "to")
# Words that say more than a unit does.
_NO_UNIT = re.compile(
    r"not?|nor|or|and|than|more|less|least|most|fewer|to|between|over|under|above|below|is|are|isnt"
    r"|was|be|wrong|incorrect|false|if|when|where|except|but|minus|plus|times|divided|half|twice"
    r"|hundred|thousand|million|billion|dozen|mod|modulo|maybe|either|neither|instead|unless"
    r"|provided|given|assuming|since|because|whenever|otherwise|else"
)
# And in front of others.
_NO_FIRST_WORD = re.compile(r"for|with|as|such")
_UNIT_TOKEN = re.compile(r"(/)|([a-z$%¢°]+)\s*(?:\^\s*(-?\d+))?")


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
        text: from :func:`holderpo.grading.answer_text.clean`.

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


def split_unit(text: str) -> tuple[str, str]:
    r"""Separate a trailing unit.

    Args:
        text: cleaned.

    Returns:
        The rest and the unit's canonical name, empty if there is none.
    """
    if not _OF_AN_ANGLE.search(text):
        for suffix in ("^\\circ", "%", "\\$"):
            if text.endswith(suffix) and len(text) > len(suffix):
                return text[: -len(suffix)].strip(), _SYNONYMS[suffix]
        if re.search(r"\d''$", text):
            return text[:-2], _SYNONYMS["''"]
        degrees = re.search(r"\^\\circ\s*(?:\\text\s*\{\s*)?([CFK])\s*\}?$", text)
        if degrees:
            return text[: degrees.start()].strip(), "deg" + degrees[1]
    start = text.find("\\text")
    head = text[:start].strip()
    if start > 0 and head and head[-1] not in "=+-*/^_({[,<>&|:":
        tail = text[start:]
        if _TEXT_UNIT.fullmatch(tail) and _may_be_unit(_without_text(tail), head):
            return head, _canonical(_without_text(tail))
    compound = _COMPOUND.search(text)
    if compound and all(name in _SYNONYMS for name in re.findall("[a-z]+", compound[1])):
        return text[: compound.start(1)].strip(), _canonical(compound[1])
    match = re.search(r"[\d})]\s*(?=[a-zA-Z]{2})", text)
    if match and not re.search(r"\\[a-zA-Z]+$", text[: match.end()]):
        tail, head = text[match.end() :], text[: match.end()].strip()
        words = re.findall("[a-zA-Z]+", tail)
        apart = text[match.end() - 1] == " " or len(words[0]) != len(tail)
        known = words[0].lower() in _SYNONYMS or words[0].lower() in _SHORTHANDS
        if (
            _BARE_UNIT.fullmatch(tail)
            and not any(word in _FUNCTION_NAMES for word in words)
            and (known or (apart and len(words[0]) >= 3))
            and _may_be_unit(tail, head)
        ):
            return head, _canonical(tail)
    return text, ""


def same_unit(left: str, right: str) -> bool:
    """Whether two units may stand for each other; a missing one may for any.

    Args:
        left: canonical name.
        right: canonical name.

    Returns:
        True also for "unit^2" beside "cm^2", and for "girl" beside "girl class".
    """
    if not left or not right or left == right:
        return True
    for generic, other in ((left, right), (right, left)):
        if re.fullmatch(r"unit(\^\d)?", generic) and re.fullmatch(r"[a-z]+(\^\d)?", other):
            return generic.partition("^")[2] == other.partition("^")[2]
    words = [set(unit.split()) for unit in (left, right)]
    if any(word.partition("^")[0] in _CANONICAL for side in words for word in side):
        return False
    return words[0] <= words[1] or words[1] <= words[0]


def _may_be_unit(tail: str, head: str) -> bool:
    words = re.findall(r"[a-z]+", tail.lower())
    if any(_NO_UNIT.fullmatch(word) for word in words) or len(words) > 6:
        return False
    if words and _NO_FIRST_WORD.fullmatch(words[0]):
        return False
    if not words:
        return bool(re.search(r"[\\$¢%]", tail))
    if re.search(r"\d|\\pi|\\sqrt|\\frac", head):
        return True
    # Beside a variable only what is certainly a unit.
    return all(
        word in _SYNONYMS or word in _SHORTHANDS or word in ("square", "sq") for word in words
    )


def _without_text(text: str) -> str:
    return re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)


def _canonical(unit: str) -> str:
    unit = re.sub(r"[{}.()\\,]|\bof\b|\bthe\b", " ", unit.lower().replace("\\cdot", " "))
    unit = re.sub(r"\bper\b", "/", unit)
    unit = re.sub(r"\b(?:sq|square) ([a-z]+)", r"\1^2", unit)
    unit = re.sub(r"\b(?:cu|cubic) ([a-z]+)", r"\1^3", unit)
    unit = re.sub(r"\b([a-z]+) squared\b", r"\1^2", unit)
    unit = re.sub(r"\b([a-z]+) cubed\b", r"\1^3", unit)
    unit = re.sub(r"[a-z]+", lambda m: _SHORTHANDS.get(m[0], m[0]), unit)
    powers: dict[str, int] = {}
    sign = 1
    for slash, name, power in _UNIT_TOKEN.findall(unit):
        if slash:
            sign = -1
            continue
        name = _SYNONYMS.get(name, name.removesuffix("s") if len(name) > 3 else name)
        powers[name] = powers.get(name, 0) + sign * int(power or 1)
        sign = 1
    return " ".join(
        name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items())
    )
