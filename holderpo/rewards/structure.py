r"""The outer shape of an answer: lists, sets, tuples, intervals, unions, matrices, equations.

Only brackets are counted here, in one pass; what the parts mean is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# More parts than this are not taken apart.
MAX_PARTS = 200

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


def split_top_level(text: str, separator: str) -> list[str]:
    r"""Split at a separator outside of all brackets.

    Half-open intervals count: any closing bracket closes any opening one.

    Args:
        text: cleaned.
        separator: regular expression, matched at each position.

    Returns:
        The stripped parts; one if the separator does not occur.
    """
    pattern = re.compile(
        rf"\\begin\b|\\end\b|({separator})|(?:\\[{{}}]|[()\[\]{{}}])|\\.", re.DOTALL
    )
    parts: list[str] = []
    start = depth = level = 0
    for match in pattern.finditer(text):
        token = match[0]
        if match[1] is not None:
            if depth == 0 and level == 0 and len(parts) < MAX_PARTS:
                parts.append(text[start : match.start()].strip())
                start = match.end()
        elif token in ("\\begin", "\\end"):
            level += 1 if token == "\\begin" else -1
        elif token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth = max(depth - 1, 0)
    parts.append(text[start:].strip())
    return parts


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""Take one pair of brackets off that encloses the whole text.

    Args:
        text: cleaned.

    Returns:
        Opening bracket, content, closing bracket; ``\{`` and ``\}`` for sets. None if the text is
        not enclosed by one pair.
    """
    for opening, closings in (("\\{", ("\\}",)), ("(", (")", "]")), ("[", ("]", ")"))):
        if not text.startswith(opening):
            continue
        for closing in closings:
            if text.endswith(closing) and len(text) > len(opening) + len(closing):
                content = text[len(opening) : -len(closing)]
                if _never_closes_early(content):
                    return opening, content.strip(), closing
    return None


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
    """Read a text that is one matrix environment.

    Args:
        text: cleaned.

    Returns:
        The matrix, or none.
    """
    match = _MATRIX.fullmatch(text)
    if match is None or "\\begin" in match[2]:
        return None
    rows = [row.strip() for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?", match[2])]
    entries = tuple(
        tuple(entry.strip() for entry in re.split(r"(?<!\\)&", row)) for row in rows if row
    )
    fence = {"vmatrix": "|", "Vmatrix": "||"}.get(match[1], "")
    return Matrix(entries, fence)
