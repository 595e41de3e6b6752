r"""The outer shape of an answer: lists, sets, tuples, intervals, unions, matrices, equations.

Only brackets are counted here, in one pass; what the parts mean is not looked at.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

# More parts than this are not taken apart.
MAX_PARTS = 400

_OPENING, _CLOSING = ("(", "[", "{", "\\{"), (")", "]", "}", "\\}")
_MATRIX = re.compile(
    r"\\begin\s*\{([pbBvV]?matrix|smallmatrix|array)\}\s*(?:\{[lcr|\s]*\})?(.*)\\end\s*\{\1\}",
    re.DOTALL,
)


@dataclass(frozen=True)
class Matrix:
    """Rows of entries, and whether it is a determinant (`vmatrix`)."""

    rows: tuple[tuple[str, ...], ...]
    """Entries, stripped."""
    fence: str
    """`|` for a determinant, `||` for a norm, empty for a matrix or vector."""

    @property
    def shape(self) -> list[int]:
        """Entries of each row."""
        return [len(row) for row in self.rows]

    @property
    def entries(self) -> list[str]:
        """All of them, row by row."""
        return [entry for row in self.rows for entry in row]


def split_with_separators(text: str, separator: str) -> tuple[list[str], list[str]]:
    r"""Split at a separator outside of all brackets.

    Half-open intervals count: any closing bracket closes any opening one.

    Args:
        text: cleaned.
        separator: regular expression without groups, matched at each position.

    Returns:
        The stripped parts, and the separators between them (one less).
    """
    parts: list[str] = []
    separators: list[str] = []
    start = depth = level = 0
    for match in _tokens(separator).finditer(text):
        token = match[0]
        if match[1] is not None:
            if depth == 0 and level == 0 and len(parts) < MAX_PARTS:
                parts.append(text[start : match.start()].strip())
                separators.append(match[1])
                start = match.end()
        elif token in ("\\begin", "\\end"):
            level += 1 if token == "\\begin" else -1
        elif token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth = max(depth - 1, 0)
    parts.append(text[start:].strip())
    return parts, separators


def split_top_level(text: str, separator: str) -> list[str]:
    """The parts of :func:`split_with_separators`; one if the separator does not occur."""
    return split_with_separators(text, separator)[0]


@functools.cache
def _tokens(separator: str) -> re.Pattern[str]:
    return re.compile(rf"\\begin\b|\\end\b|({separator})|(?:\\[{{}}]|[()\[\]{{}}])|\\.", re.DOTALL)


def depth_of(text: str) -> int:
    """How deep the brackets of a text are nested."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""Take one pair of brackets off that encloses the whole text.

    Args:
        text: cleaned.

    Returns:
        Opening bracket, content, closing bracket; ``\{`` and ``\}`` for sets, and ``(`` or ``)``
        for the reversed square brackets of an open interval. None if the text is not enclosed by
        one pair.
    """
    if len(text) < 3:
        return None
    if text.startswith("\\{"):
        opening, closing, content = "\\{", "\\}", text[2:-2]
        if not text.endswith("\\}"):
            return None
    elif text[0] in "([]" and text[-1] in ")][":
        opening, closing, content = text[0], text[-1], text[1:-1]
    else:
        return None
    if not _never_closes_early(content):
        return None
    return {"]": "("}.get(opening, opening), content.strip(), {"[": ")"}.get(closing, closing)


def _never_closes_early(content: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\[{}]|\\.|[()\[\]{}]", content, re.DOTALL):
        token = match[0]
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def parse_matrix(text: str) -> Matrix | None:
    """Read a text that is one matrix environment, within brackets of its own or not.

    Args:
        text: cleaned.

    Returns:
        The matrix, or none.
    """
    inside = bracketed(text)
    if inside is not None and inside[1].startswith("\\begin") and inside[0] != "\\{":
        text = inside[1]
    match = _MATRIX.fullmatch(text)
    if match is None or "\\begin" in match[2]:
        return None
    rows = [row.strip() for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?", match[2])]
    entries = tuple(
        tuple(entry.strip() for entry in re.split(r"(?<!\\)&", row)) for row in rows if row
    )
    fence = {"vmatrix": "|", "Vmatrix": "||"}.get(match[1], "")
    return Matrix(entries, fence) if entries else None
