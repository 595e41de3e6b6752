"""Processes of a run are found, also orphans, and ended, also by the guardian of a dead driver."""

import os
import subprocess
import sys
import textwrap
import time
from multiprocessing import shared_memory
from pathlib import Path

import psutil
import pytest

from recipe.holderpo.run.process_tree import ProcessTree, is_alive
from tests.e2e.conftest import REPOSITORY, end, still_running

# A process with a child, both asleep; it prints the child's number.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
SEGMENT = """
import subprocess, sys, time
code = "from multiprocessing import shared_memory as m; import time; " \\
    "s = m.SharedMemory(create=True, size=1000); print(s.name, flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code])
time.sleep(60)
"""


def start(code):
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    return process, process.stdout.readline().strip()


def test_an_orphan_still_belongs_to_the_run():
    tree = ProcessTree(psutil.Process())
    parent, child = start(PARENT)
    tree.look()
    parent.kill()
    parent.wait()
    orphan = psutil.Process(int(child))
    assert orphan.ppid() != os.getpid()
    tree.look()
    assert orphan in tree.alive()
    assert parent.pid in [process.pid for process in tree.dead()]
    tree.end(grace_seconds=0.1)
    assert not is_alive(orphan)


def test_children_of_an_orphan_that_are_born_later_belong_to_it():
    tree = ProcessTree(psutil.Process())
    code = f"import time; time.sleep(0.8); exec({PARENT!r})"
    parent = subprocess.Popen(["sh", "-c", f'{sys.executable} -c "$CODE"; :'], env={"CODE": code})
    while len(tree.alive()) < 2:
        tree.look()
    parent.kill()
    parent.wait()
    time.sleep(1.5)
    tree.look()
    assert len(tree.alive()) == 2, "the orphan and its child"
    tree.end(grace_seconds=0.1)
    assert tree.alive() == []


def test_a_process_that_ends_by_itself_in_time_is_not_killed(tmp_path):
    tree = ProcessTree(psutil.Process())
    done = tmp_path / "done"
    code = f"import time, pathlib; time.sleep(0.5); pathlib.Path({str(done)!r}).touch()"
    process = subprocess.Popen([sys.executable, "-c", code])
    tree.look()
    tree.end(grace_seconds=10)
    assert process.wait() == 0
    assert done.exists()


def test_a_process_that_is_not_of_the_run_is_left_alone():
    own, other = (psutil.Process(start(PARENT)[0].pid) for _ in range(2))
    tree = ProcessTree(psutil.Process(), without=[other.pid])
    tree.end(grace_seconds=0)
    assert not is_alive(own)
    assert is_alive(other)
    end([*other.children(), other])


def test_shared_memory_of_a_killed_process_is_removed_and_that_of_others_is_not():
    others = shared_memory.SharedMemory(create=True, size=1000)
    time.sleep(0.05)
    root, name = start(SEGMENT)
    assert Path("/dev/shm", name).exists()
    # Its resource tracker would remove it, but is killed as well.
    ProcessTree(psutil.Process(root.pid)).end(grace_seconds=0)
    assert not Path("/dev/shm", name).exists()
    assert Path("/dev/shm", others.name).exists()
    root.kill()
    others.close()
    others.unlink()


DRIVER = """
import os, subprocess, sys, time
from recipe.holderpo.run.process_tree import Guardian
guardian = Guardian(1)
child = subprocess.Popen([sys.executable, "-c", {parent!r}], stdout=subprocess.PIPE)
print(child.pid, int(child.stdout.readline()), guardian.pid, flush=True)
# It looks whenever it is told something.
guardian.say_at_the_end("failed: killed; go on with: this")
time.sleep(1)
{then}
"""


def drive(then):
    code = textwrap.dedent(DRIVER).format(parent=PARENT, then=then)
    driver, numbers = start(code)
    return driver, [psutil.Process(int(number)) for number in numbers.split()]


@pytest.mark.parametrize(
    ("then", "last_words"),
    [
        ("os.kill(os.getpid(), 9)", "failed: killed; go on with: this\n"),
        ("guardian.say_at_the_end(''); os._exit(1)", ""),
        # A forked child has the driver's end of the pipe open too.
        ("os.fork() or time.sleep(60); os._exit(1)", "failed: killed; go on with: this\n"),
    ],
)
def test_a_guardian_ends_what_a_dead_driver_leaves(then, last_words):
    driver, processes = drive(then)
    driver.wait(20)
    assert still_running(processes, 20) == []
    assert driver.stdout.read() == last_words


def test_a_guardian_that_is_dismissed_ends_nothing():
    driver, processes = drive("guardian.dismiss()")
    driver.wait(20)
    *left, guardian = processes
    assert still_running([guardian], 10) == []
    assert all(is_alive(process) for process in left)
    assert driver.stdout.read() == ""
    end(left)


def test_a_guardian_is_told_of_processes_that_do_not_descend_from_the_driver():
    stranger, child = start(PARENT)
    driver, processes = drive(f"guardian.watch({stranger.pid}); time.sleep(1); os._exit(1)")
    driver.wait(20)
    strangers = [psutil.Process(stranger.pid), psutil.Process(int(child))]
    assert still_running([*processes, *strangers], 20) == []
    assert driver.stdout.read() == "failed: killed; go on with: this\n"
