"""The grader's processes: killed, stopped, stuck, greedy, and wherever they are started from."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from holderpo.grading import pool
from holderpo.grading.pool import PROGRAM, GradingPool

# Stands in for math-verify in the process, which then starts in a fifth of the time: what goes
# wrong is in the answer.
STAND_IN = """
import os, signal, sys, time
import holderpo.grading.symbolic as symbolic

def stand_in(answer, gold):
    if answer == "hog":
        kept = [bytes(10_000_000) for _ in range(10_000)]
    if answer == "spin":
        while True:
            pass
    if answer == "busy":
        sum(range(10 ** 13))  # C code that looks at no signal.
    if answer.startswith("sleep"):
        with open(answer.removeprefix("sleep "), "w") as file:
            print(os.getpid(), file=file)
        time.sleep(60)
    if answer == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if answer == "leave":
        sys.exit(3)
    if answer == "raise":
        raise ZeroDivisionError
    if answer == "recurse":
        stand_in(answer, gold)
        return stand_in(answer, gold)
    if answer == "chatter":
        print(sys.stdin.read(), "noise", flush=True)
        os.write(1, b"more noise")
    return answer != "wrong"

symbolic.symbolic_match = stand_in
"""
STAND_IN_PROGRAM = STAND_IN + PROGRAM


@pytest.fixture(scope="module")
def one_process():
    made = GradingPool(1, STAND_IN_PROGRAM)
    yield made
    made.close()


@pytest.fixture
def short_limit(monkeypatch):
    """A process with a small limit of CPU time."""
    monkeypatch.setattr(pool, "CPU_SECONDS", 0.1)
    made = GradingPool(1, STAND_IN_PROGRAM)
    assert ask(made).result() == "correct"
    yield made
    made.close()


def ask(one, answer="good", gold="18", timeout_seconds=20.0):
    return one.submit(answer, [gold], timeout_seconds=timeout_seconds)


def pid_of(one):
    return one.processes[0].pid


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_process_that_died_between_answers_is_replaced(one_process):
    assert ask(one_process).result() == "correct"
    first = pid_of(one_process)
    os.kill(first, signal.SIGKILL)
    assert ask(one_process).result() == "correct"
    assert pid_of(one_process) != first


def test_a_stopped_process_costs_the_limit_and_no_more(one_process):
    assert ask(one_process).result() == "correct"
    first = pid_of(one_process)
    os.kill(first, signal.SIGSTOP)
    began = time.monotonic()
    # More than a socket's buffer holds, so that sending it has to end too.
    assert ask(one_process, "good", "y" * 2_000_000, timeout_seconds=0.5).result() == "timeout"
    assert 0.4 < time.monotonic() - began < 5
    assert not is_alive(first)
    assert ask(one_process).result() == "correct"


def test_the_limit_counts_from_when_the_process_has_the_answer(short_limit):
    first, began = pid_of(short_limit), time.monotonic()
    stuck = [ask(short_limit, "spin", timeout_seconds=0.7) for _ in range(8)]
    last = ask(short_limit, timeout_seconds=0.7)
    assert [future.result() for future in stuck] == ["timeout"] * 8
    assert last.result() == "correct"
    assert time.monotonic() - began > 0.7, "it waited longer than its limit"
    assert pid_of(short_limit) == first, "the limit of CPU time needs no new process"


def test_memory_is_limited(one_process):
    assert ask(one_process).result() == "correct"
    with open(f"/proc/{pid_of(one_process)}/limits") as file:
        (limit,) = [line.split() for line in file if line.startswith("Max address space")]
    assert limit[3:5] == [str(pool.MEMORY_BYTES)] * 2


def test_a_grown_process_is_replaced_before_it_is_needed(monkeypatch, one_process):
    assert ask(one_process).result() == "correct"
    first = pid_of(one_process)
    monkeypatch.setattr(pool, "REPLACED_FROM_BYTES", 2**20)
    assert ask(one_process).result() == "correct"
    assert eventually(lambda: pid_of(one_process) not in (None, first))
    assert not is_alive(first)


def test_the_memory_of_the_caller_is_not_that_of_the_process(monkeypatch, one_process):
    monkeypatch.setattr(pool, "REPLACED_FROM_BYTES", 100 * 2**20)
    # As beside verl and torch: a fork of a large process has its peak for its own, even after exec.
    large = bytearray(pool.REPLACED_FROM_BYTES + 2**20)
    large[::4096] = b"x" * len(large[::4096])
    assert ask(one_process).result() == "correct"
    os.kill(pid_of(one_process), signal.SIGKILL)
    assert ask(one_process).result() == "correct"
    first = pid_of(one_process)
    assert first is not None
    assert ask(one_process).result() == "correct"
    assert pid_of(one_process) == first


@pytest.mark.parametrize(
    ("answer", "outcome", "is_replaced"),
    [
        ("hog", "timeout", False),  # Its memory is free again.
        ("busy", "timeout", True),
        ("crash", "error", True),
        ("leave", "error", True),
        ("raise", "error", False),
        ("recurse", "timeout", False),
        ("chatter", "correct", False),
        ("wrong", "wrong", False),
    ],
)
def test_whatever_a_library_does_the_next_answer_is_graded(
    one_process, answer, outcome, is_replaced
):
    assert ask(one_process).result() == "correct"
    before, began = pid_of(one_process), time.monotonic()
    # What is not stopped by its CPU time has to be killed; all else ends by itself and has time for
    # it, on a busy machine too.
    limit = 2 * pool.CPU_SECONDS if answer == "busy" else 10.0
    assert ask(one_process, answer, timeout_seconds=limit).result() == outcome
    assert time.monotonic() - began < 20
    assert ask(one_process).result() == "correct"
    assert (pid_of(one_process) != before) == is_replaced


def test_an_answer_whose_process_is_killed_gets_one_more_try(tmp_path, one_process):
    for kills, outcome in [(1, "timeout"), (2, "error")]:
        has_answer = tmp_path / str(kills)
        asleep = ask(one_process, f"sleep {has_answer}", timeout_seconds=2.0)
        for _ in range(kills):
            assert eventually(lambda file=has_answer: file.exists() and file.read_text())
            pid = int(has_answer.read_text())
            has_answer.unlink()
            os.kill(pid, signal.SIGKILL)
        assert asleep.result() == outcome
        assert ask(one_process).result() == "correct"


def test_a_process_that_does_not_start_is_an_error_that_is_logged(monkeypatch, caplog, one_process):
    assert ask(one_process).result() == "correct"
    os.kill(pid_of(one_process), signal.SIGKILL)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert ask(one_process).result() == "error"
    assert "grading process does not start" in caplog.text
    monkeypatch.undo()
    assert ask(one_process).result() == "correct"


def test_a_closed_pool_leaves_no_process_and_no_open_answer():
    closed = GradingPool(1, STAND_IN_PROGRAM)
    assert ask(closed).result() == "correct"
    pid = pid_of(closed)
    waiting = [ask(closed, "spin") for _ in range(3)]
    closed.close()
    assert {future.result(timeout=10) for future in waiting} <= {"error", "timeout"}
    assert eventually(lambda: not is_alive(pid))
    with pytest.raises(RuntimeError, match="closed"):
        ask(closed)


def test_one_at_a_time_needs_one_process():
    several = GradingPool(3, STAND_IN_PROGRAM)
    for _ in range(5):
        assert ask(several).result() == "correct"
    assert len(several.processes) == 1
    several.close()


AWKWARD = """
import functools, os, resource, signal, sys
# More files than select() can take, signals blocked, another handler, no main guard.
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [open(os.devnull) for _ in range(1100)]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF, signal.SIGINT})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from holderpo.grading import grade, pool
from holderpo.grading.pool import shared_pool
pool.CPU_SECONDS = 0.3
pool.GradingPool = functools.partial(pool.GradingPool, program=sys.argv[2])
right = lambda n: grade(f"\\\\boxed{{\\\\sqrt{{{2 * n * n}}}}}", f"{n}\\\\sqrt{{2}}").status
said = [right(2), grade("\\\\boxed{spin}", "18").status]
mine = [process.pid for process in shared_pool().processes]
child = os.fork()
if child == 0:
    ok = right(3) == "correct" and shared_pool().processes[0].pid not in mine
    sys.exit(0 if ok else 7)
