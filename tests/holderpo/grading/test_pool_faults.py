"""The grader under attack, for minutes: random kills and stops, every kind of stuck answer, Ray."""

import asyncio
import importlib.util
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from holderpo.grading import Status, grade, grade_many
from holderpo.grading.pool import shared_pool

pytestmark = pytest.mark.faults

PATH = Path(__file__).parents[3] / "scripts" / "bench_grading.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
# Where its dataclass looks for the names in its annotations.
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)


def pairs(count, first):
    """Every second one is right, and each needs the symbolic step."""
    return [
        (f"\\boxed{{\\sqrt{{{n * n}}}+\\sqrt{{2}}}}", f"{n + n % 2}+\\sqrt{{2}}")
        for n in range(first, first + count)
    ]


def expected(count, first):
    return [Status.WRONG if n % 2 else Status.CORRECT for n in range(first, first + count)]


@pytest.mark.parametrize(("what", "seconds"), [(signal.SIGKILL, 1.0), (signal.SIGSTOP, 3.0)])
def test_no_answer_is_lost_while_random_processes_are_hit(what, seconds):
    stop = threading.Event()
    hit = []

    def attack():
        while not stop.wait(seconds):
            pid = random.choice(shared_pool().processes).pid
            if pid is not None:
                os.kill(pid, what)
                hit.append(pid)

    grade("\\boxed{\\sqrt{2}}", "x")
    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        first = 10_000 if what == signal.SIGKILL else 20_000
        verdicts = grade_many(pairs(2500, first), timeout_seconds=2)
    finally:
        stop.set()
        attacker.join()
    assert len(hit) >= 2
    lost = [
        (verdict.status, status)
        for verdict, status in zip(verdicts, expected(2500, first), strict=True)
        if verdict.status is not status
    ]
    # A stopped process takes its answer's whole limit; nothing else may suffer.
    allowed = Status.TIMEOUT if what == signal.SIGSTOP else None
    assert all(status is allowed for status, _ in lost), lost
    assert len(lost) <= len(hit)
    assert grade("\\boxed{\\sqrt{2}+\\sqrt{2}}", "2\\sqrt{2}").status is Status.CORRECT


@pytest.mark.parametrize("kind", script.PATHOLOGICAL)
def test_a_stuck_answer_ends_in_time_and_the_next_is_graded(kind):
    answer, gold = script.PATHOLOGICAL[kind]
    began = time.monotonic()
    verdict = grade(f"so \\boxed{{{answer}}}", gold, timeout_seconds=5)
    assert time.monotonic() - began < 10
    assert verdict.score == 0
    assert verdict.status is not Status.ERROR
    n = len(kind) + 5
    after = grade(f"\\boxed{{\\sqrt{{{n * n}}}+\\sqrt{{3}}}}", f"{n}+\\sqrt{{3}}")
    assert after.status is Status.CORRECT


def test_inside_an_asynchronous_ray_actor():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:

        @ray.remote
        class RewardWorker:
            async def grade(self, response, gold):
                from holderpo.rewards.math import compute_score

                return await compute_score("x", response, gold)

            async def ping(self):
                return os.getpid()

        actor = RewardWorker.remote()
        calls = [actor.grade.remote(*pair) for pair in pairs(100, 30_000)]
        stuck = [
            actor.grade.remote("\\boxed{\\sum_{n=1}^{10^9} \\frac{1}{n^2}}", str(n))
            for n in range(4)
        ]
        assert ray.get(actor.ping.remote(), timeout=30) != os.getpid()
        scores = [result["score"] for result in ray.get(calls, timeout=60)]
        assert scores == [float(status is Status.CORRECT) for status in expected(100, 30_000)]
        assert [result["timeout"] for result in ray.get(stuck, timeout=60)] == [1.0] * 4
    finally:
        ray.shutdown()


def test_a_thousand_coroutines_at_once():
    from holderpo.grading import agrade

    async def run():
        return await asyncio.gather(*(agrade(*pair) for pair in pairs(1000, 40_000)))

    verdicts = asyncio.run(run())
    assert [verdict.status for verdict in verdicts] == expected(1000, 40_000)
