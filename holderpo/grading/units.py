r"""Units beside a number: ``5 \text{ cm}^2``, ``90^\circ``, ``12 mph``, ``25%``, ``3 apples``."""

from __future__ import annotations

import re

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
)
_TOKEN = re.compile(r"(/)|([a-z$%¢°]+)\s*(?:\^\s*(-?\d+))?")


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
        if _TEXT_UNIT.fullmatch(tail) and _may_be_unit(_plain(tail), head):
            return head, _canonical(_plain(tail))
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


_CANONICAL = frozenset(_SYNONYMS.values())


def _may_be_unit(tail: str, head: str) -> bool:
    words = re.findall(r"[a-z]+", tail.lower())
    if any(_NO_UNIT.fullmatch(word) for word in words) or len(words) > 6:
        return False
    if not words:
        return bool(re.search(r"[\\$¢%]", tail))
    if re.search(r"\d|\\pi|\\sqrt|\\frac", head):
        return True
    # Beside a variable only what is certainly a unit.
    return all(
        word in _SYNONYMS or word in _SHORTHANDS or word in ("square", "sq") for word in words
    )


def _plain(text: str) -> str:
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
    for slash, name, power in _TOKEN.findall(unit):
        if slash:
            sign = -1
            continue
        name = _SYNONYMS.get(name, name.removesuffix("s") if len(name) > 3 else name)
        powers[name] = powers.get(name, 0) + sign * int(power or 1)
        sign = 1
    return " ".join(
        name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items())
    )
