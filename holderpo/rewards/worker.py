"""A grading process: reads one job a line, writes one result a line, and can be killed any time.

``python -m holderpo.rewards.worker`` is started by :mod:`holderpo.rewards.pool` only. A job has a
limit of CPU time, raised as an exception inside the process, and the process a limit of memory;
whatever outlasts them (C code that never returns) the pool kills.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from types import FrameType

from holderpo.rewards.symbolic import UnparseableError, symbolic_match

# Linux: the signal this process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1


class _OutOfTimeError(BaseException):
    """Not an Exception, so that no library swallows it."""


def judge(answer: str, golds: list[str]) -> str:
    """Compare an answer with each gold in turn.

    Args:
        answer: as extracted.
        golds: any of which is right.

    Returns:
        ``correct``, ``wrong`` or ``unparseable``.
    """
    outcome = "wrong"
    for gold in golds:
        try:
            if symbolic_match(answer, gold):
                return "correct"
        except UnparseableError:
            outcome = "unparseable"
    return outcome


def main() -> None:
    """Serve jobs from standard input until it ends."""
    cpu_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Results go through a descriptor of their own: a library that prints cannot spoil them.
    jobs, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _out_of_time)
    logging.disable(logging.CRITICAL)
    judge("\\sqrt{4}+x", ["x+2"])  # Imports math-verify and sympy and warms their caches.
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    _say(results, "ready")
    for line in jobs:
        answer, golds = json.loads(line)
        _say(results, _limited(answer, golds, cpu_seconds))


def _limited(answer: str, golds: list[str], cpu_seconds: float) -> str:
    try:
        try:
            # Again every quarter of a second, should a library have swallowed the first.
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds, 0.25)
            return judge(answer, golds)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (_OutOfTimeError, MemoryError, RecursionError):
        return "timeout"
    except Exception:
        return "error"


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise _OutOfTimeError


def _say(results: object, outcome: str) -> None:
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([outcome, resident]), file=results, flush=True)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
