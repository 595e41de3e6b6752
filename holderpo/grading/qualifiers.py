r"""Answers with a clause that says for what they hold: ``5k \text{ where } k \in \mathbb{Z}``.

The clause is taken off if it does not change the value. Where both sides have one about the same
variable, the two must agree; where one side has one, it must be harmless beside its answer: a
domain or condition of a variable of the answer, or one behind a word such as "for". A clause that
chooses among several values, cuts a solution set down, gives a variable of the answer a value or is
one of several cases stays, and then the texts are compared as they are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from holderpo.grading.claims import (
    NAME,
    UNNAMED,
    Claim,
    agree,
    contradicts,
    fixes_a_value,
    names_of,
    variables_of,
)
from holderpo.grading.clauses import MAX_CLAUSE_CHARACTERS, read_clauses
from holderpo.grading.parts import Compare, Decision, elements, named_values
from holderpo.grading.structure import bracketed, split_top_level
from holderpo.grading.words import NOT_MINE

# Places at which a clause may begin; more are not tried.
_MAX_STARTS = 24

# Text of \text{...} in the working copy, one character at each end.
_OPEN, _CLOSE = "\ue000", "\ue001"
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_BRACKET = re.compile(r"\\begin(?![a-zA-Z])|\\end(?![a-zA-Z])|\\[{}]|\\.|[()\[\]{}]", re.DOTALL)
_START = re.compile(
    r"[,;:]|[(\[]|\\(?:forall|blacksquare|checkmark|square|Box|qed)(?![a-zA-Z])|[✓✔∎■]"
    r"|(?<![a-zA-Z\\])(?:where|with|for|if|when|whenever|such that|s\.t\.|provided|given|since"
    r"|because|assuming|as|so long|subject|on|over|in|at|exactly|only|indeed|altogether|regardless"
    r"|equality|attained|achieved|reached|which is|q\.?e\.?d|after|by|is|simplified|final)"
    r"(?![a-zA-Z])"
    rf"|\s(?={NAME.pattern}\s*\\in\s*\\mathbb)",
    re.IGNORECASE,
)
# In front of a clause they say that it is one of several cases, or no right answer at all.
_OTHERWISE = re.compile(
    r"(?<!\S)(?:where|with|for|if|when|whenever|otherwise|else|unless|except|not|never|wrong|false|but"
    r"|only|such that|provided|given|at|attained|achieved|reached|equality)(?![^\s,;:()])",
    re.IGNORECASE,
)
_WORDS_ALONE = re.compile(
    r"(?:[^\w\\]*+(?:[A-Za-z]{3,}+|no)(?!\w))++[^\w\\]*|[^\w\\]*[A-Z]?[^\w\\]*", re.IGNORECASE
)
_SET_LIKE = (
    r"[<>]|\\(?:leq|geq|neq|in|notin|cup|cap|setminus|subset|subseteq|mathbb|emptyset)(?![a-zA-Z])"
)
_LEFT_SIDE = re.compile(rf"{NAME.pattern}(?:\s*\([^()]*\))?|\([^()]*\)|[A-Z]{{2,3}}")
# Behind these a clause may be about a variable that the answer does not have.
_DECLARING = re.compile(
    r"where|with|for|such that|s\.t\.|provided(?: that)?|given(?: that)?|since|because"
    r"|assuming(?: that)?|as|subject to|on|over|\\forall"
)


@dataclass(frozen=True)
class _Qualified:
    """An answer taken apart."""

    answer: str
    """Without its clauses."""
    claims: tuple[Claim, ...]
    """What the clauses say."""
    has_clause: bool
    """Whether there was one; ``as required`` claims nothing."""


def match_qualified(answer: str, gold: str, compare: Compare) -> Decision:
    """Compare without clauses that do not change the value, if there is one.

    Args:
        answer: cleaned.
        gold: cleaned.
        compare: decides about two texts without clauses.

    Returns:
        The decision, or :data:`~holderpo.grading.words.NOT_MINE`.
    """
    left, right = _split(answer), _split(gold)
    if not (left.has_clause or right.has_clause):
        return NOT_MINE
    left = _renamed(left, right)
    decisions = [agree(left.claims, right.claims, compare)]
    if decisions[0] is False:
        return False
    for side, other in ((left, right), (right, left)):
        shared = names_of(other.claims)
        own = [claim for claim in side.claims if shared.isdisjoint(claim.variables)]
        if own and not _is_harmless(side.answer, own):
            return NOT_MINE
    decisions.append(compare(left.answer, right.answer))
    return False if False in decisions else None if None in decisions else True


@functools.lru_cache(maxsize=1024)
def _split(text: str) -> _Qualified:
    """Take the clauses behind an answer off."""
    whole = _Qualified(text, (), False)
    family = _family(text)
    if family:
        return family
    working = _TEXT.sub(rf"{_OPEN}\1{_CLOSE}", text)
    outside = _outside_of_brackets(working)
    starts = [match.start() for match in _START.finditer(working) if outside[match.start()]]
    for start in starts[:_MAX_STARTS]:
        answer, tail = working[:start], working[start:]
        if len(tail) > 2 * MAX_CLAUSE_CHARACTERS:
            continue
        claims = read_clauses(re.sub(f"[{_OPEN}{_CLOSE}]", " ", tail))
        if claims is None:
            continue
        answer = answer.rstrip(f" ,;.{_OPEN}")
        if not _may_have_clauses(re.sub(f"[{_OPEN}{_CLOSE}]", " ", answer)):
            return whole
        answer = _with_text(answer)
        named = _named_claims(answer, claims)
        return whole if named is None else _Qualified(answer, named, True)
    return whole


def _family(text: str) -> _Qualified | None:
    r"""``\{5k \mid k \in \mathbb{Z}\}``, a value for each of its variable."""
    inside = bracketed(text)
    parts = split_top_level(inside[1], r"[|:]") if inside and inside[0] == "\\{" else []
    if len(parts) != 2 or NAME.fullmatch(parts[0]) or split_top_level(parts[0], _SET_LIKE)[1:]:
        return None
    claims = read_clauses(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", parts[1]))
    if not claims or not set(variables_of(parts[0])).issuperset(names_of(claims)):
        return None
    return _Qualified(parts[0], claims, True)


def _outside_of_brackets(text: str) -> bytearray:
    """For each character, whether it is in no brackets; those that open are in none."""
    outside = bytearray(len(text))
    depth = done = 0
    for match in _BRACKET.finditer(text):
        token = match[0]
        opens = token in ("\\begin", "\\{", "(", "[", "{")
        if depth == 0:
            end = match.start() + opens
            outside[done:end] = b"\1" * (end - done)
        if opens:
            depth += 1
        elif token in ("\\end", "\\}", ")", "]", "}"):
            depth = max(depth - 1, 0)
        done = match.start() if depth == 0 and token[0] == "\\" and not opens else match.end()
    if depth == 0:
        outside[done:] = b"\1" * (len(text) - done)
    return outside


def _with_text(working: str) -> str:
    r"""The text of a part of the working copy, of which a ``\text`` may be cut."""
    if working.rfind(_OPEN) > max(working.rfind(_CLOSE), 0):
        working += _CLOSE
    text = re.sub(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}", r"\\text{\1}", working)
    return re.sub(f"[{_OPEN}{_CLOSE}]", "", text).strip()


def _may_have_clauses(answer: str) -> bool:
    """Whether it is mathematics and no case of several."""
    return not (_OTHERWISE.search(answer) or _WORDS_ALONE.fullmatch(answer))


def _named_claims(answer: str, claims: Iterable[Claim]) -> tuple[Claim, ...] | None:
    """With the name of the answer's variable in claims that name none; none if it has several."""
    variables = variables_of(_value_of(answer))
    if not variables:
        argument = re.search(r"[a-zA-Z]\s*\(([^()]*)\)\s*=", answer)
        variables = variables_of(argument[1]) if argument else ()
    named = []
    for claim in claims:
        if claim.variables == (UNNAMED,):
            if len(variables) == 1:
                (name,) = variables
                condition = claim.condition.replace(UNNAMED, name)
                claim = Claim((name,), claim.keyword, claim.kind, condition, claim.form)
            elif claim.kind in ("", "R") and not claim.condition:
                continue
            else:
                return None
        named.append(claim)
    return tuple(named)


