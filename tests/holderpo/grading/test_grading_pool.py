"""The grader's processes: killed, stopped, stuck, greedy, and wherever they are started from."""

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from holderpo.grading import Status, agrade, grade, grade_many, grader, pool, symbolic, worker
from holderpo.grading.pool import GradingPool, GradingProcess

# Runs until its limit; needs the symbolic step, which says right.
STUCK = "\\sum_{n=1}^{10^9} \\frac{1}{n^2}"
RIGHT = ("\\sqrt{2}+\\sqrt{8}", ["3\\sqrt{2}"])


@pytest.fixture(scope="module")
def one_process():
    made = GradingPool(1)
    yield made
    made.close()


@pytest.fixture
def short_limit(monkeypatch, one_process):
    """The process, new, with a small limit of CPU time."""
    monkeypatch.setattr(pool, "CPU_SECONDS", 0.2)
    if one_process.processes:
        os.kill(pid_of(one_process), signal.SIGKILL)
    assert ask(one_process).result() == "correct"
    yield one_process
    os.kill(pid_of(one_process), signal.SIGKILL)


def ask(one, answer=RIGHT[0], golds=RIGHT[1], timeout_seconds=20.0):
    return one.submit(answer, golds, timeout_seconds=timeout_seconds)


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
    assert ask(one_process, "x", ["y" * 2_000_000], timeout_seconds=0.5).result() == "timeout"
    assert 0.4 < time.monotonic() - began < 5
    assert not is_alive(first)
    assert ask(one_process).result() == "correct"


def test_the_limit_counts_from_when_the_process_has_the_answer(short_limit):
    first, began = pid_of(short_limit), time.monotonic()
    stuck = [ask(short_limit, STUCK, ["18"], timeout_seconds=1.5) for _ in range(8)]
    last = ask(short_limit, timeout_seconds=1.5)
    assert [future.result() for future in stuck] == ["timeout"] * 8
    assert last.result() == "correct"
    assert time.monotonic() - began > 1.5, "it waited longer than its limit"
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


def test_the_memory_of_the_caller_is_not_that_of_the_process(one_process):
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


# Stands in for math-verify in the process: what goes wrong is in the answer.
BAD_LIBRARY = """
import os, signal, sys
import holderpo.grading.symbolic as symbolic

def bad(answer, gold):
    if answer == "hog":
        kept = [bytearray(10_000_000) for _ in range(10_000)]
    if answer == "busy":
        sum(range(10 ** 13))  # C code that looks at no signal.
    if answer == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if answer == "leave":
        sys.exit(3)
    if answer == "raise":
        raise ZeroDivisionError
    if answer == "recurse":
        bad(answer, gold)
        return bad(answer, gold)
    if answer == "chatter":
        print(sys.stdin.read(), "noise", flush=True)
        os.write(1, b"more noise")
    return answer != "wrong"

symbolic.symbolic_match = bad
"""


