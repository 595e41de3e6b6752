r"""From a response to its answer: the last closed boxes or the last closed pair of answer tags.

Nothing outside of them counts, and nothing of the prompt: the caller passes the response alone. It
takes time linear in the length of the response, at most ``SEARCHED_CHARACTERS``.

Boxes with only a comma, "and", "or" or blanks between them are one list: ``\boxed{2}, \boxed{3}``
is the answer ``2, 3``, and the same answer twice is that answer. A last box that never closes is no
answer, whatever stands before it: a response cut off in its box has not given its answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holderpo.grading.answer_text import clean
from holderpo.grading.quick import quick_match

# A response is searched from its end; an answer further away than this is not found.
SEARCHED_CHARACTERS = 65_536
# More different boxes beside each other are not compared with each other.
MAX_COMPARED_BOXES = 8

# A box opens (a backslash may be doubled); \boxed 5, as LaTeX boxes what follows, here one run of
# digits or one letter; an escaped character (\{ is no brace), or a brace.
_BOX_TOKEN = re.compile(
    r"(\\{1,2}(?:boxed|fbox)\s*+\{)|\\{1,2}boxed\s++(-?\d+(?:\.\d+)?|[A-Za-z])(?![\w{])"
    r"|\\.|([{}])",
    re.DOTALL,
)
_OPEN_TAG, _CLOSE_TAG = "<answer>", "</answer>"
# What may stand between the boxes of a list, and does not show.
_LONGEST_BETWEEN = 100
_MARKUP = re.compile(
    r"\\(?:text|math)?(?:bf|it|rm|sf|tt|normal)\s*\{|\\(?:text|mbox|hbox)\s*\{|[{}~*$\s]"
    r"|\\(?:\\|[\s,;:!>()\[\]]|(?:q?quad|newline)(?![a-zA-Z]))"
)
_BETWEEN_BOXES = re.compile(r"[,;]?(?:and|or)?|\\?&|\\(?:land|wedge|lor|vee)", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

# Start and end.
Span = tuple[int, int]


def extract_answer(response: str) -> str | None:
    r"""The answer of a response: its last ``\boxed{...}`` or ``<answer>...</answer>``.

    Whichever of the two ends last counts, also if it is empty: a response that ends in an empty
    box has no answer. A box inside the tags, or tags inside the box, hold the answer. Of nested
    boxes the outer one counts. ``\fbox{...}`` and ``\boxed 5`` are boxes too.

    Args:
        response: what the model wrote, without the prompt; searched are the last
            ``SEARCHED_CHARACTERS`` characters.

    Returns:
        The answer, stripped, of any length (``quick.MAX_ANSWER_CHARACTERS`` are compared); none if
        there is none, it is empty, or the last box is never closed.
    """
    text = response[-SEARCHED_CHARACTERS:]
    boxes, open_box = _find_boxes(text)
    tag = _last_tag(text)
    tag_end = -1 if tag is None else tag[1] + len(_CLOSE_TAG)
    if open_box > tag_end:
        return None
    if tag is not None and (not boxes or tag_end > boxes[-1][1]):
        content = text[slice(*tag)]
        boxes, open_box = _find_boxes(content)
        if open_box >= 0:
            return None
        return _list_of(content, boxes) if boxes else content.strip() or None
    return _list_of(text, boxes) if boxes else None


def _find_boxes(text: str) -> tuple[list[Span], int]:
    """The contents of all closed boxes that are in no other, and where an unclosed last one opens.

    Returns:
        Spans of the contents in order, and a position; it is -1 if the last box is closed.
    """
    first = min((text.find(name) for name in ("\\boxed", "\\fbox") if name in text), default=-1)
    if first < 0:
        return [], -1
    boxes: list[Span] = []
    opened: list[int] = []  # Where each open brace's content starts; -1 for a brace of no box.
    last = -1  # Where the content of the box starts that opens last.
    for match in _BOX_TOKEN.finditer(text, first):
        if match[1]:
            last = match.end()
            opened.append(last)
        elif match[2]:
            last = match.start(2)
            boxes.append(match.span(2))
        elif match[3] == "{":
            opened.append(-1)
        elif match[3] == "}" and opened:
            start = opened.pop()
            if start >= 0:
                while boxes and boxes[-1][0] >= start:
                    boxes.pop()
                boxes.append((start, match.start()))
    if text.rstrip().endswith(("\\boxed", "\\fbox")):
        return boxes, len(text)
    return boxes, last if last in opened else -1


def _list_of(text: str, boxes: Sequence[Span]) -> str | None:
    """The last box, or the list that it and those right before it make."""
    first = len(boxes) - 1
    while first > 0 and _is_joined(text, boxes[first - 1][1], boxes[first][0]):
        first -= 1
    contents = [_within_tags(text[slice(*box)]) for box in boxes[first:]]
    if not contents[-1]:
        return None
    different = list(dict.fromkeys(content for content in contents if content))
    if len(different) <= MAX_COMPARED_BOXES:
        kept: list[str] = []
        for content in different:
            if not any(quick_match(content, other) for other in kept):
                kept.append(content)
        different = kept
    if len(different) == 1:
        return different[0]
    return ", ".join(_without_thousands(content) for content in different)


def _is_joined(text: str, end: int, start: int) -> bool:
    """Whether only a comma or the like stands between two boxes, given their contents' bounds."""
    if start - end > _LONGEST_BETWEEN:
        return False
    between = text[end:start].removeprefix("}")
    between = between[: max(between.rfind("\\boxed"), between.rfind("\\fbox"), 0)].rstrip("\\")
    return _BETWEEN_BOXES.fullmatch(_MARKUP.sub("", between)) is not None


def _without_thousands(content: str) -> str:
    """1,234 as a part of a list."""
    if "," not in content:
        return content
    text = clean(content)
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else content


def _within_tags(content: str) -> str:
    """The content, or what is tagged inside of it."""
    tag = _last_tag(content)
    return (content if tag is None else content[slice(*tag)]).strip()


def _last_tag(text: str) -> Span | None:
    """Start and end of the content of the last closed pair of answer tags."""
    # Not lower(): it changes the length of some texts.
    lowered = re.sub("[A-Z]+", lambda m: m[0].lower(), text)
    opening = lowered.rfind(_OPEN_TAG, 0, max(lowered.rfind(_CLOSE_TAG), 0))
    if opening < 0:
        return None
    start = opening + len(_OPEN_TAG)
    return start, lowered.find(_CLOSE_TAG, start)
