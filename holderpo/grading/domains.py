r"""Domains in words and symbols: ``positive real numbers``, ``\mathbb{Z}^+``, ``[0, 1)``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from holderpo.grading.claims import Claim

# Claims, and where in the text they end.
Found = tuple[list[Claim], int]

_WORDS_OF_KIND = {
    "R": "real reals",
    "Z": "integer integers integral",
    "N": "natural naturals",
    "W": "whole",
    "Q": "rational rationals",
    "C": "complex",
    ">0": "positive",
    "<0": "negative",
    r"\geq 0": "nonnegative",
    r"\leq 0": "nonpositive",
    r"\neq 0": "nonzero",
    "even": "even",
    "odd": "odd",
    "prime": "prime primes",
    "": "arbitrary any all every each some fixed given constant constants number numbers value "
    "values parameter parameters variable variables possible choice choices of integration",
}
_KIND_OF = {word: kind for kind, words in _WORDS_OF_KIND.items() for word in words.split()}
NOUNS = frozenset(
    (
        *("reals", "integer", "integers", "naturals", "rationals", "primes", "number", "numbers"),
        *("value", "values", "constant", "constants"),
    )
)
QUANTIFIERS = frozenset(("any", "all", "every", "each"))
_WORD = re.compile(r"\s*([A-Za-z]+)(?![a-zA-Z])")

_SET = re.compile(
    r"(?:\\mathbb\s*\{\s*([NZQRC])\s*\}|\\mathbb\s*([NZQRC])|\\?([NZQRC]))(?![a-zA-Z])"
    r"(?:\s*\^\s*\{?\s*(\+|-|\\cdot)\s*\}?"
    r"|\s*_\s*\{?\s*(0|\+|-|(?:[<>]|\\leq|\\geq|\\neq)\s*0)\s*\}?)?"
    r"(\s*\\(?:setminus|backslash)\s*\\\{\s*0\s*\\\})?"
)
_OF_SIGN = {"+": ">0", "-": "<0", "\\cdot": r"\neq 0", "0": r"\geq 0"}
_BOUND = r"[^()\[\],;<>={}]*+(?:\{[^{}]*\}[^()\[\],;<>={}]*+){0,4}"
_ONE_INTERVAL = rf"[(\[\]]{_BOUND},{_BOUND}[)\]\[]"
INTERVAL = re.compile(rf"{_ONE_INTERVAL}(?:\s*\\cup\s*{_ONE_INTERVAL})*+")


def read_kinds(text: str, start: int) -> tuple[list[str], list[str], int]:
    """Words such as ``all positive real numbers``: their kinds, they, and where they end."""
    kinds: list[str] = []
    words: list[str] = []
    while match := _WORD.match(text, start):
        word = match[1].lower()
        if word in ("a", "an", "the"):
            following = _WORD.match(text, match.end())
            if following is None or following[1].lower() not in _KIND_OF:
                break
        elif word not in _KIND_OF:
            break
        else:
            kinds += filter(None, [_KIND_OF[word]])
            words.append(word)
        start = match.end()
    return kinds, words, start


def read_set(text: str, start: int, variables: list[str], keyword: str) -> Found | None:
    r"""A set of numbers by its symbol or in words, or an interval."""
    match = _SET.match(text, start)
    if match:
        kind = match[1] or match[2] or match[3]
        sign = (
            match[4]
            or re.sub(r"(?<=[<>])\s+", "", match[5] or "")
            or ("\\cdot" if match[6] else "")
        )
        kinds = [kind, *filter(None, [_OF_SIGN.get(sign, sign)])]
        if kind == "N" and sign:
            kinds = ["Z", r"\geq 0" if sign == "0" else ">0"]
        return list(of_kinds(variables, keyword, kinds)), match.end()
    match = INTERVAL.match(text, start)
    if match:
        claim = Claim((), keyword, condition=match[0], form="interval")
        return [replace(claim, variables=(name,)) for name in variables], match.end()
    kinds, words, end = read_kinds(text, start)
    if not NOUNS.isdisjoint(words):
        return list(of_kinds(variables, keyword, kinds)), end
    return None


def of_kinds(variables: list[str], keyword: str, kinds: list[str]) -> Iterator[Claim]:
    """A claim for each variable and kind; one that says nothing for each if there is no kind."""
    for name in variables:
        for kind in kinds or [""]:
            if kind == "W":
                yield Claim((name,), keyword, "Z", f"{name}\\geq 0", "relation")
            elif kind in ("even", "odd", "prime"):
                yield Claim((name,), keyword, "Z", kind, "word")
            elif kind[:1] in ("<", ">", "\\"):
                yield Claim((name,), keyword, "", f"{name}{kind}", "relation")
            else:
                yield Claim((name,), keyword, kind)
