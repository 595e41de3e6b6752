"""Finding the answer in a response: the last complete box or the last closed pair of answer tags.

Nothing outside of them counts, and nothing of the prompt: the caller passes the response alone.
All of it takes time linear in the length of the response, at most ``SEARCHED_CHARACTERS``.
"""

from __future__ import annotations

import re

# A response is searched from its end; an answer further away than this is not found.
SEARCHED_CHARACTERS = 65_536

# A box opens, an escaped character (so that \{ is no brace), or a brace.
_TOKEN = re.compile(r"(\\(?:boxed|fbox)\s*\{)|\\.|([{}])", re.DOTALL)
# \boxed 5: LaTeX boxes what follows; here one run of digits or one letter.
_BARE = re.compile(r"\\boxed\s+(\d+(?:\.\d+)?|[A-Za-z])(?![\w{])")
_OPEN_TAG, _CLOSE_TAG = "<answer>", "</answer>"


def extract_answer(response: str) -> str | None:
    r"""The answer of a response: its last complete ``\boxed{...}`` or ``<answer>...</answer>``.

    Whichever of the two ends last counts, also if it is empty: a response that ends in an empty
    box has no answer. A box that is never closed (a truncated response) does not count. A box
    inside the tags is the answer of the tags. Of nested boxes the outer one counts.

    Args:
        response: what the model wrote, without the prompt; searched are the last
            ``SEARCHED_CHARACTERS`` characters.

    Returns:
        The answer, stripped; none if there is none or it is empty.
    """
    text = response[-SEARCHED_CHARACTERS:]
    box = _last_box(text)
    tag = _last_tag(text)
    if tag is not None and (box is None or tag[1] + len(_CLOSE_TAG) >= box[1]):
        content = text[tag[0] : tag[1]]
        inner = _last_box(content)
        return (content[inner[0] : inner[1]] if inner else content).strip() or None
    return text[box[0] : box[1]].strip() or None if box else None


def _last_box(text: str) -> tuple[int, int] | None:
    """Start and end of the content of the box that is closed last."""
    last: tuple[int, int] | None = None
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


def _last_tag(text: str) -> tuple[int, int] | None:
    """Start and end of the content of the last closed pair of answer tags."""
    lowered = text.lower() if text.isascii() else re.sub("[A-Z]", lambda m: m[0].lower(), text)
    end = lowered.rfind(_CLOSE_TAG)
    start = lowered.rfind(_OPEN_TAG, 0, max(end, 0))
    return None if end < 0 or start < 0 else (start + len(_OPEN_TAG), end)
