r"""The symbolic half of the comparison, by math-verify; may take for ever, so only in workers.

math-verify's own time limits are off (they need a process's main thread and swallow each other);
the worker has its own. Of math-verify are used the grammar (latex2sympy2_extended) and the
comparison (``verify``), and not the extraction between them, which takes ``2t`` for 2 with a unit,
``A`` for ``a``, and the first part of a text that it understands for the whole.

Parsed expressions are compared by their values at sample points first: fast, and decisive for most.
Analytic expressions with the same fifty digits at a few points without structure are the same
expression; one point where they differ is enough to tell that they are not. Where neither can be
said (floors, huge integers, undefined functions, an exact zero) ``verify`` decides, which is slower
by far, rounds to six decimals, and does not find every identity.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from holderpo.grading.answer_text import clean
from holderpo.grading.numbers import same_unit, split_unit
from holderpo.grading.quick import MAX_DEPTH, match
from holderpo.grading.structure import depth_of

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

_DIGITS = 50
_RELATIVE_TOLERANCE = 1e-40
# What cancels out to zero is below this, with free symbols and without.
_NOISE, _CONSTANT_NOISE = 1e-25, 1e-90
# Integers and values above this may differ in digits that were not computed.
_LARGE = 10**20
# Of one symbol both signs are tried where that is real, as sqrt(x^2) is not x; several are
# quantities, positive, so that the root of a product is that of roots. Once they ascend, once they
# descend.
_ONE_SYMBOL = ((0.7312, 0.0), (2.3871, 0.0), (-1.6134, 0.0))
_SEVERAL_SYMBOLS = ((0.7312, 0.3171), (3.3871, -0.1523))


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


def same_values(left: Any, right: Any) -> bool | None:
    """Whether two expressions have equal values at sample points.

    Args:
        left: parsed.
        right: parsed.

    Returns:
        The decision; none if values cannot tell, also if one side is no expression.
    """
    from sympy import Expr, Product, Rational, Sum

    if not (isinstance(left, Expr) and isinstance(right, Expr)):
        return None
    if isinstance(left, Rational) and isinstance(right, Rational):
        return bool(left == right)
    is_decisive = _is_decided_by_values(left, right)  # doit makes Abs(x) of sqrt(x^2).
    left, right = (_without_functions(side).doit() for side in (left, right))
    symbols = left.free_symbols | right.free_symbols
    if symbols and any(side.has(Sum, Product) for side in (left, right)):
        return None  # Their limits are no whole numbers at the sample points.
    seen = False
    for point in _points(symbols):
        a, b = (value_of(side.subs(point)) for side in (left, right))
        if a is None or b is None:
            continue
        if not (a.is_real and b.is_real) and any(value < 0 for value in point.values()):
            continue
        if left.is_zero or right.is_zero:
            if abs(a - b) > (_NOISE if point else _CONSTANT_NOISE):
                return False
            return None
        if abs(a - b) > _RELATIVE_TOLERANCE * max(abs(a), abs(b)):
            return False
        if max(abs(a), abs(b)) > _LARGE:
            return None
        seen = True
    return True if seen and is_decisive else None


def same_equations(left: Any, right: Any) -> bool | None:
    """Whether two equations are the same but for a factor.

    Args:
        left: parsed.
        right: parsed.

    Returns:
        The decision; none if the equations would have to be solved, also if one is no equation.
    """
    from sympy import Eq, Expr

    if not (isinstance(left, Eq) and isinstance(right, Eq)):
        return None
    if not all(isinstance(side, Expr) for side in left.args + right.args):
        return None  # x in [1, 2] is an equation to the grammar.
    left, right = left.lhs - left.rhs, right.lhs - right.rhs
    # Nothing is to be solved where a derivative is the unknown.
    otherwise = False if _opaque(left) or _opaque(right) else None
    left, right = _without_functions(left), _without_functions(right)
    if _fails_where_zero(left, right) or _fails_where_zero(right, left):
        return False
    ratios = []
    for point in _points(left.free_symbols | right.free_symbols):
        a, b = (value_of(side.subs(point)) for side in (left, right))
        if a is None or b is None:
            continue
        if min(abs(a), abs(b)) <= _NOISE:
            return otherwise
        ratios.append(a / b)
    near = [abs(each - ratios[0]) <= _RELATIVE_TOLERANCE * abs(ratios[0]) for each in ratios]
    if len(near) > 1 and all(near) and _is_decided_by_values(left, right):
        return True
    return otherwise


def _fails_where_zero(left: Any, right: Any) -> bool:
    """Whether ``left`` is not zero at a point that solves ``right``, by a symbol linear in it."""
    symbols = left.free_symbols | right.free_symbols
    slopes = {symbol: right.diff(symbol) for symbol in sorted(right.free_symbols, key=str)}
    linear = [symbol for symbol, slope in slopes.items() if symbol not in slope.free_symbols]
    for symbol in linear[:1]:
        solution = -right.subs(symbol, 0) / slopes[symbol]
        for point in _points(symbols - {symbol}):
            value = value_of(left.subs(symbol, solution).subs(point))
            if value is not None and abs(value) > _NOISE:
                return True
    return False


def value_of(expression: Any) -> Any:
    """Its value, as a sympy number of any size; none if it has no finite one."""
    try:
        value = expression.doit().evalf(_DIGITS)
        real, imaginary = value.as_real_imag()
        finite = real.is_Float or real.is_Integer or real.is_Rational
        return value if finite and imaginary.is_number and value.is_finite else None
    except Exception:  # sympy raises any.
        return None


def _opaque(expression: Any) -> set[Any]:
    """Undefined functions, and derivatives of symbols, which sympy takes for 0."""
    from sympy import Derivative
    from sympy.core.function import AppliedUndef

    found: set[Any] = expression.atoms(AppliedUndef)
    return found | {each for each in expression.atoms(Derivative) if each.expr.is_Symbol}


def _without_functions(expression: Any) -> Any:
    """The expression with a symbol for each of them."""
    from sympy import Symbol

    return expression.xreplace(
        {each: Symbol(f"<{each}>", real=True) for each in _opaque(expression)}
    )


def _points(symbols: set[Any]) -> Iterator[dict[Any, Any]]:
    from sympy import Float

    if not symbols:
        yield {}
        return
    for first, step in _ONE_SYMBOL if len(symbols) == 1 else _SEVERAL_SYMBOLS:
        yield {
            symbol: Float(first * (1 + step) ** n, _DIGITS + 10)
            for n, symbol in enumerate(sorted(symbols, key=str))
        }


def _is_decided_by_values(*sides: Any) -> bool:
    """Whether agreement at a few points proves agreement everywhere."""
    from sympy import Abs, Max, Min, Mod, Piecewise, Rational, ceiling, floor, sign

    stepwise = (Abs, Max, Min, Mod, Piecewise, ceiling, floor, sign)
    return not any(side.has(*stepwise) for side in sides) and all(
        max(abs(number.p), number.q) <= _LARGE for side in sides for number in side.atoms(Rational)
    )
