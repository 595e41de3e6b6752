"""What a response does: the command between its action tags, and whether it is one.

| level | a response must | its command stands |
| --- | --- | --- |
| ``strict`` | be ``<think>...</think><action>...</action>``, each tag once, nothing else around \
| between the action tags |
| ``lenient`` | hold a closed pair of action tags, in any case | in the last such pair |
| ``reference`` | hold all four tags, those of the action in any case, and no Chinese character \
| between the first ``<action>`` and the first ``</action>`` |

The engine knows lower case only, so a command is put in lower case; ``strict`` and ``lenient`` also
make any white space in it one space. Only ASCII letters are, so that a look-alike stays one.
Of a malformed response ``strict`` and ``lenient`` send :data:`NO_COMMAND`, which changes nothing;
``reference`` sends what it found, or the last 30 characters where a tag of the action is missing.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass

from holderpo.alfworld.wording import in_own_wording

LEVELS = ("strict", "lenient", "reference")

NO_COMMAND = "(no action)"
"""Stands for a malformed response's command; the engine answers "Nothing happens."."""

_TAGS = ("<think>", "</think>", "<action>", "</action>")
_OPEN, _CLOSE = _TAGS[2:]
_CHINESE = re.compile("[\u4e00-\u9fff]")
_NUM_LAST_CHARACTERS = 30


class ActionKind(enum.StrEnum):
    """What became of a response."""

    VALID = "valid"
    """The command is admissible."""
    MALFORMED = "malformed"
    """The response has not the form that the level asks for."""
    INADMISSIBLE = "inadmissible"
    """Well-formed, but the command does nothing now; it is sent as it is."""


@dataclass(frozen=True)
class ParsedAction:
    """A response as the game gets it."""

    command: str
    """To send; a step is used up whatever it is."""
    kind: ActionKind
    reason: str = ""
    """Why it is not valid, in a few words; ``other wording`` if it is by another wording."""


@dataclass(frozen=True)
class ActionSettings:
    """How responses are read."""

    strictness: str = "strict"
    """``strict``, ``lenient`` or ``reference``, see :mod:`holderpo.alfworld.actions`."""
    accept_other_wording: bool | None = None
    """Whether ``put O in R`` and the like count where the game says ``move O to R``, and the
    reverse, see :mod:`holderpo.alfworld.wording`; null: yes, but not with ``reference``."""

    def __post_init__(self) -> None:
        """The level must be known.

        Raises:
            ValueError: naming the field and what it allows.
        """
        if self.strictness not in LEVELS:
            raise ValueError(f"strictness: {self.strictness!r}; give one of {', '.join(LEVELS)}")
        if not isinstance(self.accept_other_wording, bool | None):
            raise ValueError(
                f"accept_other_wording: {self.accept_other_wording!r}; give true, false or null"
            )

    @property
    def accepts_other_wording(self) -> bool:
        """The setting, or what the level does by itself."""
        if self.accept_other_wording is None:
            return self.strictness != "reference"
        return self.accept_other_wording


def parse_action(
    response: str, admissible: Collection[str], settings: ActionSettings | None = None
) -> ParsedAction:
    """Read the action of a response; in time linear in its length.

    **Source**: the level ``reference`` does what verl-agent does (its ``alfworld_projection``).

    Args:
        response: of the model, special tokens left out.
        admissible: the game's commands now (``help`` is one where the game lists it).
        settings: how to read it; the defaults if left out.

    Returns:
        The command and what it is.
    """
    settings = settings or ActionSettings()
    command, fault = _READERS[settings.strictness](response)
    own = in_own_wording(command, admissible) if settings.accepts_other_wording else command
    if fault:
        return ParsedAction(own, ActionKind.MALFORMED, fault)
    if own not in admissible:
        return ParsedAction(own, ActionKind.INADMISSIBLE, "not admissible")
    return ParsedAction(own, ActionKind.VALID, "other wording" if own != command else "")


def _strict(response: str) -> tuple[str, str]:
    counts = [response.count(tag) for tag in _TAGS]
    for tag, count in zip(_TAGS, counts, strict=True):
        if count == 0:
            return NO_COMMAND, f"no {tag}"
    for tag, count in zip(_TAGS, counts, strict=True):
        if count > 1:
            return NO_COMMAND, f"more than one {tag}"
    places = [response.index(tag) for tag in _TAGS]
    if places != sorted(places):
        return NO_COMMAND, "tags in another order"
    think, end_of_thought, action, end = places
    around = (
        response[:think],
        response[end_of_thought + len("</think>") : action],
        response[end + len(_CLOSE) :],
    )
    if any(text.strip() for text in around):
        return NO_COMMAND, "text outside the tags"
    return _command(response[action + len(_OPEN) : end])


def _lenient(response: str) -> tuple[str, str]:
    text = _in_lower_case(response)
    if _OPEN not in text:
        return NO_COMMAND, f"no {_OPEN}"
    start = text.rfind(_OPEN, 0, max(text.rfind(_CLOSE), 0))
    if start < 0:
        return NO_COMMAND, f"no {_CLOSE} after {_OPEN}"
    start += len(_OPEN)
    return _command(text[start : text.index(_CLOSE, start)])


def _reference(response: str) -> tuple[str, str]:
    text = response.lower()
    start, end = text.find(_OPEN), text.find(_CLOSE)
    for tag, place in ((_OPEN, start), (_CLOSE, end)):
        if place < 0:
            return text[-_NUM_LAST_CHARACTERS:], f"no {tag}"
    command = text[start + len(_OPEN) : end].strip()
    for tag in _TAGS[:2]:
        if tag not in response:
            return command, f"no {tag}"
    return command, "a Chinese character" if _CHINESE.search(response) else ""


_READERS = {"strict": _strict, "lenient": _lenient, "reference": _reference}


def _command(text: str) -> tuple[str, str]:
    command = " ".join(_in_lower_case(text).split())
    return (command, "") if command else (NO_COMMAND, "empty action")


def _in_lower_case(text: str) -> str:
    # Of bytes only ASCII is changed, and fast.
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
