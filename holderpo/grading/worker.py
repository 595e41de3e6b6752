"""A grading process: reads one job a line, writes one result a line, and can be killed any time.

Started by :mod:`holderpo.grading.pool` only. A comparison has a limit of CPU time, raised as an
exception inside the process, and the process a limit of memory; whatever outlasts them (C code that
never returns) the pool kills.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from types import FrameType

from holderpo.processes.line_program import resident_bytes, serve

# The exception comes again, should a library have swallowed the first.
_REPEAT_SECONDS = 0.25
# Of several golds, none of them right: undecided before unparseable, but any verdict of wrong
# needs all comparisons to have ended.
_PRECEDENCE = ("error", "timeout", "wrong", "unparseable")


class _OutOfTimeError(BaseException):
    """Not an Exception, so that no library swallows it."""


def judge(answer: str, golds: list[str], compare: Callable[[str, str], str]) -> str:
    """Compare an answer with each gold in turn.

    Args:
        answer: as extracted.
        golds: any of which is right.
        compare: outcome of one comparison.

    Returns:
        ``correct`` if one of them is; else ``error`` or ``timeout`` if one of them is (it might
        have been right); else ``wrong`` if one is; else ``unparseable``.
    """
    outcomes = set()
    for gold in golds:
        outcomes.add(compare(answer, gold))
        if "correct" in outcomes:
            return "correct"
    return next((outcome for outcome in _PRECEDENCE if outcome in outcomes), "error")


def main(cpu_seconds: float, memory_bytes: int) -> None:
    """Serve jobs from standard input, a socket, until it ends.

    Args:
        cpu_seconds: limit of one comparison.
        memory_bytes: limit of the address space.
    """

    def prepare() -> None:
        signal.signal(signal.SIGPROF, _out_of_time)
        _warm_up()
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def compare(answer: str, gold: str) -> str:
        return limited(answer, gold, cpu_seconds)

    serve(prepare, lambda job: [judge(job[0], job[1], compare), resident_bytes()])


def limited(answer: str, gold: str, cpu_seconds: float) -> str:
    """Compare within the limit of CPU time.

    Args:
        answer: as extracted.
        gold: as prepared.
        cpu_seconds: limit; needs the process's main thread and :func:`main`'s signal handler.

    Returns:
        ``correct``, ``wrong``, ``unparseable``, ``error``, or ``timeout`` for one that took too
        long or too much memory.
    """
    from holderpo.grading.symbolic import UnparseableError, symbolic_match

    try:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds, _REPEAT_SECONDS)
        try:
            return "correct" if symbolic_match(answer, gold) else "wrong"
        except UnparseableError:
            return "unparseable"
        except (_OutOfTimeError, MemoryError, RecursionError):
            return "timeout"
        except Exception:
            return "error"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _OutOfTimeError:
        # It came in the moment before the timer was switched off.
        signal.setitimer(signal.ITIMER_PROF, 0)
        return "timeout"


def _warm_up() -> None:
    """Import math-verify and sympy and fill their caches."""
    from holderpo.grading.symbolic import symbolic_match

    symbolic_match(r"\sqrt{4}+x", "x+2")


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise _OutOfTimeError
