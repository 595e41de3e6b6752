"""What runs in a :class:`~holderpo.processes.line_process.LineProcess`."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

# Linux: the signal this process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1


def serve(prepare: Callable[[], None], answer: Callable[[Any], Any]) -> None:
    """Serve jobs from standard input, a socket, until it ends.

    Args:
        prepare: called once, before the process says that it is ready.
        answer: of one job; both are JSON. What it raises ends the process.
    """
    # Against a caller that is killed; one that ended before this line closed the socket.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A library that prints or reads cannot spoil the exchange.
    jobs, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(0), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)

    def say(told: Any) -> None:
        print(json.dumps(told), file=results, flush=True)

    try:
        prepare()
    except Exception as error:
        say(f"{type(error).__name__}: {error}")
        return
    say("ready")
    for line in jobs:
        say(answer(json.loads(line)))


def resident_bytes() -> int:
    """Memory that this process holds now.

    Not ``ru_maxrss``: exec keeps that of the process before, here a fork of the caller, which in
    training holds gigabytes.
    """
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
