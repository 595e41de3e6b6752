"""Comparing parsed expressions by their values at sample points: fast, and decisive for most.

Analytic expressions with the same fifty digits at a few points without structure are the same
expression; one point where they differ is enough to tell that they are not. Where neither can be
said (floors, huge integers, undefined functions, an exact zero) the symbolic comparison decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
