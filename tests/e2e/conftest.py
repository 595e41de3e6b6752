"""Real launches: helpers to run them, and the small data they run on."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data_prep import column_addition
from data_prep.warm_start import ensure_warm_start

MAIN = [sys.executable, "-m", "recipe.holderpo.main"]
LAUNCH_SECONDS = 240
# vLLM compiles its kernels first: one H200 took 242 s to the first update.
GPU_LAUNCH_SECONDS = 800
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    """A few problems and half the warm start: some answers are right, so there is signal."""
    folder = tmp_path_factory.mktemp("demo")
    column_addition.write_data(folder, seed=0, num_train=64, num_heldout=16)
    half = dataclasses.replace(column_addition.WARM_START, steps=600)
    ensure_warm_start(folder / "model", half, column_addition.teacher)
    return [
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/heldout.parquet",
        f"actor_rollout_ref.model.path={folder}/model",
        "data.train_batch_size=8",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=32",
    ]


def launch(command, seconds=LAUNCH_SECONDS, **environment):
    """Run to the end, or end it after so many seconds; returns status and everything printed."""
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            output, _ = run.communicate(timeout=seconds)
        except BaseException:
            # Its group, and what has one of its own, as Ray's processes: nothing stays on a GPU.
            children = psutil.Process(run.pid).children(recursive=True)
            os.killpg(run.pid, signal.SIGKILL)
            end(children)
            raise
    return run.returncode, output


def launch_until(command, is_reached, signal_number):
    """Run until ``is_reached(output so far)``, then send a signal; returns status and output."""
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        lines = []
        for line in run.stdout:
            lines.append(line)
            if is_reached(line):
                break
        children = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal_number)
        rest, _ = run.communicate(timeout=60)
        # What a hard kill leaves behind is not under test; it must not disturb the next launch.
        if signal_number == signal.SIGKILL:
            end(children)
    return run.returncode, "".join(lines) + rest, children


def end(processes):
    """Kill processes and wait for them."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)


def still_running(processes, seconds=15.0):
    """Those of the processes that outlive the next seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return []
        time.sleep(0.2)
    return alive
