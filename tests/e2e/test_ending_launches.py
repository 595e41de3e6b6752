"""A launch of a test leaves nothing behind when its time is over."""

import subprocess
import sys

import psutil
import pytest

from tests.e2e.conftest import launch, still_running

# With a process of its group, and one that has left it.
STARTS_TWO = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
ids = [subprocess.Popen(sleep, start_new_session=own).pid for own in (False, True)]
print(*ids, flush=True)
time.sleep(60)
"""


def test_a_launch_returns_its_status_and_what_it_printed():
    command = [sys.executable, "-c", "import os; print(os.environ['A']); raise SystemExit(3)"]
    assert launch(command, A="b") == (3, "b\n")


def test_a_launch_that_takes_too_long_is_ended_with_its_processes():
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        launch([sys.executable, "-c", STARTS_TWO], seconds=3)
    ids = [int(number) for number in caught.value.output.split()]
    assert len(ids) == 2
    processes = [psutil.Process(number) for number in ids if psutil.pid_exists(number)]
    assert still_running(processes, seconds=5) == []
