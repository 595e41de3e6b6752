r"""The symbolic half of the comparison, by math-verify; may take for ever, so only in workers.

math-verify's own time limits are off (they need a process's main thread and swallow each other);
the worker has its own. Around it two of its habits are undone: closed values are compared again
with a relative tolerance (it rounds to six decimals, so that all tiny numbers are equal), and text
that its parser would skip over makes an answer unparseable.
"""

from __future__ import annotations

import re
from typing import Any

from holderpo.rewards.normalization import clean
from holderpo.rewards.numbers import split_unit
from holderpo.rewards.quick import match

# Of closed values, after math-verify has called them equal.
RELATIVE_TOLERANCE = 1e-6

# What no mathematical answer holds; the parser would read on behind it.
_FOREIGN = re.compile(r'["#@?;`]|%.|(?<![\\{}])\b_|__|\\(?:input|def|write|catcode|csname)|//')
_LETTER_UNIT = re.compile(r"\d\s+[a-zA-Z]$")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ")


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
    unparseable: list[str] = []

    def leaf(a: str, g: str) -> bool:
        try:
            return _equal(a, g)
        except UnparseableError:
            unparseable.append(a)
            return False

    decision = match(clean(answer), clean(gold), leaf)
    if not decision and unparseable:
        raise UnparseableError(unparseable[0])
    return bool(decision)


def _equal(answer: str, gold: str) -> bool:
    from math_verify import verify

    if _FOREIGN.search(answer):
        raise UnparseableError(answer)
    (answer_body, answer_unit), (gold_body, gold_unit) = split_unit(answer), split_unit(gold)
    if answer_unit and gold_unit and answer_unit != gold_unit:
        return False
    if (
        any(_LETTER_UNIT.search(body) for body in (answer_body, gold_body))
        and answer_unit != gold_unit
    ):
        return False  # "5 m" against "5 cm"
    parsed_answer = _parse(answer_body)
    if not parsed_answer:
        raise UnparseableError(answer)
    parsed_gold = _parse(gold_body)
    if not parsed_gold:
        return False
    equal = verify(
        parsed_gold,
        parsed_answer,
        strict=True,
        allow_set_relation_comp=True,
        timeout_seconds=None,
        raise_on_error=False,
    )
    return bool(equal) and _close(parsed_answer[0], parsed_gold[0])


def _parse(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # An angle inside an expression is a number of radians.
    text = _DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
    return list(
        parse(
            f"${text}$",
            [LatexExtractionConfig(boxed_match_priority=0)],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
            raise_on_error=False,
        )
    )


def _close(left: Any, right: Any) -> bool:
    """Closed values must agree to a relative 1e-6; everything else stays as it was judged."""
    from sympy import Expr

    if not all(isinstance(side, Expr) and not side.free_symbols for side in (left, right)):
        return True
    try:
        a, b = (complex(side.evalf(20)) for side in (left, right))
    except (TypeError, ValueError, OverflowError):
        return True
    if not (abs(a) < float("inf") and abs(b) < float("inf")):
        return bool(left == right)
    if a == 0 and b == 0:
        # Both vanish as floats: compare them with more range than a float has.
        return bool(left == right) or bool((left - right).equals(0))
    return abs(a - b) <= RELATIVE_TOLERANCE * max(abs(a), abs(b))
