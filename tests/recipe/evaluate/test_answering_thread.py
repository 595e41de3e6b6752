"""vLLM's thread, with a scripted engine."""

import asyncio
import threading

import pytest

from recipe.holderpo.evaluate.answering_thread import AnsweringThread
from recipe.holderpo.evaluate.generation import Completion


class ScriptedEngine:
    """Answers a request after as many steps as it says; a request "fail" breaks a step."""

    def __init__(self):
        self.left, self.batches, self.threads = {}, [], set()
        self.hold = threading.Event()
        self.hold.set()

    def add(self, engine, number, request):
        assert engine is self
        self.left[number] = request

    def advance(self, engine):
        self.hold.wait(10)
        self.threads.add(threading.current_thread().name)
        self.batches.append(set(self.left))
        if "fail" in self.left.values():
            raise ValueError("no memory")
        self.left = {number: steps - 1 for number, steps in self.left.items()}
        done = [number for number, steps in self.left.items() if steps == 0]
        for number in done:
            del self.left[number]
        return [Completion(number, f"answer {number}", "stop", 1) for number in done]


def started(engine):
    return AnsweringThread(engine, add=engine.add, advance=engine.advance)


def test_a_new_request_joins_those_under_way():
    engine = ScriptedEngine()
    engine.hold.clear()

    async def ask():
        thread = started(engine)
        first = asyncio.ensure_future(thread.answer(3))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(thread.answer(1))
        await asyncio.sleep(0.05)
        engine.hold.set()
        answers = [(await second).response, (await first).response]
        thread.close()
        return answers

    assert asyncio.run(ask()) == ["answer 1", "answer 0"]
    # The second one was asked while the first step was on, and joined the next.
    assert engine.batches == [{0}, {0, 1}, {0}]
    assert engine.threads == {"vllm"}


def test_a_failure_reaches_all_that_wait_and_all_that_come_later():
    engine = ScriptedEngine()

    async def ask():
        thread = started(engine)
        waiting = [asyncio.ensure_future(thread.answer(steps)) for steps in (1000, "fail")]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(ValueError, match="no memory"):
            await thread.answer(1)
        thread.close()
        return errors

    assert [str(error) for error in asyncio.run(ask())] == ["no memory", "no memory"]


def test_what_is_given_up_does_not_disturb_the_rest():
    engine = ScriptedEngine()

    async def ask():
        thread = started(engine)
        given_up = asyncio.ensure_future(thread.answer(5))
        await asyncio.sleep(0.02)
        given_up.cancel()
        answer = await thread.answer(20)
        thread.close()
        return answer.response

    assert asyncio.run(ask()) == "answer 1"


def test_closing_ends_the_thread_with_answers_under_way():
    engine = ScriptedEngine()

    async def ask():
        thread = started(engine)
        waiting = asyncio.ensure_future(thread.answer(10**9))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(thread.close)
        for question in (waiting, thread.answer(1)):
            with pytest.raises(RuntimeError, match="closed"):
                await question

    asyncio.run(ask())
    assert "vllm" not in {thread.name for thread in threading.enumerate()}
