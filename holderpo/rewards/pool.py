"""Grading processes that are killed and replaced when they are stuck.

Each process belongs to one thread, which hands it one job at a time, waits no longer than the
job's limit, and otherwise kills the process and starts another. The limit counts from the moment
the process has the job, so waiting in the queue costs nothing.

Why not a pool of the standard library or of pebble: both start processes by multiprocessing, whose
spawn runs the caller's main module again in every worker. That fails for a script without a main
guard and, in a Ray actor, imports Ray and verl into each worker. These start ``python -m``
afresh, and need nothing of their caller.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# CPU seconds of one answer inside the process; legitimate ones took at most 0.46.
CPU_SECONDS = 1.0
# Address space of a process, and the resident size from which on it is replaced.
MEMORY_BYTES = 1536 * 2**20
REPLACED_FROM_BYTES = 600 * 2**20
# Importing math-verify takes 1 s, on a busy machine much longer.
_START_SECONDS = 120.0


class WorkerDiedError(RuntimeError):
    """A grading process ended by itself."""


class GradingProcess:
    """One process; used by one thread."""

    def __init__(self) -> None:
        """No process yet: the first job starts it."""
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

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
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([answer, list(golds)]).encode() + b"\n")
            process.stdin.flush()
            outcome, resident = self._result(timeout_seconds)
        except TimeoutError:
            self.kill()
            return "timeout"
        except (OSError, EOFError, ValueError) as error:
            self.kill()
            raise WorkerDiedError(f"grading process ended: {error!r}") from error
        if resident > REPLACED_FROM_BYTES:
            self.kill()
        return outcome

    def kill(self) -> None:
        """End the process; the next job starts another."""
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # A job that was never read: nothing to save.

    def _start(self) -> None:
        self.kill()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holderpo.rewards.worker", str(CPU_SECONDS), str(MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        try:
            self._result(_START_SECONDS)
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            self.kill()
            raise WorkerDiedError(f"grading process does not start: {error!r}") from error

    def _result(self, timeout_seconds: float) -> tuple[str, int]:
        """Read one line of the process within the limit."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._unread:
            remaining = deadline - time.monotonic()
            ready, _, _ = select.select([process.stdout], [], [], max(remaining, 0))
            if not ready:
                raise TimeoutError
            received = os.read(process.stdout.fileno(), 65_536)
            if not received:
                raise EOFError("end of output")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        outcome, resident = json.loads(line)
        return outcome, resident


class GradingPool:
    """A fixed number of grading processes, usable from any thread."""

    def __init__(self, num_processes: int) -> None:
        """Start nothing yet: each process starts with its first job.

        Args:
            num_processes: above 0.
        """
        self._executor = ThreadPoolExecutor(num_processes, thread_name_prefix="grading")
        self._own = threading.local()
        self._processes: list[GradingProcess] = []

    def submit(self, answer: str, golds: Sequence[str], *, timeout_seconds: float) -> Future[str]:
        """Queue one answer.

        Args:
            answer: as extracted.
            golds: any of which is right.
            timeout_seconds: wall clock, from the moment a process has the job.

        Returns:
            A future of the outcome, which never raises :class:`WorkerDiedError`: a job whose
            process dies is tried once more, then it is an ``error``.
        """
        return self._executor.submit(self._judge, answer, golds, timeout_seconds)

    def kill_processes(self) -> None:
        """End all processes, at the end of the program."""
        for process in self._processes:
            process.kill()

    def _judge(self, answer: str, golds: Sequence[str], timeout_seconds: float) -> str:
        process: GradingProcess | None = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = GradingProcess()
            self._processes.append(process)
        for _ in range(2):
            try:
                return process.judge(answer, golds, timeout_seconds=timeout_seconds)
            except WorkerDiedError:
                continue
        return "error"


_lock = threading.Lock()
_pool: GradingPool | None = None


def shared_pool() -> GradingPool:
    """The pool of this process, made by the first caller; one grading process a core, at most 4."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = GradingPool(min(os.cpu_count() or 1, 4))
            atexit.register(_pool.kill_processes)
        return _pool


def _after_fork() -> None:
    """A forked child has neither the threads nor a right to the processes of its parent."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