@pytest.fixture
def bad_library(monkeypatch):
    made, popen = GradingPool(1), subprocess.Popen

    def start(command, **options):
        return popen([*command[:-1], BAD_LIBRARY + command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    yield made
    made.close()


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
    bad_library, answer, outcome, is_replaced
):
    assert ask(bad_library, "good").result() == "correct"
    before, began = pid_of(bad_library), time.monotonic()
    # What ends by itself has time for it, on a busy machine too.
    limit = 1.5 if is_replaced else 10.0
    assert ask(bad_library, answer, timeout_seconds=limit).result() == outcome
    assert time.monotonic() - began < 20
    assert ask(bad_library, "good").result() == "correct"
    assert (pid_of(bad_library) != before) == is_replaced


def test_an_answer_whose_process_is_killed_gets_one_more_try(monkeypatch, bad_library):
    has_answer, receive = queue.SimpleQueue(), GradingProcess._receive

    def tell(process, deadline):
        if deadline < time.monotonic() + 10:  # A start has more time.
            has_answer.put(process.pid)
        return receive(process, deadline)

    monkeypatch.setattr(GradingProcess, "_receive", tell)
    for kills, outcome in [(1, "timeout"), (2, "error")]:
        busy = ask(bad_library, "busy", timeout_seconds=2.0)
        for _ in range(kills):
            pid = has_answer.get()
            before = cpu_seconds(pid)
            assert eventually(lambda seen=(pid, before): cpu_seconds(seen[0]) > seen[1] + 0.05)
            os.kill(pid, signal.SIGKILL)
        assert busy.result() == outcome
        assert ask(bad_library, "good").result() == "correct"
        while not has_answer.empty():
            has_answer.get()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_process_that_does_not_start_is_an_error_that_is_logged(monkeypatch, caplog, one_process):
    assert ask(one_process).result() == "correct"
    os.kill(pid_of(one_process), signal.SIGKILL)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert ask(one_process).result() == "error"
    assert "grading process does not start" in caplog.text
    monkeypatch.undo()
    assert ask(one_process).result() == "correct"


def test_a_closed_pool_leaves_no_process_and_no_open_answer():
    closed = GradingPool(1)
    assert ask(closed).result() == "correct"
    pid = pid_of(closed)
    waiting = [ask(closed, STUCK, ["18"]) for _ in range(3)]
    closed.close()
    assert {future.result(timeout=10) for future in waiting} <= {"error", "timeout"}
    assert eventually(lambda: not is_alive(pid))
    with pytest.raises(RuntimeError, match="closed"):
        ask(closed)


def test_one_at_a_time_needs_one_process():
    several = GradingPool(3)
    for _ in range(5):
        assert ask(several).result() == "correct"
    assert len(several.processes) == 1
    several.close()


def test_many_threads_at_once():
    pairs = [(f"\\boxed{{\\sqrt{{{2 * n * n}}}}}", f"{n + n % 2}\\sqrt{{2}}") for n in range(2, 22)]
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda pair: grade(*pair), pairs))
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0] * 10


def test_a_coroutine_waits_without_blocking_the_loop_and_may_be_cancelled():
    async def run():
        gaps, stop = [], False

        async def tick():
            while not stop:
                began = time.monotonic()
                await asyncio.sleep(0.01)
                gaps.append(time.monotonic() - began)

        ticking = asyncio.create_task(tick())
        stuck = [agrade(f"\\boxed{{{STUCK}}}", "18") for _ in range(3)]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(stuck[0], 0.2)
        right = agrade("\\boxed{\\sqrt{2}+\\sqrt{2}}", "2\\sqrt{2}")
        verdicts = await asyncio.gather(*stuck[1:], right)
        stop = True
        await ticking
        assert max(gaps) < 0.3
        return [verdict.status for verdict in verdicts]

    assert asyncio.run(run()) == [Status.TIMEOUT, Status.TIMEOUT, Status.CORRECT]


class FakePool:
    """Hands out futures that the test resolves."""

    def __init__(self):
        self.asked = []

    def submit(self, answer, golds, *, timeout_seconds):
        self.asked.append((answer, Future()))
        return self.asked[-1][1]


def test_equal_answers_are_compared_once_and_only_verdicts_are_kept(monkeypatch):
    fake = FakePool()
    monkeypatch.setattr(grader, "shared_pool", lambda: fake)
    monkeypatch.setattr(grader, "REMEMBERED_VERDICTS", 2)
    outcomes = grader._Outcomes()
    same = [outcomes.get("a", ("g",), 1.0) for _ in range(8)]
    assert len(fake.asked) == 1
    same[0].set_result("correct")
    assert outcomes.get("a", ("g",), 1.0) is Status.CORRECT
    for answer, outcome in [("b", "timeout"), ("c", "wrong"), ("d", "unparseable")]:
        outcomes.get(answer, ("g",), 1.0).set_result(outcome)
    assert outcomes.get("c", ("g",), 1.0) is Status.WRONG
    assert outcomes.get("d", ("g",), 1.0) is Status.UNPARSEABLE
    outcomes.get("b", ("g",), 1.0), outcomes.get("a", ("g",), 1.0)
    assert [answer for answer, _ in fake.asked] == ["a", "b", "c", "d", "b", "a"]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["wrong", "correct", "error"], "correct"),
        (["wrong", "timeout"], "timeout"),
        (["timeout", "error"], "error"),
        (["unparseable", "wrong"], "wrong"),
        (["unparseable", "unparseable"], "unparseable"),
    ],
)
def test_of_several_golds_a_right_one_decides_and_else_what_is_undecided(outcomes, expected):
    given = dict(zip("abc", outcomes, strict=False))
    assert worker.judge("x", list(given), lambda answer, gold: given[gold]) == expected