def _value_of(answer: str) -> str:
    """What stands behind the last equals sign."""
    return split_top_level(answer, "=")[-1]


def _is_harmless(answer: str, claims: list[Claim]) -> bool:
    """Whether claims that only this side makes leave the value as it is."""
    restricting = [claim for claim in claims if claim.condition or claim.kind not in ("", "R", "C")]
    in_value, anywhere = set(variables_of(_value_of(answer))), set(variables_of(answer))
    if any(fixes_a_value(claim) or contradicts(answer, claim) for claim in claims):
        return False
    several = elements(answer)
    if several is not None and (named_values(answer) is None or bracketed(answer) is not None):
        # A condition on the unknown chooses among its values; one on a parameter does not.
        in_values = {name for part in several for name in variables_of(_value_of(part))}
        return all(
            in_values.issuperset(claim.variables) for claim in claims if claim in restricting
        )
    if split_top_level(answer, _SET_LIKE)[1:] or _is_implicit(answer):
        return not restricting
    if _is_interval(_value_of(answer)):
        return all(
            len(names_of(restricting)) > 1 or in_value.issuperset(claim.variables)
            for claim in restricting
        )
    for claim in claims:
        if claim.form == "point":
            if not in_value.isdisjoint(claim.variables):
                return False
        elif anywhere.isdisjoint(claim.variables) and not _DECLARING.fullmatch(claim.keyword):
            return False
    return True


def _is_implicit(answer: str) -> bool:
    """Whether it is an equation that is not the value of a name."""
    sides = split_top_level(answer, "=")
    return (
        len(sides) > 1
        and not any(_LEFT_SIDE.fullmatch(side) for side in (sides[0], sides[-1]))
        and named_values(answer) is None
    )


def _is_interval(value: str) -> bool:
    """Whether it is an interval or, for all that is known, a pair."""
    inside = bracketed(value)
    return inside is not None and len(split_top_level(inside[1], ",|;")) == 2


def _renamed(side: _Qualified, other: _Qualified) -> _Qualified:
    """With the other side's name for the one whole number of a family of solutions."""
    names, others = names_of(side.claims), names_of(other.claims)
    if len(names) != 1 or len(others) != 1 or names == others:
        return side
    (name,), (wanted,) = names, others
    kinds = {claim.kind for claim in (*side.claims, *other.claims)} - {""}
    free = variables_of(side.answer)
    if not (kinds and kinds <= {"Z", "N"}) or wanted in free or len(name) > 1 or len(wanted) > 1:
        return side
    if name not in variables_of(_value_of(side.answer)):
        return side

    def rename(text: str) -> str:
        return re.sub(rf"(?<![a-zA-Z\\]){name}(?![a-zA-Z])", wanted, text)

    claims = tuple(
        Claim((wanted,), claim.keyword, claim.kind, rename(claim.condition), claim.form)
        for claim in side.claims
    )
    return _Qualified(rename(side.answer), claims, True)
