"""One process and the lines that go to and from it; its faults are tested with the grader too."""

import errno
import os
import signal
import socket
import subprocess
import time

import pytest

from holderpo.processes import line_process
from holderpo.processes.line_process import LineProcess, ProcessStartError

PROGRAM = """
import os, sys, time
from holderpo.processes.line_program import serve

def answer(job):
    print("noise")
    if job == "sleep":
        time.sleep(60)
    if job == "leave":
        sys.exit(3)
    return {"length": len(job), "pid": os.getpid()}

serve(lambda: None, answer)
"""


@pytest.fixture
def process():
    made = LineProcess(PROGRAM, name="helper", start_seconds=15)
    made.start()
    yield made
    made.kill()


def test_a_job_of_any_size_is_answered_by_the_same_process(process):
    for job in ("", "ü\n", "x" * 300_000):
        assert process.exchange(job, 10) == {"length": len(job), "pid": process.pid}


def test_a_job_has_a_limit_and_the_next_process_answers(process):
    first, began = process.pid, time.monotonic()
    with pytest.raises(TimeoutError):
        process.exchange("sleep", 0.3)
    assert time.monotonic() - began < 2
    process.kill()
    assert not process.is_running
    process.start()
    assert process.exchange("a", 10)["pid"] == process.pid != first


@pytest.mark.parametrize("how", ["leave", "killed"])
def test_an_end_is_an_error_of_the_job(process, how):
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises((EOFError, OSError)):
        process.exchange(how, 10)
    process.kill()
    process.start()
    assert process.exchange("a", 10)["length"] == 1


def test_a_program_that_does_not_start_says_why():
    program = "from holderpo.processes.line_program import serve\nserve(lambda: 1 / 0, len)"
    process = LineProcess(program, name="helper", start_seconds=15)
    with pytest.raises(ProcessStartError, match=r"helper does not start: ZeroDivisionError"):
        process.start()


@pytest.mark.parametrize("refused", ["socketpair", "Popen"])
def test_a_system_that_makes_no_process_is_named_and_the_next_start_works(monkeypatch, refused):
    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    process = LineProcess(PROGRAM, name="helper", start_seconds=15)
    with monkeypatch.context() as patch:
        patch.setattr(line_process, "_PAUSE_SECONDS", 0.01)
        patch.setattr(socket if refused == "socketpair" else subprocess, refused, refuse)
        with pytest.raises(ProcessStartError, match=r"helper does not start: .*unavailable"):
            process.start()
    process.start()
    assert process.exchange("a", 10)["length"] == 1
    process.kill()
