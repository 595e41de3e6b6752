"""vLLM in a thread of its own, for callers that wait for an answer while others go on."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from recipe.holderpo.evaluate.generation import Completion, Request, add_request, step


class _Question(NamedTuple):
    request: Request
    answer: Future[Completion]


class AnsweringThread:
    """Answers as they are asked for: a request joins those under way with vLLM's next step."""

    def __init__(
        self,
        engine: Any,
        *,
        add: Callable[[Any, int, Request], None] = add_request,
        advance: Callable[[Any], list[Completion]] = step,
    ) -> None:
        """Start the thread.

        Args:
            engine: used by it alone from now on.
            add: of :mod:`recipe.holderpo.evaluate.generation`.
            advance: ``step`` of the same.
        """
        self._engine = engine
        self._add, self._advance = add, advance
        self._inbox: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._ended: BaseException | None = None
        # An interrupt need not wait for a step.
        self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
        self._thread.start()

    async def answer(self, request: Request) -> Completion:
        """One answer.

        Args:
            request: any number of them may be under way.

        Returns:
            The answer.

        Raises:
            Exception: whatever vLLM raised, for this request or an earlier one.
        """
        question = _Question(request, Future())
        self._inbox.put(question)
        if self._ended is not None:
            self._refuse_all(self._ended)
        return await asyncio.wrap_future(question.answer)

    def close(self) -> None:
        """End the thread after its step; answers under way are given up."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: dict[int, Future[Completion]] = {}
        try:
            self._serve(waiting)
            raise RuntimeError("vLLM's thread is closed")
        except BaseException as error:
            self._ended = error
            for answer in waiting.values():
                answer.set_exception(error)
            self._refuse_all(error)

    def _serve(self, waiting: dict[int, Future[Completion]]) -> None:
        number = 0
        while True:
            for question in self._questions(wait=not waiting):
                if question is None:
                    return
                # From here on it cannot be cancelled, only ignored.
                if question.answer.set_running_or_notify_cancel():
                    waiting[number] = question.answer
                    self._add(self._engine, number, question.request)
                    number += 1
            for completion in self._advance(self._engine) if waiting else ():
                waiting.pop(completion.number).set_result(completion)

    def _questions(self, *, wait: bool) -> list[_Question | None]:
        """All that are there; at least one, if there is nothing else to do."""
        found = [self._inbox.get()] if wait else []
        while True:
            try:
                found.append(self._inbox.get_nowait())
            except queue.Empty:
                return found

    def _refuse_all(self, error: BaseException) -> None:
        while True:
            try:
                question = self._inbox.get_nowait()
            except queue.Empty:
                return
            if question is not None and question.answer.set_running_or_notify_cancel():
                question.answer.set_exception(error)
