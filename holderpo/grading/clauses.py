r"""Clauses that say for what an answer holds: ``k \in \mathbb{Z}``, ``for all real x > 0``.

What is read is a short grammar, and a text that is not all of it is no clause: whoever writes
``where k = 2``, ``4 otherwise`` or ``where 5 is wrong`` says something else. Every pattern takes
linear time: repetitions are possessive, so that a text that is none fails at once.
"""

from __future__ import annotations

import functools
import re

from holderpo.grading.claims import GREEK, NAME, UNNAMED, Claim, plain_name, variables_of
from holderpo.grading.domains import NOUNS, QUANTIFIERS, Found, of_kinds, read_kinds, read_set

# A longer text is no clause.
MAX_CLAUSE_CHARACTERS = 300

_NAMES = re.compile(rf"{NAME.pattern}(?:\s*(?:,\s*and\b|,|\band\b)\s*{NAME.pattern})*+")

_NON = re.compile(r"\bnon[- ](?=(?:negative|positive|zero)\b)", re.IGNORECASE)
_RANGE = re.compile(r"(?:\\pm|[-+])?\s*\w{1,4}(?:\s*[-+]\s*\w{1,4})?\s*,\s*")

_MEMBER = re.compile(
    r"\s*(?:\\in(?![a-zA-Z])|\b(?:(?:is|are|lies?) )?in\b"
    r"|\b(?:belongs?|belonging) to\b|\b(?:is|are) (?:an element|elements|a member|members) of\b)\s*"
)
_SET_WORDS = re.compile(r"(?:the )?(?:set of )?(?:the )?(?:interval )?")
_IS = re.compile(r"\s*(?:(?:is|are|being|can be|may be)\b)?\s*")
_ON = re.compile(r"(?:the )?(?:interval |domain )?")

_NO_SYMBOL = r"and|or|for|if|is|as|at|in|on|the|to|not|but|by|be|of|all|any|are|was|has|iff"
_EXPRESSION = re.compile(
    rf"(?:\s*+(?:{GREEK}|\\(?:frac|sqrt|pi|cdot|times|pm|infty|sin|cos|tan|ln|log)(?![a-zA-Z])"
    rf"|(?<![a-zA-Z\\])(?!(?:{_NO_SYMBOL})(?![a-zA-Z]))[a-zA-Z]{{1,3}}(?![a-zA-Z])"
    r"|(?<!\d )[0-9.]|[-+*/^_'!|(){}]))++"
)
_RELATION = re.compile(r"\s*([<>]|\\(?:leq|geq|neq|equiv)(?![a-zA-Z]))")
_MODULUS = re.compile(r"\s*\(?\s*\\(?:pmod|bmod|mod)\s*(?:\{\s*\w+\s*\}|\w+)\s*\)?")
_MORE_VALUES = re.compile(
    r"\s*(?:,|\band\b)\s*((?:\\pm|-)?\s*(?:\d+(?:/\d+)?|\\frac\{\d+\}\{\d+\}))(?=\s*(?:$|[,;)]|and\b))"
)
_OR = re.compile(r"\s*\bor\b\s*")

_KEYWORDS = (
    r"(?:with )?equality (?:when|at|if and only if|iff|if)"
    r"|(?:which is )?(?:attained|achieved|reached) (?:when|at|for)"
    r"|where|with|for|if|when|whenever|such that|s\.t\.|provided(?: that)?|given(?: that)?|since"
    r"|because|assuming(?: that)?|as long as|so long as|subject to|as|at|on|over|in"
)
_KEYWORD = re.compile(rf"(?:\b({_KEYWORDS})(?![a-zA-Z])|(\\forall)(?![a-zA-Z]))\s*", re.IGNORECASE)
_CONNECTED = re.compile(r"\s*(?:[,;]\s*and\b|[,;]|\band\b)?\s*")
_PHRASE = re.compile(
    r"as (?:was )?(?:required|desired|needed|claimed|wanted|requested|asked|stated|expected|shown"
    r"|to be (?:shown|proved|proven))\b"
    r"|in (?:its |the )?(?:simplest|simplified|reduced|lowest|exact|closed)"
    r"(?: radical| fractional)? (?:form|terms)\b"
    r"|(?:when |after being |after )?(?:simplified|simplification|simplifying)\b"
    r"|as (?:an? )?(?:(?:improper|proper|reduced|simplified|common) )?(?:fraction|decimal)\b"
    r"|(?:is |as )?(?:the |our )?final answer\b|(?:is|as) (?:the|our) answer\b"
    r"|by (?:symmetry|induction|inspection|am-gm|cauchy|cauchy-schwarz|vieta)\b"
    rf"|in terms of {NAME.pattern}(?:\s*(?:,|\band\b)\s*{NAME.pattern})*+"
    r"|in total\b|in all\b|altogether\b|exactly\b|only\b|indeed\b|q\.?e\.?d\b\.?"
    r"|\\(?:blacksquare|checkmark|square|Box|qed)(?![a-zA-Z])|[✓✔∎■]"
    rf"|regardless of (?:the value of )?{NAME.pattern}",
    re.IGNORECASE,
)
_IMAGINARY_UNIT = re.compile(
    r"i\s*\^\s*(?:2|\{\s*2\s*\})\s*=\s*-\s*1(?!\d)|i\s*=\s*\\sqrt\s*\{\s*-\s*1\s*\}"
    r"|i is the imaginary unit\b"
)
# Behind these an equation says where a value is taken.
_OF_A_POINT = re.compile(r"when|at|.*equality.*|.*(?:attained|achieved|reached).*", re.IGNORECASE)


