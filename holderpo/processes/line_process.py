"""A process of one's own that answers one line of JSON with another, within a limit of time.

It starts ``python -c`` afresh and needs nothing of its caller: no main guard, no fork of threads or
of a caller's gigabytes. The limit of a job counts from the moment the process is handed it. The
other side is :func:`holderpo.processes.line_program.serve`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# A process that fails to start has successors with twice the time each.
_START_FAILURES = 3
# One that was killed has failed in nothing; but there is an end to that too.
START_ATTEMPTS = 12
# After the system refused to make a process.
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class ProcessStartError(RuntimeError):
    """A process does not start."""


class LineProcess:
    """One process; used by one thread, but for :meth:`close`.

    A process ends with the thread that started it.
    """

    def __init__(self, program: str, *, name: str, start_seconds: float) -> None:
        """No process yet: :meth:`start` starts it.

        Args:
            program: Python source that calls :func:`~holderpo.processes.line_program.serve`.
            name: of the process, in messages.
            start_seconds: it may take to be ready the first time.
        """
        self._program = program
        self._name = name
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._unread = b""
        self.is_closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        process = self._process
        return None if process is None else process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self) -> None:
        """Start the process, unless it is there, and wait until it is ready.

        Raises:
            ProcessStartError: if it does not start.
        """
        if self.is_running:
            return
        failures = 0
        for _ in range(START_ATTEMPTS):
            self.kill()
            reason, was_killed = self._launch(self._start_seconds * 2**failures)
            if reason == "ready":
                return
            failures += not was_killed
            if failures == _START_FAILURES or self.is_closed:
                break
            logger.warning("%s does not start: %s", self._name, reason)
        self.kill()
        raise ProcessStartError(f"{self._name} does not start: {reason}")

    def exchange(self, job: object, timeout_seconds: float) -> Any:
        """Hand a job to the running process and read its answer.

        Args:
            job: as JSON.
            timeout_seconds: for both, wall clock.

        Returns:
            The answer, from JSON.

        Raises:
            TimeoutError: the limit has passed; the process may still be at it, kill it.
            BrokenPipeError: the process ended before it read the job.
            ConnectionResetError: likewise.
            OSError: the process ended while it had the job.
            EOFError: likewise.
            ValueError: its answer is no JSON.
        """
        assert self._channel is not None
        deadline = time.monotonic() + timeout_seconds
        self._channel.settimeout(timeout_seconds)
        self._channel.sendall(json.dumps(job).encode() + b"\n")
        return self._receive(deadline)

    def kill(self) -> None:
        """End the process; :meth:`start` starts another."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        self._unread = b""
        if process is not None:
            process.kill()
            process.wait()
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """End the process for good, from any thread; a job that it has fails."""
        self.is_closed = True
        process = self._process
        if process is not None:
            process.kill()

    def _launch(self, timeout_seconds: float) -> tuple[str, bool]:
        """Start a process; what it says of itself, and whether it was killed before it did."""
        # The program must find this package, and no module of the caller's working directory (-P).
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        # A socket rather than pipes: sending has a limit too, should the process be stopped.
        try:
            self._channel, theirs = socket.socketpair()
            with theirs:
                self._process = process = subprocess.Popen(
                    [sys.executable, "-P", "-c", self._program],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                )
        except OSError as error:
            # No process, file or memory left to give; a moment later there may be.
            time.sleep(_PAUSE_SECONDS)
            return f"{error!r}", False
        if self.is_closed:
            process.kill()
        try:
            return str(self._receive(time.monotonic() + timeout_seconds)), False
        except TimeoutError:
            return f"not ready after {timeout_seconds:g} s", False
        except (OSError, EOFError, ValueError) as error:
            try:
                code = process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                code = 0
            return f"{error!r}, exit status {code}", code < 0

    def _receive(self, deadline: float) -> Any:
        """Read one line of the process, until the deadline."""
        assert self._channel is not None
        received = [self._unread]
        while b"\n" not in received[-1]:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("no answer within the limit")
            self._channel.settimeout(remaining)
            received.append(self._channel.recv(65_536))
            if not received[-1]:
                raise EOFError("end of output")
        line, _, self._unread = b"".join(received).partition(b"\n")
        return json.loads(line)
