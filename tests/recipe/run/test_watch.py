"""A driver that waits for ever, for whatever reason, is ended with one line."""

import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from recipe.holderpo.run import watch
from tests.e2e.conftest import REPOSITORY, still_running

pytestmark = pytest.mark.timeout(120)

DRIVER = """
import asyncio, os, subprocess, sys, time
from pathlib import Path
from recipe.holderpo.run.console import Console
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.watch import Watch

console, progress = Console(Path({folder!r}) / "run.log"), Progress()
progress.step = 7
progress.now("the answers")
watch = Watch(
    console, progress, no_progress_seconds={limit}, how_to_go_on=lambda: "go on with: this"
)

def hang():
    {hang}

try:
    try:
        child = subprocess.Popen(["sleep", "60"])
        console.say(f"{{child.pid}} {{watch._guardian.pid}}")
        hang()
    except BaseException as error:
        raise watch.explain(error)
    finally:
        watch.end_processes()
except KeyboardInterrupt:
    console.fail("interrupted")
    sys.exit(130)
except Exception as error:
    console.fail_with(error, "; go on")
    sys.exit(1)
"""
FOR_EVER = "time.sleep(60)"
IN_A_COROUTINE = "async def f(): time.sleep(60)\n    asyncio.run(f())"
DEAF = """while True:
        try: time.sleep(60)
        except BaseException: progress.now('nothing')"""


