"""Putting an object down is worded in two ways; a game file knows one of them.

| game files | their command | also understood |
| --- | --- | --- |
| made before alfworld 0.4.0 | ``put O in/on R`` | ``put O in R``, ``put O on R``, ``move O to R`` |
| made since | ``move O to R`` | ``put O in/on R``, ``put O in R``, ``put O on R`` |

These are the commands of both kinds of file and the words of the task sentences ("put a mug in
desk", "put some mug on desk"), which say "put" in both. All other commands are the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_PUT_DOWN = re.compile(r"move (?P<moved>.+) to (?P<goal>.+)|put (?P<put>.+) in/on (?P<place>.+)")
_WORDINGS = ("move {} to {}", "put {} in/on {}", "put {} in {}", "put {} on {}")


def in_own_wording(command: str, admissible: Collection[str]) -> str:
    """A command as the game file words it.

    Args:
        command: in lower case.
        admissible: the game's commands now; they tell its wording.

    Returns:
        The admissible command that means the same, or the command as it is where there is none.
    """
    if command in admissible:
        return command
    for known in admissible:
        if command in _same_in_all_wordings(known):
            return known
    return command


def in_new_wording(command: str) -> str:
    """``put O in/on R`` as ``move O to R``; any other command as it is.

    Args:
        command: of a game of either kind.

    Returns:
        The command as files made since alfworld 0.4.0 have it.
    """
    return next(iter(_same_in_all_wordings(command)), command)


def _same_in_all_wordings(command: str) -> tuple[str, ...]:
    """How else an own command of a game is worded; nothing unless it puts an object down."""
    found = _PUT_DOWN.fullmatch(command)
    if found is None:
        return ()
    thing, place = found["moved"] or found["put"], found["goal"] or found["place"]
    return tuple(wording.format(thing, place) for wording in _WORDINGS)
