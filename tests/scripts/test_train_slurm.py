"""The launcher for Slurm: what is started where, and how it ends; beside programs like Slurm's."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from tests.recipe.launching import REPOSITORY
from tests.scripts.cluster_programs import PYTHON, SCONTROL, SRUN, calls, write_program

OVERRIDES = ["seed=1", "a='b c'", 'data.train_files=[x.parquet, "y z"]', "+e={k: $HOME}", "~f", ""]


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def job(tmp_path, port):
    """Starts the launcher as Slurm does: a copy of it, in another folder; ends it in the end."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(REPOSITORY / "scripts", checkout / "scripts")
    shutil.copytree(REPOSITORY / "configs", checkout / "configs")
    data = checkout / "data/math_level3to5/train.parquet"
    data.parent.mkdir(parents=True)
    data.touch()
    write_program(checkout / ".venv/bin/python", PYTHON)
    for name, source in {"srun": SRUN, "scontrol": SCONTROL}.items():
        write_program(tmp_path / "bin" / name, source)
    spooled = tmp_path / "spool/slurm_script"
    spooled.parent.mkdir()
    shutil.copy(REPOSITORY / "scripts/train_slurm.sh", spooled)
    started = []

    def start(*arguments, **environment):
        own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "PYTHON", "RAY"))}
        own |= {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "HOSTS": "gpu-1 gpu-2 gpu-3",
            "HEAD_ADDRESS": "127.0.0.1",
            "RAY_PORT": str(port),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "gpu-[1-3]",
            "SLURM_SUBMIT_DIR": str(checkout),
            "SLURM_GPUS_ON_NODE": "8",
        }
        process = subprocess.Popen(
            ["bash", spooled, *arguments],
            env={k: v for k, v in (own | environment).items() if v is not None},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.stderr.close()


@pytest.fixture
def called(tmp_path):
    """Calls so far of a program, or of the interpreter with a module."""

    def found(program=None, module=None, told=False):
        return [
            each
            for each in calls(tmp_path / "calls")
            if (program is None or each["program"] == program)
            and (module is None or module in each["words"])
            and ("signal" in each) == told
        ]

    return found


def ended(process):
    """Exit status and the launcher's own lines."""
    lines = process.communicate(timeout=60)[1].splitlines()
    return process.returncode, [line for line in lines if line.startswith("train_slurm: ")]


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.05)


RAY, PREFLIGHT, TRAIN = "ray.scripts.scripts", "recipe.holderpo.preflight", "recipe.holderpo.main"


def test_a_head_and_workers_are_started_then_the_run_and_all_of_it_ends(job, called, port):
    assert ended(job("math_qwen25_math_7b", *OVERRIDES)) == (0, [])
    (hosts,) = called("scontrol")
    assert hosts["words"] == ["show", "hostnames", "gpu-[1-3]"]
    head, workers = (call["words"] for call in called("srun"))
    common = ["--overlap", "--kill-on-bad-exit=1"]
    assert head[:5] == [*common, "--nodes=1", "--ntasks=1", "--nodelist=gpu-1"]
    assert workers[:5] == [*common, "--nodes=2", "--ntasks=2", "--exclude=gpu-1"]
    start = ["-m", RAY, "start", "--block", "--disable-usage-stats"]
    first, second = (
        call["words"] for call in called(module="start") if call["program"] == "python"
    )
    assert first[:6] == [*start, "--head"]
    assert {"--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=96"} < set(first)
    assert second == [*start, f"--address=127.0.0.1:{port}", "--num-cpus=96"]
    # A token that this job alone knows, the same for all of its processes.
    (token,) = {call["token"] for call in called("python")}
    assert re.fullmatch("token [0-9a-f]{64}", token)
    settings = ["trainer.nnodes=3", "trainer.n_gpus_per_node=8", *OVERRIDES]
    for module in (PREFLIGHT, TRAIN):
        (call,) = called("python", module)
        assert call["words"] == ["-m", module, "--config-name=math_qwen25_math_7b", *settings]
        assert call["address"] == f"127.0.0.1:{port}"
    # Both steps are told to end, once the run is over.
    assert [call["signal"] for call in called(told=True)] == ["SIGTERM", "SIGTERM"]


def test_one_node_is_a_head_alone(job, called):
    assert ended(job("demo", HOSTS="gpu-1", SLURM_GPUS_ON_NODE=None)) == (0, [])
    assert len(called("srun")) == 1
    (call,) = called("python", TRAIN)
    assert call["words"] == ["-m", TRAIN, "--config-name=demo", "trainer.nnodes=1"]


def test_srun_gets_the_cpus_of_the_job(job, called):
    assert ended(job("demo", SLURM_CPUS_PER_TASK="32"))[0] == 0
    assert [call["cpus"] for call in called("srun")] == ["32", "32"]


