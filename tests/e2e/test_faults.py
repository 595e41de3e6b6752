"""Every process of a run is killed in the middle of generation, update and saving; then it resumes.

Each test goes on with the run that the one before has left, so that every launch but the first is
also the resume of a killed run.
"""

import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from recipe.holderpo.run.process_tree import open_segments
from tests.e2e import pauses
from tests.e2e.conftest import LAUNCH_SECONDS, MAIN, REPOSITORY, end, still_running

pytestmark = [pytest.mark.timeout(600)]

END_SECONDS = 30.0
# By the beginning of the process's name; None is the driver itself.
VICTIMS = {
    "vLLM engine": "VLLM::EngineCor",
    "vLLM server": "ray::vLLMHttpSe",
    "agent loop worker": ("ray::CpuAgentLo", "ray::AgentLoopW"),
    "TransferQueue storage": "ray::SimpleStor",
    "TransferQueue controller": "ray::TransferQu",
    "FSDP worker": "ray::WorkerDict",
    "the launching process": None,
}
OF_RAY = {"Ray's raylet": "raylet", "Ray's control store": "gcs_server"}
MOMENTS = {
    "generation": "rollouts",
    "update": "the update of the actor",
    "save": "the checkpoint",
}


class Launch:
    """A launch whose lines are read as they come."""

    def __init__(self, command, folder):
        self.run = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | {pauses.VARIABLE: str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines, self.shared_memory = [], set()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.run.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, is_reached):
        """Until something is so; the launch must not end before."""
        deadline = time.monotonic() + LAUNCH_SECONDS
        while not is_reached():
            assert self.run.poll() is None, "\n".join(self.lines)
            assert time.monotonic() < deadline, "\n".join(self.lines)
            time.sleep(0.02)

    def steps(self):
        return [int(line.split()[1]) for line in self.lines if line.startswith("step")]

    def look(self):
        """The processes of the run; remembers their shared memory."""
        processes = psutil.Process(self.run.pid).children(recursive=True)
        for process in processes:
            self.shared_memory |= open_segments(process.pid, since=0)
        return processes

    def kill(self, name):
        """Kill the process of that name; status, seconds to the end, and who is left."""
        driver = psutil.Process(self.run.pid)
        started = self.look()
        victim = driver
        if name is not None:
            victim = next(process for process in started if process.name().startswith(name))
        victim.kill()
        began = time.monotonic()
        try:
            status = self.run.wait(END_SECONDS + 15)
        except subprocess.TimeoutExpired:
            status = None
        seconds = time.monotonic() - began
        # The guardian writes what a killed driver cannot.
        self.reader.join(15)
        left = [process.name() for process in still_running(started, 10.0)]
        end(started)
        return status, seconds, left

    def shared_memory_left(self):
        assert self.shared_memory, "vLLM has some"
        return [segment for segment in self.shared_memory if segment.exists()]


@pytest.fixture
def launched(demo_data, tmp_path_factory):
    """Launches a run, again and again in one folder; none is left behind."""
    folder = tmp_path_factory.getbasetemp() / "faults"
    (folder / "pauses").mkdir(parents=True, exist_ok=True)
    launches = []

    def launch(*more):
        command = [
            *MAIN,
            "--config-name=demo",
            *demo_data,
            f"run_dir={folder / 'run'}",
            "trainer.total_training_steps=90",
            "trainer.save_freq=1",
            "trainer.val_before_train=false",
            "trainer.test_freq=-1",
            "trainer.resume_mode=auto",
            f"actor_rollout_ref.actor.policy_loss.aggregate={pauses.__name__}.mean_ratio",
            f"reward.custom_reward_function.path=pkg://{pauses.__name__}",
            "reward.custom_reward_function.name=score",
            *more,
        ]
        launches.append(Launch(command, folder / "pauses"))
        return launches[-1]

    yield launch, folder
    for one in launches:
        if one.run.poll() is None:
            end([*psutil.Process(one.run.pid).children(recursive=True), one.run])
    for file in (folder / "pauses").iterdir():
        file.unlink()