@functools.lru_cache(maxsize=2048)
def read_clauses(text: str) -> tuple[Claim, ...] | None:
    r"""Read a text that is nothing but clauses.

    Args:
        text: cleaned, without its ``\text``.

    Returns:
        What they claim (nothing, for ``as required``); none for any other text.
    """
    text = _NON.sub("non", re.sub(r"\s+", " ", text)).strip(" ,;:.")
    if len(text) > MAX_CLAUSE_CHARACTERS:
        return None
    inside = re.fullmatch(r"\(([^()\[\]]*(?:\([^()]*\)[^()\[\]]*)*+)\)|\[([^()\[\],]*)\]", text)
    if inside is not None:
        text = (inside[1] or inside[2] or "").strip(" ,;.")
    claims: list[Claim] = []
    position, keyword = 0, ""
    while True:
        word = None if _PHRASE.match(text, position) else _KEYWORD.match(text, position)
        if word:
            keyword, position = (word[1] or word[2]).lower(), word.end()
        found = _read_one(text, position, keyword, is_first=bool(word))
        if found is None:
            return None
        claims += found[0]
        position = found[1]
        if not text[position:].strip(" ,;.)"):
            return tuple(claims)
        separator = _CONNECTED.match(text, position)
        assert separator is not None
        position = separator.end()
        if not separator[0].strip() and not _KEYWORD.match(text, position):
            return None


def _read_one(text: str, start: int, keyword: str, *, is_first: bool) -> Found | None:
    """One clause, the first behind its keyword or another, and where it ends."""
    for silent in (_PHRASE, _IMAGINARY_UNIT):
        match = silent.match(text, start)
        if match:
            return [], match.end()
    if keyword in ("on", "over", "in", "at", "as"):
        return _read_on(text, start, keyword)
    kinds, words, after = read_kinds(text, start)
    if words:
        return _read_quantified(text, after, keyword, kinds, words)
    return (
        _read_named(text, start, keyword, [])
        or (_read_point(text, start, keyword) if is_first else None)
        or _read_relation(text, start, keyword)
        or (_read_names(text, start, keyword, []) if keyword == "\\forall" else None)
    )


def _read_on(text: str, start: int, keyword: str) -> Found | None:
    """``on [0, 1]``, ``over the integers``, ``at x = 1``, ``as x > 0`` for a reason."""
    if keyword == "at":
        return _read_point(text, start, keyword)
    if keyword == "as":
        return _read_relation(text, start, keyword)
    prefix = _ON.match(text, start)
    assert prefix is not None
    if (keyword == "in" and not prefix[0]) or text[prefix.end() : prefix.end() + 1].isupper():
        return None  # x in [0, 1] is about x, and k over R a fraction.
    return read_set(text, prefix.end(), [UNNAMED], keyword)


def _read_quantified(
    text: str, start: int, keyword: str, kinds: list[str], words: list[str]
) -> Found | None:
    """``all real x``, ``integers n > 2``, ``every k`` and a set; ``all integers`` alone."""
    start += len(text[start:]) - len(text[start:].lstrip())
    if not _NAMES.match(text, start):
        if NOUNS.isdisjoint(words) or QUANTIFIERS.isdisjoint(words):
            return None
        return list(of_kinds([UNNAMED], keyword, kinds)), start
    return (
        _read_named(text, start, keyword, kinds)
        or _read_relation(text, start, keyword, kinds)
        or _read_names(text, start, keyword, kinds)
    )


def _read_names(text: str, start: int, keyword: str, kinds: list[str]) -> Found | None:
    names = _NAMES.match(text, start)
    if names is None:
        return None
    return list(of_kinds(_each(names[0]), keyword, kinds)), names.end()