@pytest.mark.parametrize(("status", "restarts"), [("3", "0"), ("0", "2")])
def test_the_status_is_the_runs_and_a_job_queued_again_resumes(status, restarts, job, called):
    process = job("demo", "trainer.resume_mode=disable", TRAIN=status, SLURM_RESTART_COUNT=restarts)
    assert ended(process) == (int(status), [])
    (call,) = called("python", TRAIN)
    resumes = call["words"][-1] == "trainer.resume_mode=auto"
    assert resumes == (restarts != "0")
    assert not [call for call in called("scontrol") if call["words"][0] == "requeue"]


def test_what_the_preflight_refuses_is_not_trained(job, called):
    assert ended(job("demo", PREFLIGHT="1")) == (1, [])
    assert called("python", PREFLIGHT)
    assert not called("python", TRAIN)
    assert len(called(told=True)) == 2


@pytest.mark.parametrize("stage", ["PREFLIGHT", "TRAIN"])
@pytest.mark.parametrize(
    ("sent", "status", "requeued"), [(signal.SIGUSR1, 0, True), (signal.SIGTERM, 143, False)]
)
def test_a_signal_ends_the_run_then_ray_and_the_last_minutes_queue_it_again(
    sent, status, requeued, stage, job, called
):
    module = {"PREFLIGHT": PREFLIGHT, "TRAIN": TRAIN}[stage]
    process = job("demo", **{stage: "waits"})
    wait_for(lambda: called("python", module) and len(called("python", "start")) == 2)
    # To the launcher alone, as --signal=B: does; the run gets SIGTERM from it.
    process.send_signal(sent)
    found, lines = ended(process)
    assert found == status
    told = called(told=True)
    assert module in told[0]["words"]
    assert [RAY in call["words"] for call in told[1:]] == [True, True]
    last = called("scontrol")[-1]["words"]
    assert (last == ["requeue", "4711"]) == requeued
    assert len(lines) == requeued
    if stage == "PREFLIGHT":
        assert not called("python", TRAIN)


@pytest.mark.parametrize(("role", "nodes"), [("WORKER", 3), ("HEAD", 1)])
def test_the_end_of_ray_on_a_node_ends_the_run(role, nodes, job, called):
    hosts = " ".join(f"gpu-{i}" for i in range(nodes))
    process = job("demo", HOSTS=hosts, TRAIN="waits", PREFLIGHT="waits", **{role: "fails"})
    status, lines = ended(process)
    assert status == 1
    assert lines == ["train_slurm: Ray has ended on a node, see above; the run is ended too"]
    assert not called("python", TRAIN)
    assert not [call for call in called("scontrol") if call["words"][0] == "requeue"]


def test_a_head_that_does_not_answer_in_time_is_given_up(job, called, port, tmp_path):
    write_program(tmp_path / "bin/timeout", "sys.exit(124)")
    status, (line,) = ended(job("demo"))
    assert status == 1
    assert line == f"train_slurm: Ray's head does not answer at 127.0.0.1:{port}"
    assert len(called("srun")) == 1
    assert not called("python", PREFLIGHT)


def test_a_run_that_begins_elsewhere_is_not_queued_to_begin_there_again(job, called):
    begins = ["trainer.resume_mode=resume_path", "trainer.resume_from_path=x/global_step_5"]
    process = job("demo", *begins, TRAIN="waits")
    wait_for(lambda: called("python", TRAIN))
    process.send_signal(signal.SIGUSR1)
    status, (line,) = ended(process)
    assert (status, "would begin at trainer.resume_from_path once more" in line) == (1, True)
    assert [call["words"][0] for call in called("scontrol")] == ["show"]
    status, (line,) = ended(job("demo", *begins, SLURM_RESTART_COUNT="1"))
    assert (status, line.split(": ")[1]) == (2, "trainer.resume_mode")


@pytest.mark.parametrize(
    ("arguments", "environment", "field"),
    [
        (["demo"], {"SLURM_JOB_ID": None}, "train_slurm: SLURM_JOB_ID: not set; "),
        (["demo"], {"SLURM_SUBMIT_DIR": "/"}, "train_slurm: SLURM_SUBMIT_DIR: / is no checkout; "),
        ([], {}, "CONFIG: not given; "),
        (["seed=1"], {}, "CONFIG: seed=1; "),
        (["demo"], {"HEAD_ADDRESS": "", "HOSTS": "no.such.host.invalid"}, "train_slurm: HEAD_ADD"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_starts(
    arguments, environment, field, job, called
):
    process = job(*arguments, **environment)
    (line,) = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 2
    assert line.startswith(field)
    assert not called("srun")


def test_slurm_reads_what_the_launcher_relies_on():
    """Above the first command, where sbatch looks for its options."""
    text = (REPOSITORY / "scripts/train_slurm.sh").read_text()
    head = text[: text.index("set -euo pipefail")]
    options = re.findall(r"^#SBATCH --(\S+)$", head, re.MULTILINE)
    assert {"ntasks-per-node=1", "requeue", "open-mode=append", "signal=B:USR1@300"} <= {*options}
    assert not re.search(r"^[^#\n]", head, re.MULTILINE)
