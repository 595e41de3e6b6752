"""Text of others on a terminal: nothing in it may act on the terminal, or hide."""

from __future__ import annotations

import unicodedata

_NEW_LINE = "\n"


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""The text with everything escaped that is not drawn.

    Escaped are control characters (ESC, BEL, CR, tab, the 8-bit ones), format characters
    (directions of writing, zero width), line and paragraph separators, halves of characters, and
    what Unicode has not assigned or leaves to private use.

    Args:
        text: of a model, a game or a file.
        keep_lines: whether a new line stays one.

    Returns:
        The text; ``\x1b``, ``\u202e`` or the like in place of each such character.
    """
    return "".join(
        character
        if _is_drawn(character) or (keep_lines and character == _NEW_LINE)
        # As Python writes it.
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _is_drawn(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] != "C" and category not in ("Zl", "Zp")
