r"""The symbolic half of the comparison, by math-verify; may take for ever, so only in workers.

math-verify's own time limits are off (they need a process's main thread and swallow each other);
the worker has its own. Of math-verify are used the grammar (latex2sympy2_extended) and the
comparison (``verify``), and not the extraction between them, which takes ``2t`` for 2 with a unit,
``A`` for ``a``, and the first part of a text that it understands for the whole. Values come first
(:mod:`holderpo.grading.values`): verify is slower by far, rounds to six decimals, and does not find
every identity; it is left what values cannot tell.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any

from holderpo.grading.normalization import clean
from holderpo.grading.quick import MAX_DEPTH, match
from holderpo.grading.structure import depth_of
from holderpo.grading.units import same_unit, split_unit
from holderpo.grading.values import same_equations, same_values, value_of

# What no mathematical answer holds, or the grammar skips over: "1 2" is read as 1 + 2.
_FOREIGN = re.compile(
    r'["#@?;`%&]|__|//|\d\s+\d|(?:^|[^\w}\\)\]|\s])\s*_|\d[eE][+-]?\d++(?![a-zA-Z])'
    r"|\\(?:prime|input|def|write|catcode|csname|ne|neq|not|equiv|sim|mod|pmod|bmod|phantom|dots|ldots)"
    r"(?![a-zA-Z])|\.\.|\\text|(?<![a-zA-Z'])'"
)
# The grammar drops the base of a numeral.
_NUMERAL = re.compile(r"\d\s*_")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
# Commands and indices are passed over.
_CONSTANT_NAME = re.compile(r"\\[a-zA-Z]+|_\s*\{[^{}]*\}|([eEI])\s*_\s*(\{\s*\w*\s*\}|\w)|(I)")


class UnparseableError(ValueError):
    """The answer cannot be read as mathematics."""


def symbolic_match(answer: str, gold: str) -> bool:
    """Compare with all means, after the quick half could not decide.

    Args:
        answer: as extracted.
        gold: as prepared.

    Returns:
        Whether they are equal.

    Raises:
        UnparseableError: if a part of the answer could not be parsed and nothing else decided.
    """
    answer, gold = clean(answer), clean(gold)
    if depth_of(answer) > MAX_DEPTH:
        raise UnparseableError(answer)
    unparseable: list[str] = []

    def leaf(a: str, g: str) -> bool:
        try:
            return _equal(a, g)
        except UnparseableError:
            unparseable.append(a)
            return False

    decision = match(answer, gold, leaf, _roughly_equal)
    if not decision and unparseable:
        raise UnparseableError(unparseable[0])
    return bool(decision)


def _equal(answer: str, gold: str) -> bool:
    from math_verify import verify
    from sympy import Eq, solve

    answer, gold = _same_angles(answer, gold)
    (answer, answer_unit), (gold, gold_unit) = split_unit(answer), split_unit(gold)
    if not same_unit(answer_unit, gold_unit):
        return False
    if _NUMERAL.search(answer):
        raise UnparseableError(answer)
    foreign = set(_FOREIGN.findall(gold)) | set(_WORD.findall(gold))
    if any(each not in foreign for each in _FOREIGN.findall(answer) + _WORD.findall(answer)):
        raise UnparseableError(answer)
    parsed_answer = _parse(answer)
    if parsed_answer is None:
        raise UnparseableError(answer)
    parsed_gold = _parse(gold)
    if parsed_gold is None:
        return False
    for compare in (same_values, same_equations):
        decision = compare(parsed_answer, parsed_gold)
        if decision is not None:
            return decision
    equal = verify(
        parsed_gold,
        parsed_answer,
        strict=True,
        allow_set_relation_comp=True,
        timeout_seconds=None,
        raise_on_error=False,
    )
    # verify calls equations equal of which neither has a solution.
    return bool(equal) and (not isinstance(parsed_gold, Eq) or bool(solve(parsed_gold)))


def _same_angles(answer: str, gold: str) -> tuple[str, str]:
    r"""Degrees in the arguments of functions, or beside ``\pi``, become radians."""
    converted = []
    for text, other in ((answer, gold), (gold, answer)):
        if _TRIGONOMETRIC.search(text) or ("\\pi" in other and "\\pi" not in text):
            text = _DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
        elif "\\circ" not in other:
            text = text.replace("^\\circ", "")
        converted.append(text)
    return converted[0], converted[1]


def _as_variable(match: re.Match[str]) -> str:
    """An indexed e or E, or I, which the grammar refuses or takes for the imaginary unit."""
    name, index = match[1] or match[3], match[2] or ""
    return f"X_{{{name}{index.strip('{}')}}}" if name else match[0]


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> Any:
    """The sympy object of a text; none if the grammar refuses it.

    Parsing takes longer than comparing, and a gold answer is compared many times.
    """
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import Basic, Float, I, MatrixBase, Rational, Symbol

    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", text)
    text = re.sub(r"_\s*([a-zA-Z])", r"_{\1}", text)
    text = _CONSTANT_NAME.sub(_as_variable, text)
    # The grammar drops a prime, takes these for functions, and knows no power of a factorial.
    text = re.sub(r"(?<=[a-zA-Z])('+)", lambda m: f"_{{{'p' * len(m[0])}}}", text)
    text = re.sub(r"\\((g)amma|(G)amma(?!\s*\())(?![a-zA-Z])", r"\2\3_{\1}", text)
    text = re.sub(r"(\w+|\([^()]*\))\s*!\s*\^", r"(\1!)^", text)
    try:
        parsed = latex2sympy(
            text,
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        # Decimals are exact: 1.4142136 is not the square root of 2.
        if isinstance(parsed, Basic):
            parsed = parsed.xreplace({each: Rational(str(each)) for each in parsed.atoms(Float)})
        unit = Symbol("i", real=True)
        if isinstance(parsed, MatrixBase) or unit in getattr(parsed, "free_symbols", ()):
            parsed = parsed.subs(unit, I)
    except Exception:  # The grammar raises bare exceptions, and sympy any.
        return None
    return parsed


def _roughly_equal(exact: str, approximation: str) -> bool:
    """Whether a decimal is the exact value to within its last digit."""
    from sympy import Rational

    value = value_of(_parse(split_unit(exact)[0]))
    number = re.fullmatch(
        r"(-?\s*\d+(?:\.(\d+))?)(?:\s*(?:\\times|\\cdot)\s*10\s*\^\s*\{?\s*(-?\d+)\s*\}?)?",
        re.sub(r"(?<=\d),(?=\d{3})", "", split_unit(approximation)[0]),
    )
    if value is None or number is None:
        return False
    power = int(number[3] or 0)
    about = Fraction(number[1].replace(" ", "")) * Fraction(10) ** power
    last_digit = Fraction(10) ** (power - len(number[2] or ""))
    return bool(abs(value - Rational(about.numerator, about.denominator)) < float(last_digit))
