"""The processes of a run on this machine, and the one that ends them if the driver cannot."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path

import psutil

_SHARED_MEMORY = Path("/dev/shm")
_LOOK_SECONDS = 2.0
_GRACE_SECONDS = 2.0
_KILL_SECONDS = 5.0
# What the driver tells its guardian: that it has ended everything itself; the line for the screen,
# empty once it has been written.
_DONE = "done"
_SAY = "say "


class ProcessTree:
    """Every process that descends from a root, also those whose parent has died since.

    A process is found while its parent lives and is remembered from then on, so :meth:`look` is
    to be called often.
    """

    def __init__(self, root: psutil.Process, *, without: Collection[int] = ()) -> None:
        """Begin with the root alone, which is never ended.

        Args:
            root: whose descendants these are.
            without: processes that do not belong to them, nor their descendants.
        """
        self._root = root
        self._without = frozenset(without)
        self._began = root.create_time()
        # Looked at by the watch and by the main thread.
        self._lock = threading.RLock()
        self._known: dict[psutil.Process, str] = {}
        self._segments: set[Path] = set()

    def add(self, pid: int) -> None:
        """Count a process in that does not descend from the root, with its descendants."""
        with self._lock, contextlib.suppress(psutil.Error):
            self._known.setdefault(psutil.Process(pid), "")

    def look(self) -> None:
        """Find new descendants, their present names, and the shared memory that they have open."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        children: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter(["ppid"]):
            children.setdefault(process.info["ppid"], []).append(process)
        waiting = [self._root, *(process for process in self._known if is_alive(process))]
        while waiting:
            for child in children.pop(waiting.pop().pid, ()):
                if child.pid not in self._without and child != self._root:
                    self._known.setdefault(child, "")
                    waiting.append(child)
        for process in self._known:
            if is_alive(process):
                with contextlib.suppress(psutil.Error):
                    self._known[process] = process.name()
                self._segments |= open_segments(process.pid, self._began)

    def dead(self) -> dict[psutil.Process, str]:
        """Those that have ended, with the names that they had."""
        with self._lock:
            return {process: name for process, name in self._known.items() if not is_alive(process)}

    def alive(self) -> list[psutil.Process]:
        """Those that run."""
        with self._lock:
            return [process for process in self._known if is_alive(process)]

    def end(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Let them end, then kill what is left, and remove the shared memory they leave.

        Args:
            grace_seconds: before those that are left are killed.
        """
        self.look()
        _wait_for(self.alive(), grace_seconds)
        for _ in range(3):
            # A process can start another while it is being ended.
            self.look()
            if not (left := self.alive()):
                break
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            _wait_for(left, _KILL_SECONDS)
        for segment in tuple(self._segments):
            with contextlib.suppress(OSError):
                segment.unlink()


def _wait_for(processes: list[psutil.Process], seconds: float) -> None:
    """Until they have ended; psutil's own wait goes on while nobody asks how they ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(is_alive(process) for process in processes):
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def open_segments(pid: int, since: float) -> set[Path]:
    """Named shared memory that a process has open and that is not older than the run."""
    found = set()
    # None without /proc, and where the process ends meanwhile.
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = Path(os.readlink(descriptor.path))
                if path.parent == _SHARED_MEMORY and path.stat().st_ctime >= since:
                    found.add(path)
    return found


class Guardian:
    """A small process that outlives the driver and ends what a killed one leaves running."""

    def __init__(self, screen: int) -> None:
        """Start it, for this process.

        Args:
            screen: descriptor to write its line to.
        """
        # A session of its own: neither Ctrl-C nor the end of a terminal reaches it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=screen,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def say_at_the_end(self, line: str) -> None:
        """Write a line if this process dies; an empty one if the screen has its line already."""
        self._tell(_SAY + line)

    def dismiss(self) -> None:
        """Everything has ended."""
        self._tell(_DONE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)

    def watch(self, pid: int) -> None:
        """End this process too, with its descendants."""
        self._tell(str(pid))

    def _tell(self, message: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{message}\n".encode())
            self._process.stdin.flush()


def guard(driver: int) -> None:
    """Wait for the end of the driver; end what it leaves, unless it says that nothing is left.

    Args:
        driver: its process id; its messages come through stdin, which ends with it.
    """
    root = psutil.Process(driver)
    tree = ProcessTree(root, without=[os.getpid()])
    stdin = sys.stdin.fileno()
    line, received = "", b""
    while True:
        if select.select([stdin], [], [], _LOOK_SECONDS)[0]:
            if not (more := os.read(stdin, 65536)):
                break
            *messages, received = (received + more).split(b"\n")
            for message in map(bytes.decode, messages):
                if message == _DONE:
                    return
                if message.startswith(_SAY):
                    line = message.removeprefix(_SAY)
                else:
                    tree.add(int(message))
        elif not is_alive(root):
            # A child that it has forked holds the pipe open.
            break
        with contextlib.suppress(psutil.Error):
            tree.look()
    tree.end()
    if line:
        with contextlib.suppress(OSError):
            print(line, flush=True)


if __name__ == "__main__":
    guard(int(sys.argv[1]))
