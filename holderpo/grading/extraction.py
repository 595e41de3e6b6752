r"""Finding the answer in a response: the last complete box or the last closed pair of answer tags.

Nothing outside of them counts, and nothing of the prompt: the caller passes the response alone.
All of it takes time linear in the length of the response, at most ``SEARCHED_CHARACTERS``.

A box that is never closed is no answer, but it does not take an earlier complete one back: a
response cut off while it repeats its answer has given it. Where a truncated response should earn
nothing at all, the reward manager sees to that; it knows the number of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A response is searched from its end; an answer further away than this is not found.
SEARCHED_CHARACTERS = 65_536

# A box opens (a backslash may be doubled), an escaped character (\{ is no brace), or a brace.
_TOKEN = re.compile(r"(\\{1,2}(?:boxed|fbox)\s*\{)|\\.|([{}])", re.DOTALL)
# \boxed 5: LaTeX boxes what follows; here one run of digits or one letter.
_BARE = re.compile(r"\\boxed\s+(-?\d+(?:\.\d+)?|[A-Za-z])(?![\w{])")
_OPEN_TAG, _CLOSE_TAG = "<answer>", "</answer>"

Span = tuple[int, int]


def extract_answer(response: str) -> str | None:
    r"""The answer of a response: its last complete ``\boxed{...}`` or ``<answer>...</answer>``.

    Whichever of the two ends last counts, also if it is empty: a response that ends in an empty
    box has no answer. A box inside the tags, or tags inside the box, hold the answer. Of nested
    boxes the outer one counts. ``\fbox{...}`` and ``\boxed 5`` are boxes too.

    Args:
        response: what the model wrote, without the prompt; searched are the last
            ``SEARCHED_CHARACTERS`` characters.

    Returns:
        The answer, stripped, of any length (``quick.MAX_ANSWER_CHARACTERS`` are compared); none if
        there is none or it is empty.
    """
    text = response[-SEARCHED_CHARACTERS:]
    box, tag = _last_box(text), _last_tag(text)
    if box is None and tag is None:
        return None
    if box is None or (tag is not None and tag[1] + len(_CLOSE_TAG) > box[1]):
        assert tag is not None
        return _within(text[slice(*tag)], _last_box)
    return _within(text[slice(*box)], _last_tag)


def _within(content: str, last: Callable[[str], Span | None]) -> str | None:
    """The content, or what is marked inside of it."""
    inner = last(content)
    return (content if inner is None else content[slice(*inner)]).strip() or None


def _last_box(text: str) -> Span | None:
    """Start and end of the content of the box that is closed last."""
    last: Span | None = None
    opened: list[int] = []  # Where each open brace's content starts; -1 for a brace of no box.
    first = min((text.find(name) for name in ("\\boxed", "\\fbox") if name in text), default=-1)
    if first < 0:
        return None
    for match in _TOKEN.finditer(text, first):
        if match[1]:
            opened.append(match.end())
        elif match[2] == "{":
            opened.append(-1)
        elif match[2] == "}" and opened:
            start = opened.pop()
            if start >= 0:
                last = (start, match.start())
    for match in _BARE.finditer(text, last[1] if last else first):
        last = match.span(1)
    return last


def _last_tag(text: str) -> Span | None:
    """Start and end of the content of the last closed pair of answer tags."""
    # Not lower(): it changes the length of some texts.
    lowered = re.sub("[A-Z]+", lambda m: m[0].lower(), text)
    opening = lowered.rfind(_OPEN_TAG, 0, max(lowered.rfind(_CLOSE_TAG), 0))
    if opening < 0:
        return None
    start = opening + len(_OPEN_TAG)
    return start, lowered.find(_CLOSE_TAG, start)