def _read_named(text: str, start: int, keyword: str, kinds: list[str]) -> Found | None:
    r"""``x, y \in \mathbb{R}``, ``k is an integer``, ``n even``, ``n = 0, 1, 2, \ldots``."""
    names = _NAMES.match(text, start)
    if names is None:
        return None
    variables = _each(names[0])
    claims = list(of_kinds(variables, keyword, kinds)) if kinds else []
    member = _MEMBER.match(text, names.end())
    found = None
    if member:
        prefix = _SET_WORDS.match(text, member.end())
        assert prefix is not None
        found = read_set(text, prefix.end(), variables, keyword)
    verb = _IS.match(text, names.end() if found is None else found[1])
    assert verb is not None
    if verb[0].strip() if found else not kinds:
        found_kinds, words, end = read_kinds(text, verb.end())
        if words:
            claims += [] if found is None else found[0]
            found = list(of_kinds(variables, keyword, found_kinds)), end
    if found is None and len(variables) == 1:
        found = _read_range(text, names.end(), variables, keyword)
    return None if found is None else (claims + found[0], found[1])


def _read_range(text: str, start: int, variables: list[str], keyword: str) -> Found | None:
    r"""``= 0, 1, 2, \ldots`` or ``\in \{1, 2, \ldots, n\}``; without dots it would fix values."""
    opening = re.compile(r"\s*(?:=|\\in\s*\\\{)\s*").match(text, start)
    if opening is None:
        return None
    items, position = 0, opening.end()
    while match := _RANGE.match(text, position):
        items, position = items + 1, match.end()
    ending = re.compile(r"\\ldots(?:\s*,\s*[\w]{1,4}(?:\s*[-+]\s*\w{1,4})?)?\s*(\\\})?").match(
        text, position
    )
    if items < 2 or ending is None or ("\\{" in opening[0]) != bool(ending[1]):
        return None
    values = re.sub(r"\s|\\\}$", "", text[opening.end() : ending.end()])
    kinds = {
        "0": ["Z", r"\geq 0"] if values.startswith("0,1,") else ["Z"],
        "1": ["Z", ">0"],
    }.get(values[0], [])
    if not values.endswith("\\ldots") or not re.match(r"0,1,|1,2,|0,\\pm1,", values):
        kinds = []
    if kinds:
        return list(of_kinds(variables, keyword, kinds)), ending.end()
    claim = Claim((variables[0],), keyword, "Z", values, "word")
    return [claim], ending.end()


def _read_point(text: str, start: int, keyword: str) -> Found | None:
    """``at x = 1``, ``with equality when a = b = c``."""
    if not _OF_A_POINT.fullmatch(keyword):
        return None
    position, sides = start, 0
    while match := _EXPRESSION.match(text, position):
        sides, position = sides + 1, match.end()
        equal = re.compile(r"\s*=\s*").match(text, position)
        if equal is None:
            break
        position = equal.end()
    else:
        return None
    condition = text[start:position].strip()
    variables = variables_of(condition)
    if sides < 2 or not variables:
        return None
    return [Claim(variables, keyword, condition=condition, form="point")], position


def _read_relation(
    text: str, start: int, keyword: str, kinds: list[str] | None = None
) -> Found | None:
    r"""``0 < x < 1``, ``a, b > 0``, ``x \neq 0, 1``, ``x < -1`` or ``x > 1``."""
    names = _NAMES.match(text, start)
    if names and re.search(r",|\band\b", names[0]):
        first, position = _each(names[0]), names.end()
    else:
        side = _EXPRESSION.match(text, start)
        if side is None:
            return None
        first, position = [side[0].strip()], side.end()
    relations, rest = [], position
    while (relation := _RELATION.match(text, position)) and (
        side := _EXPRESSION.match(text, relation.end())
    ):
        relations.append(relation[1])
        position = side.end()
        if relation[1] == "\\equiv":
            modulus = _MODULUS.match(text, position)
            if modulus is None:
                return None
            position = modulus.end()
    if not relations:
        return None
    conditions = [f"{side} {text[rest:position].strip()}" for side in first]
    while relations == ["\\neq"] and (more := _MORE_VALUES.match(text, position)):
        conditions += [f"{side} \\neq {more[1]}" for side in first]
        position = more.end()
    if other := _OR.match(text, position):
        found = _read_relation(text, other.end(), keyword)
        if found is None or len(conditions) > 1 or len(found[0]) > 1:
            return None
        conditions[0] += f" \\text{{ or }} {found[0][0].condition}"
        position = found[1]
    claims = [
        Claim(variables_of(condition), keyword, condition=condition, form="relation")
        for condition in conditions
    ]
    if not all(claim.variables for claim in claims):
        return None
    named = _each(names[0]) if names and kinds else []
    return [*of_kinds(named, keyword, kinds or []), *claims], position


def _each(names: str) -> list[str]:
    return [plain_name(match[0]) for match in NAME.finditer(names)]
