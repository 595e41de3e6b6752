"""Ends a run whose processes have died or which is stuck, whatever the driver waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import psutil

from recipe.holderpo.run.console import Console
from recipe.holderpo.run.process_tree import Guardian, ProcessTree, is_alive
from recipe.holderpo.run.progress import Progress

_LOOK_SECONDS = 1.0
# A look that comes so late: the whole process was stopped meanwhile (Ctrl-Z).
_STOPPED_SECONDS = 5.0
# How long the driver may take from an interrupt to its end, and all its processes to theirs.
_LEAVE_SECONDS = 10.0
_RAY_SECONDS = 8.0
_END_SECONDS = 25.0
# A user's word for each process, by the beginning of the actor's class or of the process's name
# (15 characters of it are known).
_ACTORS = {
    "WorkerDict": "FSDP worker",
    "ActorRolloutRefWorker": "FSDP worker",
    "vLLMHttpServer": "vLLM server",
    "AgentLoopWorker": "agent loop worker",
    "CpuAgentLoopWorker": "agent loop worker",
    "RewardLoopWorker": "reward worker",
    "EnvironmentWorker": "environment worker",
    "TransferQueueController": "TransferQueue controller",
    "SimpleStorageUnit": "TransferQueue storage",
    "GlobalRequestLoadBalancer": "load balancer of the vLLM servers",
}
# Ray brings them back, and whoever needs them goes on.
_HEALING = ("EnvironmentWorker",)
_NAMES = {
    "VLLM::EngineCor": "vLLM engine",
    "VLLM::": "vLLM worker",
    "raylet": "Ray's raylet",
    "gcs_server": "Ray's control store",
}
# How an actor ends that was asked to, or whose owner has died, which is reported instead.
_ENDED_ON_PURPOSE = ("RAY_KILL", "OUT_OF_SCOPE", "REF_DELETED", "OWNER_DIED")


class ProcessDiedError(RuntimeError):
    """A process of the run has died."""


class NoProgressError(RuntimeError):
    """A run has not got on for too long."""


class Watch:
    """A thread beside the driver's main one, which may be waiting for something for ever.

    It interrupts the main thread when a process dies, or when nothing gets on; and ends the whole
    process if the main thread does not react to that, or to Ctrl-C.
    """

    def __init__(
        self,
        console: Console,
        progress: Progress,
        *,
        no_progress_seconds: float,
        how_to_go_on: Callable[[], str],
    ) -> None:
        """Begin to watch the processes that this one starts.

        Args:
            console: where the last line is written if the main thread cannot.
            progress: of the run.
            no_progress_seconds: after which a run without progress is ended.
            how_to_go_on: what a user does next.
        """
        self.trouble: Exception | None = None
        self._console = console
        self._progress = progress
        self._limit_seconds = no_progress_seconds
        self._how_to_go_on = how_to_go_on
        self._guardian = Guardian(console.screen.fileno())
        self._last_words = ""
        self._tree = ProcessTree(psutil.Process(), without=[self._guardian.pid])
        self._dead_actors: set[str] = set()
        self._local_actors: set[int] = set()
        self._silent: set[int] = set()
        self._interrupted_at: float | None = None
        self._is_ending = False
        self._lock = threading.Lock()
        self._has_ray = False
        self._last_error = ""
        self._limit = threading.Timer(_END_SECONDS, self._leave)
        self._limit.daemon = True
        # A signal that is ignored stays so: a shell's background process. SIGTERM is needed here.
        self._has_interrupt = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        self._handle_signals()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def ray_is_up(self) -> None:
        """Look at Ray's actors too, and handle the signals that Ray has taken over."""
        self._has_ray = True
        self._handle_signals()

    def explain(self, error: BaseException) -> BaseException:
        """The death that an error follows from, if there was one, else the error itself.

        Args:
            error: raised in the main thread.
        """
        self._is_ending = True
        self._limit.start()
        if self.trouble is None and isinstance(error, Exception):
            from ray.exceptions import RayError

            # The call that fails can be faster than the news of the death.
            for _ in range(4 if isinstance(error, RayError) else 1):
                with self._lock:
                    self.trouble = self._find_death()
                if self.trouble is not None:
                    break
                time.sleep(_LOOK_SECONDS)
        return self.trouble or error

    def end_processes(self) -> None:
        """End Ray and every process of the run; after an error within a limited time."""
        import ray

        self._is_ending = True
        self._tree.look()
        # It waits for processes that may be dead.
        ray_end = threading.Thread(target=ray.shutdown, daemon=True)
        ray_end.start()
        ray_end.join(_RAY_SECONDS)
        self._tree.end()
        if left := self._tree.alive():
            pids = ", ".join(str(process.pid) for process in left)
            self._console.say(f"warning    these processes do not end: {pids}")
        self._guardian.dismiss()
        self._limit.cancel()
        if self._has_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle_signals(self) -> None:
        """Make Ctrl-C and SIGTERM interrupt the main thread.

        asyncio lets a coroutine that blocks swallow the first Ctrl-C, but only in place of Python's
        own handler.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        if self._has_interrupt:
            signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._is_ending:
            return
        self._interrupted_at = self._interrupted_at or time.monotonic()
        raise KeyboardInterrupt

    def _run(self) -> None:
        try:
            self._look_again_and_again()
        except Exception as error:
            # Without a watch the run could wait for ever.
            traceback.print_exc()
            self._interrupt(RuntimeError(f"the run is no longer watched ({error!r})"))

    def _look_again_and_again(self) -> None:
        last_mark, since = self._progress.mark(), time.monotonic()
        while not self._is_ending:
            slept_at = time.monotonic()
            time.sleep(_LOOK_SECONDS)
            slept = time.monotonic() - slept_at
            since += slept if slept > _STOPPED_SECONDS else 0.0
            mark = self._progress.mark()
            if mark != last_mark or not self._progress.is_limited:
                last_mark, since = mark, time.monotonic()
            self._hand_on_last_words()
            if self._interrupted_at is None:
                self._check(time.monotonic() - since)
            elif time.monotonic() - self._interrupted_at > _LEAVE_SECONDS and not self._is_ending:
                self._leave()

    def _hand_on_last_words(self) -> None:
        """Let the guardian know what to say if this process is killed."""
        words = f"failed: the launching process was killed; {self._how_to_go_on()}"
        if words != self._last_words:
            self._last_words = words
            self._guardian.say_at_the_end(words)

    def _check(self, seconds_without_progress: float) -> None:
        """Interrupt the main thread if something is wrong."""
        with self._lock:
            if self._is_ending:
                return
            trouble: Exception | None = self._find_death()
        if trouble is None and seconds_without_progress > self._limit_seconds:
            trouble = NoProgressError(
                f"no progress for {self._limit_seconds:g} s in {self._progress.where()} "
                "(no_progress_seconds)"
            )
        if trouble is not None:
            self._interrupt(trouble)

    def _interrupt(self, trouble: Exception) -> None:
        """Wake the main thread up."""
        self.trouble, self._interrupted_at = trouble, time.monotonic()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _find_death(self) -> ProcessDiedError | None:
        """The first process that has died without being asked to."""
        try:
            self._tree.look()
            died = next(self._dead_local(), None) or next(self._dead_on_ray(), None)
        except Exception as error:
            # The next look is soon; the watch itself must not end.
            if repr(error) != self._last_error:
                self._last_error = repr(error)
                traceback.print_exc()
            return None
        return ProcessDiedError(f"{died} died in {self._progress.where()}") if died else None

    def _dead_local(self) -> Iterator[str]:
        dead = self._tree.dead()
        for begin, what in _NAMES.items():
            yield from (f"{what} (pid {one.pid})" for one in dead if dead[one].startswith(begin))

    def _dead_on_ray(self) -> Iterator[str]:
        if not self._has_ray:
            return
        import ray

        context = ray.get_runtime_context()
        for key, actor in _actors(context.get_job_id()).items():
            address, reason = actor["Address"], None
            kind = actor["ActorClassName"].rsplit(".", 1)[-1]
            if actor["State"] == "ALIVE" and address["NodeID"] == context.get_node_id():
                self._count_in(actor["Pid"])
                if kind not in _HEALING:
                    reason = self._reason_of_silence(actor["Pid"])
            elif actor["State"] == "DEAD" and key not in self._dead_actors:
                self._dead_actors.add(key)
                reason = _reason(actor["DeathCause"])
            if reason is not None:
                name = next((_ACTORS[k] for k in _ACTORS if kind.startswith(k)), kind)
                yield f"{name} (pid {actor['Pid']}{reason})"

    def _reason_of_silence(self, pid: int) -> str | None:
        """Of an actor that Ray takes for alive: nothing to add if it is not, for two looks.

        Ray knows of a death by a closed connection, which a forked child holds open.
        """
        if psutil.pid_exists(pid) and is_alive(psutil.Process(pid)):
            self._silent.discard(pid)
            return None
        if pid in self._silent:
            return ""
        self._silent.add(pid)
        return None

    def _count_in(self, pid: int) -> None:
        """With a Ray that somebody else has started, actors do not descend from this process."""
        if pid not in self._local_actors:
            self._local_actors.add(pid)
            self._tree.add(pid)
            self._guardian.watch(pid)

    def _leave(self) -> None:
        """The main thread does not react: say why, end everything, and leave."""
        is_failure = self.trouble is not None or self._interrupted_at is None
        line = "interrupted"
        if is_failure:
            line = f"failed: {self.trouble or 'processes of the run do not end'}"
        self._console.fail(f"{line}; {self._how_to_go_on()}")
        self._guardian.say_at_the_end("")
        self._tree.end(grace_seconds=0.0)
        os._exit(1 if is_failure else 130)


def _reason(cause: Any) -> str | None:
    """What Ray knows of an actor's death, to go behind its pid; None if it was asked to end."""
    error = cause.creation_task_failure_context.formatted_exception_string.strip()
    if error:
        return ", " + error.splitlines()[-1]
    text = str(cause)
    if any(f"reason: {reason}\n" in text for reason in _ENDED_ON_PURPOSE):
        return None
    if "reason: NODE_DIED\n" in text:
        return ", its machine was lost"
    return ", out of memory" if cause.HasField("oom_context") else ""


def _actors(job_id: str) -> dict[str, dict[str, Any]]:
    """Every actor of a job, on all machines, with state and cause of death.

    Ray 2.60 has this table for the public only where its dashboard runs; this is what that asks.
    """
    import ray
    from ray._private import state

    return state.actors(job_id=ray.JobID(bytes.fromhex(job_id)))