def drive(tmp_path, hang, limit=1000, through=()):
    code = DRIVER.format(folder=str(tmp_path), limit=limit, hang=hang)
    run = subprocess.Popen(
        [*through, sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    numbers = run.stdout.readline().split()
    return run, [psutil.Process(int(number)) for number in numbers]


@pytest.mark.parametrize(
    ("number", "hang"), [(signal.SIGINT, IN_A_COROUTINE), (signal.SIGTERM, FOR_EVER)]
)
def test_the_first_interrupt_ends_whatever_waits(tmp_path, number, hang):
    run, processes = drive(tmp_path, hang)
    time.sleep(0.5)
    began = time.monotonic()
    run.send_signal(number)
    output, _ = run.communicate(timeout=30)
    assert (run.returncode, output) == (130, "interrupted\n")
    assert time.monotonic() - began < 15
    assert still_running(processes, 5) == []


def test_an_interrupt_that_the_launching_shell_ignores_stays_ignored(tmp_path):
    # As a shell without job control does with what it starts in the background.
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    run, _ = drive(tmp_path, FOR_EVER, through=shell)
    run.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(3)
    run.terminate()
    assert run.wait(30) == 130


def test_a_run_without_progress_is_ended_with_what_it_waits_for(tmp_path):
    run, processes = drive(tmp_path, IN_A_COROUTINE, limit=1)
    output, _ = run.communicate(timeout=40)
    assert run.returncode == 1
    assert output.splitlines()[-1] == (
        "failed: NoProgressError: no progress for 1 s in step 7, while waiting for the answers "
        "(no_progress_seconds); go on"
    )
    assert still_running(processes, 5) == []


def test_progress_and_what_may_take_any_time_are_not_ended(tmp_path):
    hang = """for n in range(6):
        progress.count = lambda: n
        time.sleep(0.5)
    progress.now("the checkpoint", is_limited=False)
    time.sleep(3)"""
    run, _ = drive(tmp_path, hang, limit=1)
    assert run.wait(40) == 0


def test_a_run_that_was_stopped_and_goes_on_has_not_hung(tmp_path):
    run, _ = drive(tmp_path, "time.sleep(1); time.sleep(2)", limit=5)
    run.send_signal(signal.SIGSTOP)
    time.sleep(7)
    run.send_signal(signal.SIGCONT)
    assert run.wait(40) == 0


@pytest.mark.faults
def test_a_driver_that_ignores_interrupts_is_ended_all_the_same(tmp_path):
    run, processes = drive(tmp_path, DEAF, limit=1)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert output.startswith("failed: no progress for 1 s in step 7, while waiting for the answers")
    assert output.endswith("; go on with: this\n")
    assert still_running(processes, 15) == []


def test_a_process_that_ends_although_it_is_needed_is_named(tmp_path):
    # Of vLLM by its name, as the kernel knows it.
    engine = textwrap.dedent("""
        import ctypes, time
        ctypes.CDLL(None).prctl(15, b"VLLM::EngineCor", 0, 0, 0)
        time.sleep(3)
    """)
    hang = f"subprocess.Popen([sys.executable, '-c', {engine!r}]); time.sleep(60)"
    run, _ = drive(tmp_path, hang)
    output, _ = run.communicate(timeout=40)
    assert run.returncode == 1
    assert "ProcessDiedError: vLLM engine (pid " in output.splitlines()[-1]
    assert output.splitlines()[-1].endswith(" died in step 7, while waiting for the answers; go on")


def test_an_error_of_ones_own_stays_what_it_is(tmp_path):
    run, _ = drive(tmp_path, "raise ValueError('p: nan')")
    output, _ = run.communicate(timeout=40)
    assert (run.returncode, output.splitlines()[-1]) == (1, "failed: ValueError: p: nan; go on")


FULL_DISK = """
import sys
from pathlib import Path
from recipe.holderpo.run.console import Console
console = Console(Path({log!r}))
console.say("one line")
try:
    open("/dev/full", "w", buffering=1).write("x\\n")
except OSError as error:
    console.fail_with(error, "; go on")
sys.exit(1)
"""


def test_the_screen_gets_its_line_although_the_disk_is_full():
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(log="/dev/full")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, "not what Python ends with if it cannot flush"
    first, details, last = run.stdout.splitlines()
    assert (first, details) == ("one line", "details in /dev/full")
    assert last == "failed: OSError: [Errno 28] No space left on device; go on"


CLOSED_SCREEN = """
import sys
from pathlib import Path
from recipe.holderpo.run.console import Console
console = Console(Path({log!r}))
sys.stdin.readline()
console.start_bar(initial=0, total=3)
console.say("a line that nobody reads")
Path({log!r} + ".done").touch()
"""


def test_a_run_goes_on_when_its_screen_is_closed(tmp_path):
    log = tmp_path / "run.log"
    run = subprocess.Popen(
        [sys.executable, "-c", CLOSED_SCREEN.format(log=str(log))],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    run.stdout.close()
    run.communicate("\n", timeout=30)
    assert "a line that nobody reads" in log.read_text()
    assert (tmp_path / "run.log.done").exists()
    assert run.returncode == 0


class OneNode:
    """Ray's context of a process, and a tree of processes that takes all."""

    def get_job_id(self):
        return "job"

    def get_node_id(self):
        return "node"

    def add(self, pid):
        pass

    watch = add


@pytest.mark.parametrize(
    ("kind", "deaths"),
    [
        ("WorkerDict", ["FSDP worker (pid {pid})"]),
        ("module.EnvironmentWorker", []),
    ],
)
def test_an_actor_that_died_is_named_unless_ray_brings_it_back(monkeypatch, kind, deaths):
    gone = subprocess.Popen(["true"])
    gone.wait()
    address = {"NodeID": "node"}
    actor = {"Address": address, "State": "ALIVE", "Pid": gone.pid, "ActorClassName": kind}
    monkeypatch.setattr(watch, "_actors", lambda job: {"key": actor})
    monkeypatch.setattr("ray.get_runtime_context", OneNode)
    looking = object.__new__(watch.Watch)
    looking.__dict__ |= {"_has_ray": True, "_dead_actors": set(), "_silent": set()}
    looking.__dict__ |= {"_local_actors": set(), "_tree": OneNode(), "_guardian": OneNode()}
    looks = [list(looking._dead_on_ray()) for _ in range(2)]
    assert looks == [[], [line.format(pid=gone.pid) for line in deaths]]