@contextlib.contextmanager
def paused(launch, folder, moment):
    """The run stands in the middle of a step."""
    if moment != "save":
        (folder / "pauses" / moment).touch()
        launch.wait_for((folder / "pauses" / f"{moment}.reached").exists)
        yield
        return
    # Writing into a pipe that nobody reads waits for ever.
    file = folder / "run/checkpoints" / f"global_step_{launch.steps()[-1] + 1}"
    file = file / "actor/model_world_size_1_rank_0.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)
    workers = psutil.Process(launch.run.pid).children(recursive=True)
    worker = next(process for process in workers if process.name().startswith("ray::WorkerDict"))
    try:
        launch.wait_for(lambda: _waits_for_a_reader(worker.pid))
        yield
    finally:
        file.unlink()


def _waits_for_a_reader(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return any((task / "wchan").read_text() in ("wait_for_partner", "fifo_open") for task in tasks)


def latest(folder):
    file = folder / "run/checkpoints/latest_checkpointed_iteration.txt"
    return int(file.read_text()) if file.exists() else 0


def kill_and_check(launched, victim, moment, *more):
    launch_one, folder = launched
    saved = latest(folder)
    launch = launch_one(*more)
    launch.wait_for(launch.steps)
    resumed = [line for line in launch.lines if line.startswith("resumed after")]
    assert resumed == ([f"resumed after step {saved}"] if saved else [])
    assert launch.steps()[0] == saved + 1
    with paused(launch, folder, moment):
        step = launch.steps()[-1] + 1
        status, seconds, left = launch.kill((VICTIMS | OF_RAY)[victim])
    line = launch.lines[-1]
    print(f"\n| {victim} | {moment} | {seconds:.1f} | {status} | {left} | {line[:90]} |")
    if victim == "the launching process":
        assert status == -signal.SIGKILL
        assert line.startswith("failed: the launching process was killed; ")
    else:
        assert status == 1, "\n".join(launch.lines)
        where = rf"in step {step}, while waiting for {MOMENTS[moment]}"
        assert re.match(rf"failed: ProcessDiedError: {victim} \(pid \d+\) died {where}; ", line)
    assert seconds < END_SECONDS
    assert left == []
    assert launch.shared_memory_left() == []
    command = shlex.split(line.split("with: ")[1])
    assert command[-1] == "trainer.resume_mode=auto"
    return command


@pytest.mark.faults
@pytest.mark.parametrize(
    ("victim", "moment"),
    [*itertools.product(VICTIMS, MOMENTS), *((one, "update") for one in OF_RAY)],
)
def test_a_dead_process_ends_the_run(launched, victim, moment):
    kill_and_check(launched, victim, moment)


@pytest.mark.e2e
def test_a_dead_engine_ends_the_run_and_the_printed_command_resumes_it(launched):
    command = kill_and_check(launched, "vLLM engine", "update", "trainer.total_training_steps=2")
    assert not command[0].startswith("/"), "short enough to read"
    run = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LAUNCH_SECONDS,
    )
    assert run.returncode == 0, run.stdout
    assert "resumed after step 1\n" in run.stdout
    assert "step    2 |" in run.stdout


@pytest.mark.faults
def test_a_run_that_hangs_is_ended_with_what_it_waited_for(launched):
    launch, folder = launched
    one = launch("no_progress_seconds=150")  # The start takes a minute.
    one.wait_for(one.steps)
    with paused(one, folder, "update"):
        began = time.monotonic()
        assert one.run.wait(150 + END_SECONDS) == 1
    assert time.monotonic() - began < 150 + END_SECONDS
    one.reader.join(5)
    assert one.lines[-1].startswith(
        f"failed: NoProgressError: no progress for 150 s in step {one.steps()[-1] + 1}, while "
        "waiting for the update of the actor (no_progress_seconds); resume with: "
    )


@pytest.mark.faults
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_first_interrupt_ends_the_run(launched, moment):
    launch, folder = launched
    one = launch()
    one.wait_for(one.steps)
    started = one.look()
    with paused(one, folder, moment):
        began = time.monotonic()
        one.run.send_signal(signal.SIGINT)
        assert one.run.wait(END_SECONDS) == 130
    print(f"\n| Ctrl-C | {moment} | {time.monotonic() - began:.1f} |")
    one.reader.join(5)
    assert one.lines[-1].startswith("interrupted; resume with: ")
    assert still_running(started, 5.0) == []
    assert one.shared_memory_left() == []