def test_a_library_that_swallows_the_first_interruption_gets_another(monkeypatch):
    swallowed = []

    def stubborn(answer, gold):
        while True:
            try:
                while True:
                    pass
            except BaseException as error:
                swallowed.append(error)
                if len(swallowed) == 3:
                    raise

    monkeypatch.setattr(symbolic, "symbolic_match", stubborn)
    monkeypatch.setattr(worker, "_REPEAT_SECONDS", 0.05)
    before = signal.signal(signal.SIGPROF, worker._out_of_time)
    try:
        assert worker.limited("x", "y", 0.05) == "timeout"
    finally:
        signal.signal(signal.SIGPROF, before)
    assert len(swallowed) == 3
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("response", "gold", "message"),
    [
        (None, "18", "response: NoneType; give a text"),
        (b"\\boxed{18}", "18", "response: bytes; give a text"),
        (18, "18", "response: int; give a text"),
        ("\\boxed{18}", None, "gold: NoneType; give a text, a number or a list of texts"),
        ("\\boxed{18}", b"18", "gold: bytes; give"),
        ("\\boxed{18}", {"18": 1}, "gold: dict; give"),
        ("\\boxed{18}", True, "gold: a list with bool|gold: bool"),
        ("\\boxed{18}", ["18", None], "gold: a list with NoneType; give a list of texts"),
    ],
)
def test_arguments_of_another_type_are_named(response, gold, message):
    with pytest.raises(TypeError, match=message):
        grade_many([("\\boxed{1}", "1"), (response, gold)])


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), None, "5"])
def test_a_limit_must_be_above_0(seconds):
    with pytest.raises(ValueError, match=r"timeout_seconds.*above 0"):
        grade("\\boxed{1}", "1", timeout_seconds=seconds)


def test_numbers_may_be_golds():
    pairs = [("\\boxed{142}", 142.0), ("\\boxed{18}", [17, 18]), ("\\boxed{0.5}", 0.5)]
    assert [verdict.score for verdict in grade_many(pairs)] == [1.0, 1.0, 1.0]


def test_a_lone_surrogate_is_an_answer_like_any_other():
    assert grade("\\boxed{\ud800 + \\sqrt{2}}", "\\sqrt{2}").score == 0


AWKWARD = """
import os, resource, signal, socket, sys
# More files than select() can take, signals blocked, another handler, no main guard.
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [open(os.devnull) for _ in range(1100)]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF, signal.SIGINT})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from holderpo.grading import grade
from holderpo.grading.pool import shared_pool
right = lambda n: grade(f"\\\\boxed{{\\\\sqrt{{{2 * n * n}}}}}", f"{n}\\\\sqrt{{2}}").status
said = [right(2), grade("\\\\boxed{\\\\sum_{n=1}^{10^9} \\\\frac{1}{n^2}}", "18").status]
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
    shell = f'exec "{sys.executable}" script/main.py {write} <&- >&- 2>&-'
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=environment, pass_fds=[write], timeout=60
    )
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    assert said == "['correct', 'timeout', 'correct', 'True', '0']"
    assert done.returncode == 0


ORPHANS = """
import time
from holderpo.grading import pool as module
module.CPU_SECONDS = 60.0
pool = module.GradingPool(2)
first = [
    pool.submit(f"\\\\sqrt{{{number}}}+1", ["5"], timeout_seconds=60) for number in (2, 3)
]
assert [future.result() for future in first] == ["wrong"] * 2
for gold in ("5", "6"):
    pool.submit("\\\\sum_{n=1}^{10^9} \\\\frac{1}{n^2}", [gold], timeout_seconds=60)
time.sleep(0.3)
print(*[process.pid for process in pool.processes], flush=True)
time.sleep(60)
"""


def test_a_killed_caller_leaves_no_orphans():
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True
    ) as caller:
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        caller.kill()
    assert eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_threads_that_grade_do_not_keep_a_program_alive():
    code = (
        "from holderpo.grading.pool import shared_pool\n"
        f"[shared_pool().submit({STUCK!r}, [str(n)], timeout_seconds=60) for n in range(50)]"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert time.monotonic() - began < 10
    assert threading.active_count() < 50


def test_a_deeply_nested_answer_is_given_up_unless_the_gold_is_the_same():
    nested = "(" * 60 + "x+1" + ")" * 60
    assert grade(f"\\boxed{{{nested}}}", "18+x").status is Status.UNPARSEABLE
    assert grade(f"\\boxed{{{nested}}}", nested).status is Status.CORRECT
