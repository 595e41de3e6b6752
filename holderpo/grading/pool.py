"""Grading processes that are killed and replaced when they are stuck.

Each process belongs to one thread, which hands it one job at a time, waits no longer than the
job's limit, and otherwise kills the process and starts another. The limit counts from the moment
the process has the job, so waiting in the queue costs nothing.

Why no library: pebble's pool, which also kills what is late, starts its workers by multiprocessing
(5.1.1, two workers). By spawn and forkserver each runs the caller's main module again, so a script
without a main guard never gets an answer; with its idle workers stopped (SIGSTOP) a job with a
limit of 2 s has no result after 15 s, because a worker must take the job before its clock starts;
and after a SIGKILL of the caller two busy workers go on for good. The standard library's pools have
no limit for a job at all. The processes here start ``python -c`` afresh and need nothing of their
caller.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from holderpo.processes.line_process import START_ATTEMPTS, LineProcess, ProcessStartError

# CPU seconds of one comparison inside the process. Of 4,880 that real golds gave rise to, 99.9 %
# took at most 0.36, and no right one more than 0.6.
CPU_SECONDS = 0.75
# Address space of a process, and the resident size from which on it is replaced.
MEMORY_BYTES = 1536 * 2**20
REPLACED_FROM_BYTES = 600 * 2**20
MAX_PROCESSES = 4
# What a process runs, before it calls ``main`` with its limits.
PROGRAM = "from holderpo.grading.worker import main"
# Importing math-verify takes 1 s, on a busy machine much longer, in a process that was stopped
# meanwhile for ever.
_START_SECONDS = 15.0
# An answer may have been with a process that died for another reason: it gets one more.
_ATTEMPTS = 2

logger = logging.getLogger(__name__)


class WorkerDiedError(RuntimeError):
    """A grading process ended by itself, or did not start."""


class GradingProcess:
    """One process; used by one thread, but for :meth:`close`."""

    def __init__(self, program: str = PROGRAM) -> None:
        """No process yet: the first job, or :meth:`start`, starts it.

        Args:
            program: Python source that imports ``main``, as :data:`PROGRAM`.
        """
        command = f"{program}\nmain({CPU_SECONDS}, {MEMORY_BYTES})"
        self._process = LineProcess(command, name="grading process", start_seconds=_START_SECONDS)

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        """Whether it was ended for good."""
        return self._process.is_closed

    def kill(self) -> None:
        """End the process; the next job starts another."""
        self._process.kill()

    def close(self) -> None:
        """End the process for good, from any thread; a job that it has fails."""
        self._process.close()

    def start(self) -> None:
        """Start the process, unless it is there, and wait until it has imported everything.

        Raises:
            WorkerDiedError: if it does not start.
        """
        try:
            self._process.start()
        except ProcessStartError as error:
            raise WorkerDiedError(str(error)) from error

    def judge(self, answer: str, golds: Sequence[str], *, timeout_seconds: float) -> str:
        """Have one answer compared.

        Args:
            answer: as extracted.
            golds: any of which is right.
            timeout_seconds: wall clock, from the moment the process has the job.

        Returns:
            ``correct``, ``wrong``, ``unparseable``, ``timeout`` or ``error``.

        Raises:
            WorkerDiedError: if the process ended while it had the job, or does not start.
        """
        job = [answer, list(golds)]
        for _ in range(START_ATTEMPTS):
            self.start()
            try:
                outcome, resident_bytes = self._process.exchange(job, timeout_seconds)
            except TimeoutError:
                self.kill()
                return "timeout"
            except (BrokenPipeError, ConnectionResetError):
                self.kill()  # It had died before it read the answer.
                continue
            except (OSError, EOFError, ValueError) as error:
                self.kill()
                raise WorkerDiedError(f"grading process ended: {error!r}") from error
            if resident_bytes > REPLACED_FROM_BYTES:
                self.kill()
            return str(outcome)
        raise WorkerDiedError("grading processes die before they read the answer")


class _Job(NamedTuple):
    answer: str
    golds: tuple[str, ...]
    timeout_seconds: float
    outcome: Future[str]


class GradingPool:
    """At most a fixed number of grading processes, usable from any thread."""

    def __init__(self, num_processes: int, program: str = PROGRAM) -> None:
        """Start nothing yet: a process starts when a job finds all others busy.

        Args:
            num_processes: above 0.
            program: of each, as in :class:`GradingProcess`.
        """
        self._program = program
        self._num_processes = num_processes
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._num_waiting = 0
        self._closed = False
        self.processes: list[GradingProcess] = []

    def submit(self, answer: str, golds: Sequence[str], *, timeout_seconds: float) -> Future[str]:
        """Queue one answer.

        Args:
            answer: as extracted.
            golds: any of which is right.
            timeout_seconds: wall clock, from the moment a process has the job.

        Returns:
            A future of the outcome, which raises nothing and cannot be cancelled: a job whose
            process dies is tried once more, then it is an ``error``.

        Raises:
            RuntimeError: if the pool is closed.
        """
        job = _Job(answer, tuple(golds), timeout_seconds, Future())
        job.outcome.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise RuntimeError("the grading pool is closed")
            if self._num_waiting > 0:
                self._num_waiting -= 1
            elif len(self.processes) < self._num_processes:
                self.processes.append(GradingProcess(self._program))
                threading.Thread(
                    target=self._serve, args=[self.processes[-1]], name="grading", daemon=True
                ).start()
            self._jobs.put(job)
        return job.outcome

    def close(self) -> None:
        """End all processes; jobs that are not done become errors."""
        with self._lock:
            self._closed = True
            for _ in self.processes:
                self._jobs.put(None)
        for process in self.processes:
            process.close()

    def _serve(self, process: GradingProcess) -> None:
        while (job := self._jobs.get()) is not None:
            outcome = "error" if self._closed else _outcome(process, job)
            with self._lock:
                # With a job in the queue this thread does not wait. Should another take that job,
                # it waits uncounted, and the worst is a process more than needed.
                if self._jobs.empty():
                    self._num_waiting += 1
            job.outcome.set_result(outcome)
            # A process that had to go is replaced now, not when the next answer waits for it.
            if not self._closed:
                try:
                    process.start()
                except WorkerDiedError:
                    pass  # The next job tries again, and says so.
        process.kill()


def _outcome(process: GradingProcess, job: _Job) -> str:
    for _ in range(_ATTEMPTS):
        try:
            return process.judge(job.answer, job.golds, timeout_seconds=job.timeout_seconds)
        except WorkerDiedError as error:
            reason: Exception = error
        except Exception as error:  # Whatever it is, the thread must go on.
            reason = error
            process.kill()
    if not process.is_closed:
        logger.warning("an answer was not graded: %s", reason)
    return "error"


_lock = threading.Lock()
_pool: GradingPool | None = None


def shared_pool() -> GradingPool:
    """The pool of this process, made by the first caller: a grading process a core, at most 4."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = GradingPool(min(len(os.sched_getaffinity(0)), MAX_PROCESSES))
        return _pool


@atexit.register
def _close() -> None:
    if _pool is not None:
        _pool.close()


def _after_fork() -> None:
    """A forked child has neither the threads nor a right to the processes of its parent."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
