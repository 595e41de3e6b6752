"""Prompts whose rollout has failed: how many, and why."""

from __future__ import annotations

import re
from pathlib import Path

# verl logs each failed rollout so, with its traceback behind it; Ray puts the process in front.
_ERROR = "Error in _run_prompt"
_PREFIX = re.compile(r"^(\x1b\[\d+m)*\([^()]* pid=[^()]*\)(\x1b\[0m)* ?")
_RAISED = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit|Timeout)\w*(: .*)?$")

# As the agent loop writes it.
_EPISODE = re.compile(r"prompt \S+, episode \d+, game .*: failed after \d+ turns: .*")


class RolloutError(RuntimeError):
    """A round lacks the responses of too many prompts."""


def check_failures(
    num_failed: int, num_prompts: int, *, max_share: float, what: str, log: Path
) -> None:
    """Refuse to go on with a round that lacks too many responses.

    Args:
        num_failed: prompts with a failed rollout.
        num_prompts: prompts of the round.
        max_share: of the prompts that may have failed.
        what: the round, for the message.
        log: of the run, which has their errors.

    Raises:
        RolloutError: with the first error.
    """
    if num_failed <= max_share * num_prompts:
        return
    raise RolloutError(
        f"{num_failed} of {num_prompts} prompts failed in {what} (max_failed_prompts: "
        f"{max_share:g}); the first error: {first_error(log) or f'see {log}'}"
    )


def no_episodes(what: str, log: Path, *, begin: int = 0, num_failed: int = 0) -> RolloutError:
    """The error for a round all of whose episodes were left out.

    Args:
        what: the round.
        log: of the run, which has the reason of each.
        begin: bytes of the log from before the round.
        num_failed: prompts whose rollout raised, of which nothing is left either.

    Returns:
        With the first reason.
    """
    if num_failed:
        return RolloutError(
            f"nothing is left of {what}: {num_failed} prompts failed; the first error: "
            f"{first_error(log) or f'see {log}'}"
        )
    reason = f"see {log}"
    with log.open("rb") as lines:
        lines.seek(begin)
        for line in lines:
            if found := _EPISODE.search(line.decode(errors="replace")):
                reason = found[0]
                break
    return RolloutError(
        f"every episode of {what} failed and was left out (agent.failed_episodes: drop); "
        f"the first: {reason}"
    )


def first_error(log: Path) -> str | None:
    """What the first failed rollout of a log raised.

    Args:
        log: what the processes of a run have written.

    Returns:
        Type and message; None if there is none.
    """
    found = None
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text = _PREFIX.sub("", line.rstrip("\n"))
            if _ERROR in text:
                if found is not None:
                    break
                found = ""
            elif found is not None and _RAISED.match(text):
                # The last of a chain is the one that was logged.
                found = text
    return found or None
