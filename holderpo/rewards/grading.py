"""Grading answers: one, many, or from a coroutine.

The quick comparison runs in the caller; what it leaves open goes to grading processes with a hard
limit of time and memory (:mod:`holderpo.rewards.pool`). No input makes these functions hang, and
none but a wrong type makes them raise.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from holderpo.rewards.extraction import extract_answer
from holderpo.rewards.pool import shared_pool
from holderpo.rewards.quick import MAX_ANSWER_CHARACTERS, quick_match
from holderpo.rewards.verdict import Status, Verdict

Gold = str | int | float | Sequence[str]

# Wall clock of one answer; its CPU time is limited to pool.CPU_SECONDS long before.
DEFAULT_TIMEOUT_SECONDS = 10.0
_CACHED_VERDICTS = 4096

# Outcomes that would be the same another time.
_DEFINITE = (Status.CORRECT, Status.WRONG, Status.UNPARSEABLE)
_cache: OrderedDict[tuple[str, tuple[str, ...]], Status] = OrderedDict()
_cache_lock = threading.Lock()


def grade(
    response: str, gold: Gold, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> Verdict:
    r"""Grade one response.

    Args:
        response: what the model wrote, without the prompt. Its last complete ``\boxed{}`` or
            closed ``<answer>`` tags hold the answer; nothing else counts.
        gold: the gold answer, or several of which any is right.
        timeout_seconds: wall clock, from the moment a grading process has the answer.

    Returns:
        The verdict.

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
    started = [_start(response, gold, timeout_seconds) for response, gold in pairs]
    return [_finish(answer, golds, outcome) for answer, golds, outcome in started]


async def agrade(
    response: str, gold: Gold, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> Verdict:
    """Grade one response without blocking the event loop; as :func:`grade`."""
    answer, golds, outcome = _start(response, gold, timeout_seconds)
    if isinstance(outcome, Future):
        await asyncio.wait([asyncio.wrap_future(outcome)])
    return _finish(answer, golds, outcome)


_Started = tuple[str | None, tuple[str, ...], "Status | Future[str]"]


def _start(response: str, gold: Gold, timeout_seconds: float) -> _Started:
    if not isinstance(response, str):
        raise TypeError(f"response: {type(response).__name__}; give a text")
    if not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds: {timeout_seconds!r}; give seconds above 0")
    golds = _golds(gold)
    answer = extract_answer(response)
    if answer is None:
        return None, golds, Status.NO_ANSWER
    if not golds:
        return answer, golds, Status.ERROR  # There is nothing to compare with.
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return answer[:MAX_ANSWER_CHARACTERS], golds, Status.UNPARSEABLE
    with _cache_lock:
        known = _cache.get((answer, golds))
        if known is not None:
            _cache.move_to_end((answer, golds))
            return answer, golds, known
    open_golds = []
    for each in golds:
        decision = quick_match(answer, each)
        if decision:
            return answer, golds, Status.CORRECT
        if decision is None:
            open_golds.append(each)
    if not open_golds:
        return answer, golds, Status.WRONG
    pool = shared_pool()
    return answer, golds, pool.submit(answer, open_golds, timeout_seconds=timeout_seconds)


def _finish(answer: str | None, golds: tuple[str, ...], outcome: Status | Future[str]) -> Verdict:
    status = outcome if isinstance(outcome, Status) else Status(outcome.result())
    if answer is not None and status in _DEFINITE:
        with _cache_lock:
            _cache[answer, golds] = status
            if len(_cache) > _CACHED_VERDICTS:
                _cache.popitem(last=False)
    return Verdict(float(status is Status.CORRECT), answer, status)


def _golds(gold: Gold) -> tuple[str, ...]:
    elements = [gold] if isinstance(gold, str | int | float) else gold
    if isinstance(elements, bytes | dict) or not isinstance(elements, Iterable):
        raise TypeError(f"gold: {type(gold).__name__}; give a text, a number or a list of texts")
    texts = []
    for element in elements:
        if isinstance(element, bool) or not isinstance(element, str | int | float):
            raise TypeError(f"gold: a list with {type(element).__name__}; give a list of texts")
        texts.append(str(element).strip())
    return tuple(text for text in texts if text)
