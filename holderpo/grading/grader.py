"""Grading answers: one, many, or from a coroutine.

The quick comparison runs in the caller; what it leaves open goes to grading processes with a hard
limit of time and memory (:mod:`holderpo.grading.pool`). No text makes these functions hang or
raise, only an argument of the wrong type.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import Any

from holderpo.grading.answer_text import clean_gold
from holderpo.grading.boxes import extract_answer
from holderpo.grading.pool import shared_pool
from holderpo.grading.quick import MAX_ANSWER_CHARACTERS, quick_match
from holderpo.grading.structure import depth_of

Gold = str | float | Sequence[str] | Sequence[float]

# Wall clock of one answer; the CPU time of a comparison is limited to pool.CPU_SECONDS.
DEFAULT_TIMEOUT_SECONDS = 10.0
REMEMBERED_VERDICTS = 4096
# Brackets inside brackets; the deepest gold answer of the data sets has 4, and a parser of
# hundreds only runs out of time.
MAX_DEPTH = 50


class Status(StrEnum):
    """Why an answer has its score."""

    CORRECT = "correct"
    """Equal to a gold answer."""
    WRONG = "wrong"
    """Understood, and equal to none."""
    NO_ANSWER = "no_answer"
    """Nothing in a box or in answer tags, nothing inside them, or a last box that never closes."""
    UNPARSEABLE = "unparseable"
    """An answer was given that cannot be read as mathematics and is not the gold's text either."""
    TIMEOUT = "timeout"
    """Grading took longer or more memory than allowed; its process was ended."""
    ERROR = "error"
    """The grader failed; the answer may be right."""


@dataclass(frozen=True)
class Verdict:
    """Score of one answer and its reason."""

    score: float
    """1 if correct, else 0."""
    answer: str | None
    """What was graded: the answer extracted from the response; none if there was none."""
    status: Status
    """The reason."""


# Outcomes that would be the same another time.
_DEFINITE = (Status.CORRECT, Status.WRONG, Status.UNPARSEABLE)

_Key = tuple[str, tuple[str, ...]]
_Started = tuple[str | None, Status | Future[str]]


def grade(
    response: str, gold: Gold, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> Verdict:
    r"""Grade one response.

    Args:
        response: what the model wrote, without the prompt. Its last ``\boxed{}`` (or several beside
            each other) or closed ``<answer>`` tags hold the answer; nothing else counts.
        gold: the gold answer, or several of which any is right; numbers may be numbers.
        timeout_seconds: wall clock, from the moment a grading process has the answer.

    Returns:
        The verdict; of several golds, none of them right, the clearest: that a comparison was not
        finished (it might have been right), then wrong, then unparseable.

    Raises:
        TypeError: for a response that is no text, or a gold that is no text or number.
        ValueError: for a timeout that is not above 0.
    """
    return grade_many([(response, gold)], timeout_seconds=timeout_seconds)[0]


def grade_many(
    pairs: Iterable[tuple[str, Gold]], timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> list[Verdict]:
    """Grade many responses side by side.

    Args:
        pairs: response and gold of each, as in :func:`grade`.
        timeout_seconds: wall clock of each, from the moment a grading process has it.

    Returns:
        The verdicts, in the order of the pairs.

    Raises:
        TypeError: as :func:`grade`, before anything is graded.
        ValueError: as :func:`grade`.
    """
    checked = [_checked(response, gold, timeout_seconds) for response, gold in pairs]
    started = [_start(response, golds, timeout_seconds) for response, golds in checked]
    return [
        _verdict(answer, state if isinstance(state, Status) else Status(state.result()))
        for answer, state in started
    ]


async def agrade(
    response: str, gold: Gold, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> Verdict:
    """Grade one response without blocking the event loop; as :func:`grade`."""
    response, golds = _checked(response, gold, timeout_seconds)
    answer, state = _start(response, golds, timeout_seconds)
    if isinstance(state, Future):
        state = Status(await asyncio.wrap_future(state))
    return _verdict(answer, state)


class _Outcomes:
    """Outcomes of the symbolic comparison: the last definite ones, and those on their way.

    The responses of a prompt group often have the same answer; it is compared once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[_Key, Status] = OrderedDict()
        self._under_way: dict[tuple[_Key, float], Future[str]] = {}

    def get(self, answer: str, golds: tuple[str, ...], timeout_seconds: float) -> Any:
        """The outcome of a comparison, or the future of it."""
        key = (answer, golds)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            future = self._under_way.get((key, timeout_seconds))
            if future is not None:
                return future
            future = shared_pool().submit(answer, golds, timeout_seconds=timeout_seconds)
            self._under_way[key, timeout_seconds] = future
        future.add_done_callback(lambda done: self._settle(key, timeout_seconds, done))
        return future

    def _settle(self, key: _Key, timeout_seconds: float, done: Future[str]) -> None:
        status = Status(done.result())
        with self._lock:
            self._under_way.pop((key, timeout_seconds), None)
            if status in _DEFINITE:
                self._known[key] = status
                if len(self._known) > REMEMBERED_VERDICTS:
                    self._known.popitem(last=False)


def _start(response: str, golds: tuple[str, ...], timeout_seconds: float) -> _Started:
    """Extract the answer, compare it quickly, and queue what that leaves open."""
    answer = extract_answer(response)
    if answer is None:
        return None, Status.NO_ANSWER
    if not golds:
        return answer, Status.ERROR  # There is nothing to compare with.
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return answer[:MAX_ANSWER_CHARACTERS], Status.UNPARSEABLE
    open_golds = []
    for gold in golds:
        decision = quick_match(answer, gold)
        if decision:
            return answer, Status.CORRECT
        if decision is None:
            open_golds.append(gold)
    if not open_golds:
        return answer, Status.WRONG
    if depth_of(answer) > MAX_DEPTH:
        return answer, Status.UNPARSEABLE
    return answer, _outcomes.get(answer, tuple(open_golds), timeout_seconds)


def _verdict(answer: str | None, status: Status) -> Verdict:
    return Verdict(float(status is Status.CORRECT), answer, status)


def _checked(response: Any, gold: Any, timeout_seconds: Any) -> tuple[str, tuple[str, ...]]:
    if not isinstance(response, str):
        raise TypeError(f"response: {type(response).__name__}; give a text")
    if not isinstance(timeout_seconds, int | float) or not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds: {timeout_seconds!r}; give a number above 0")
    if isinstance(gold, bytes | bytearray | dict) or not isinstance(gold, Iterable | Real):
        raise TypeError(f"gold: {type(gold).__name__}; give a text, a number or a list of texts")
    texts: list[str] = []
    for element in [gold] if isinstance(gold, str | Real) else gold:
        if isinstance(element, bool) or not isinstance(element, str | Real):
            raise TypeError(f"gold: a list with {type(element).__name__}; give a list of texts")
        number = element if isinstance(element, str | int) else float(element)
        texts += clean_gold(number)
    return response, tuple(texts)


def forget() -> None:
    """Forget all outcomes, for measurements."""
    global _outcomes
    _outcomes = _Outcomes()


_outcomes = _Outcomes()
# What is under way is with the parent, and so may be the lock.
os.register_at_fork(after_in_child=forget)
