r"""What clauses say about variables, and whether two answers' clauses say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from holderpo.grading.numbers import parse_number
from holderpo.grading.parts import Compare, as_intervals, match_unordered
from holderpo.grading.structure import bracketed, split_top_level

# A variable that is not named: "for all integers".
UNNAMED = "*"

GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma"
    r"|tau|phi|varphi|chi|psi|omega|ell)(?![a-zA-Z])"
)
_INDEX = r"(?:\s*_\s*(?:\{\w{1,4}\}|\w))?'?"
NAME = re.compile(rf"(?:{GREEK}|(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])){_INDEX}")
_ANYWHERE = re.compile(rf"(?:{GREEK}|(?<!\\)[a-zA-Z]){_INDEX}")
_NO_VARIABLES = re.compile(rf"\\text\s*\{{[^{{}}]*\}}|(?!{GREEK})\\[a-zA-Z]+")
_PARITY = ("even", "odd")
_LETTERS = re.compile(r"(?<![\\a-zA-Z])([a-zA-Z]+)")


@dataclass(frozen=True)
class Claim:
    """What a clause says about variables."""

    variables: tuple[str, ...]
    """Their names; ``UNNAMED`` for the one of the answer."""
    keyword: str
    """The word that it stands behind, in lower case; empty if there is none."""
    kind: str = ""
    r"""One of ``R Z N Q C``, or nothing."""
    condition: str = ""
    r"""A relation such as ``x>0``, an interval, ``even``, ``n \equiv 1 \pmod 4`` or a range."""
    form: str = ""
    """Of the condition: ``relation``, ``interval``, ``word``, or ``point`` of which a value is."""


def variables_of(text: str) -> tuple[str, ...]:
    r"""The variables in a text: letters and Greek commands with their indices, in order.

    Args:
        text: cleaned; letters beside each other are factors.
    """
    text = _LETTERS.sub(lambda m: " ".join(m[1]), _NO_VARIABLES.sub(" ", text))
    names = (plain_name(match[0]) for match in _ANYWHERE.finditer(text))
    return tuple(dict.fromkeys(name for name in names if name != "e"))


def plain_name(name: str) -> str:
    """Without blanks and braces."""
    return re.sub(r"[\s{}]", "", name)


def fixes_a_value(claim: Claim) -> bool:
    r"""Whether a condition leaves one value or none, as ``2 \leq k \leq 2`` does."""
    interval = _interval(claim)
    inside = bracketed(interval) if interval else None
    ends = split_top_level(inside[1], ",") if inside else []
    numbers = [parse_number(end) for end in ends]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return False
    return numbers[0].value >= numbers[1].value


def contradicts(answer: str, claim: Claim) -> bool:
    """Whether an answer such as ``x = -5`` is none of the values that a claim about x allows."""
    sides = split_top_level(answer, "=")
    number = parse_number(sides[-1])
    if len(sides) < 2 or number is None or claim.variables != (plain_name(sides[0]),):
        return False
    if claim.kind in ("Z", "N") and number.value.denominator != 1:
        return True
    interval = _interval(claim)
    if claim.form == "word" or interval is None:
        return claim.condition in _PARITY and number.value % 2 != _PARITY.index(claim.condition)
    return not any(_holds(each, number.value) for each in split_top_level(interval, r"\\cup"))


def _holds(interval: str, value: Fraction) -> bool:
    """Whether a value is in an interval; also where its ends are no numbers."""
    inside = bracketed(interval)
    ends = split_top_level(inside[1], ",") if inside else []
    if inside is None or len(ends) != 2:
        return True
    low, high = (parse_number(end) for end in ends)
    above = low is None or value > low.value or (value == low.value and inside[0] == "[")
    below = high is None or value < high.value or (value == high.value and inside[2] == "]")
    return above and below


def _interval(claim: Claim) -> str | None:
    """A condition on one variable as an interval."""
    if claim.form == "interval":
        return re.sub(r"\+\s*\\infty", r"\\infty", claim.condition)
    if claim.form != "relation" or len(claim.variables) != 1:
        return None
    found = as_intervals(claim.condition)
    return found[1] if found else None


def agree(left: Iterable[Claim], right: Iterable[Claim], compare: Compare) -> bool | None:
    """Whether the claims of two sides about the variables that both name say the same."""
    left, right = list(left), list(right)
    kinds = [{(c.variables[0], c.kind) for c in side if c.kind} for side in (left, right)]
    for name, kind in kinds[0]:
        others = {other for variable, other in kinds[1] if variable == name}
        if others and kind not in others and {kind, *others} != {"N", "Z"}:
            return False
    whole = {name for name, kind in kinds[0] | kinds[1] if kind in ("N", "Z")}
    conditions = []
    for side, other in ((left, right), (right, left)):
        shared = names_of(other)
        conditions.append(
            _conditions([c for c in side if not shared.isdisjoint(c.variables)], whole)
        )
    first, second = conditions
    for one, another in ((first, second), (second, first)):
        _take_natural(one, another)
    return match_unordered(first, second, lambda a, g: _same_condition(a, g, compare))


def _take_natural(conditions: list[str], others: list[str]) -> None:
    r"""Write ``[0,\infty)`` and ``[1,\infty)`` as N where the other side has N: both are meant."""
    for condition in conditions:
        name, _, what = condition.rpartition(":")
        for bound in (f"{name}:[0,\\infty)", f"{name}:[1,\\infty)"):
            if what == "N" and bound in others:
                others[others.index(bound)] = condition


def _same_condition(left: str, right: str, compare: Compare) -> bool | None:
    (name, form, condition), (other, other_form, gold) = (
        each.split(":", 2) for each in (left, right)
    )
    if (name, form) != (other, other_form):
        return False
    if form == "word":
        return condition == gold
    return compare(condition, gold)


def _conditions(claims: list[Claim], whole: set[str]) -> list[str]:
    """The conditions, each as ``name:form:text``; those on one variable as one interval."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(",".join(sorted(claim.variables)), []).append(claim)
    conditions = []
    for name, group in found.items():
        if any(claim.kind == "N" for claim in group):
            conditions.append(f"{name}:interval:N")
        relations = [claim for claim in group if claim.form == "relation"]
        joined = " \\text{ and } ".join(dict.fromkeys(claim.condition for claim in relations))
        merged = as_intervals(joined) if relations and "," not in name else None
        if merged:
            intervals = [merged[1]]
        else:
            intervals = []
            for claim in relations:
                interval = _interval(claim)
                conditions += [] if interval else [f"{name}:relation:{claim.condition}"]
                intervals += [interval] if interval else []
        intervals += [_interval(claim) or "" for claim in group if claim.form == "interval"]
        intervals = [_of_integers(each) if name in whole else each for each in intervals]
        conditions += [f"{name}:interval:{each}" for each in dict.fromkeys(intervals)]
        for form in ("word", "point"):
            words = [claim.condition for claim in group if claim.form == form]
            conditions += [f"{name}:{form}:{word}" for word in dict.fromkeys(words)]
    return conditions


def _of_integers(interval: str) -> str:
    """Whole numbers above 0 are those from 1."""
    interval = re.sub(r"^\((-?\d{1,9})\s*,", lambda m: f"[{int(m[1]) + 1},", interval)
    return re.sub(r",\s*(-?\d{1,9})\)$", lambda m: f",{int(m[1]) - 1}]", interval)


def names_of(claims: Iterable[Claim]) -> set[str]:
    """All variables of them."""
    return {name for claim in claims for name in claim.variables}