try:
    code = os.waitpid(child, 0)[1]
except ChildProcessError:  # SIGCHLD is ignored.
    code = 0
said += [right(4), [process.pid for process in shared_pool().processes] == mine, code]
os.write(int(sys.argv[1]), repr([str(each) for each in said]).encode())
"""


def test_an_awkward_caller(tmp_path):
    """A forked child has its own processes, and takes none of its parent's with it."""
    (tmp_path / "json.py").write_text("raise ImportError('of the working directory')")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "main.py").write_text(AWKWARD)
    read, write = os.pipe()
    # Without standard streams, as a daemon.
    shell = f'exec "{sys.executable}" script/main.py {write} "$0" <&- >&- 2>&-'
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        ["bash", "-c", shell, STAND_IN_PROGRAM],
        cwd=tmp_path,
        env=environment,
        pass_fds=[write],
        timeout=60,
    )
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    assert said == "['correct', 'timeout', 'correct', 'True', '0']"
    assert done.returncode == 0


ORPHANS = """
import sys, time
from holderpo.grading import pool as module
module.CPU_SECONDS = 60.0
pool = module.GradingPool(2, sys.argv[1])
first = [pool.submit("wrong", [gold], timeout_seconds=60) for gold in ("5", "6")]
assert [future.result() for future in first] == ["wrong"] * 2
for gold in ("5", "6"):
    pool.submit("spin", [gold], timeout_seconds=60)
time.sleep(0.3)
print(*[process.pid for process in pool.processes], flush=True)
time.sleep(60)
"""


def test_a_killed_caller_leaves_no_orphans():
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, STAND_IN_PROGRAM], stdout=subprocess.PIPE, text=True
    ) as caller:
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        caller.kill()
    assert eventually(lambda: not any(is_alive(pid) for pid in pids))


# Runs until its limit.
STUCK = "\\sum_{n=1}^{10^9} \\frac{1}{n^2}"


def test_threads_that_grade_do_not_keep_a_program_alive():
    code = (
        "from holderpo.grading.pool import shared_pool\n"
        f"[shared_pool().submit({STUCK!r}, [str(n)], timeout_seconds=60) for n in range(50)]"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert time.monotonic() - began < 10
    assert threading.active_count() < 50
