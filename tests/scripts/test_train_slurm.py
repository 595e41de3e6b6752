"""The launcher for Slurm: what is started where, and how it ends; beside programs like Slurm's."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from ray._private.parameter import RayParams

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
OWN, RESUME = "recipe.holderpo.run.own_checkpoint", "trainer.resume_mode=auto"


def test_a_head_and_workers_are_started_then_the_run_and_all_of_it_ends(job, called, port):
    assert ended(job("math_qwen25_math_7b", *OVERRIDES)) == (0, [])
    (hosts,) = called("scontrol")
    assert hosts["words"] == ["show", "hostnames", "gpu-[1-3]"]
    head, workers = (call["words"] for call in called("srun"))
    common = ["--overlap", "--kill-on-bad-exit=1", "--export=ALL", "--cpu-bind=none"]
    assert head[:7] == [*common, "--nodes=1", "--ntasks=1", "--nodelist=gpu-1"]
    assert workers[:7] == [*common, "--nodes=2", "--ntasks=2", "--exclude=gpu-1"]
    start = ["-m", RAY, "start", "--block", "--disable-usage-stats"]
    start += ["--min-worker-port=0", "--max-worker-port=0"]
    first, second = (
        call["words"] for call in called(module="start") if call["program"] == "python"
    )
    assert first[:8] == [*start, "--head"]
    assert {"--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=96"} < set(first)
    assert f"--ray-client-server-port={port + 1}" in first
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


def test_the_jobs_number_of_gpus_is_not_that_of_a_step(job, called):
    assert ended(job("demo", SLURM_GPUS="24"))[0] == 0
    assert [call["gpus"] for call in called("srun")] == [None, None]


def test_gpus_that_are_only_counted_are_told_to_every_node(job, called):
    assert ended(job("demo", RAY_GPUS="2"))[0] == 0
    starts = [call["words"] for call in called(module="start") if call["program"] == "python"]
    assert ["--num-gpus=2" in words for words in starts] == [True, True]
    assert ended(job("demo"))[0] == 0
    starts = [call["words"] for call in called(module="start") if call["program"] == "python"]
    assert not [word for words in starts[2:] for word in words if word.startswith("--num-gpus")]


@pytest.mark.parametrize("begins", ["disable", "resume_path"])
@pytest.mark.parametrize(
    ("restarts", "found", "more"),
    [
        ("0", RESUME, []),
        ("2", "", []),
        ("2", RESUME, [RESUME]),
    ],
)
def test_a_job_queued_again_goes_on_from_what_it_has_saved_or_begins_as_told(
    begins, restarts, found, more, job, called
):
    words = [f"trainer.resume_mode={begins}", "+note='trainer.resume_mode=resume_path '"]
    assert ended(job("demo", *words, CHECKPOINT=found, SLURM_RESTART_COUNT=restarts)) == (0, [])
    settings = ["trainer.nnodes=3", "trainer.n_gpus_per_node=8", *words]
    for module in (PREFLIGHT, TRAIN):
        (call,) = called("python", module)
        assert call["words"][3:] == [*settings, *more]
    asked = [call["words"][2:] for call in called("python", OWN)]
    assert asked == ([["--config-name=demo", *settings]] if restarts != "0" else [])


def test_a_job_of_which_nobody_knows_what_it_has_saved_does_not_begin(job, called):
    status, (line,) = ended(job("demo", CHECKPOINT="unknown", SLURM_RESTART_COUNT="1"))
    assert (status, line.split(": ")[1]) == (2, "trainer.resume_mode")
    assert not called("srun")


def test_the_status_is_the_runs(job, called):
    assert ended(job("demo", TRAIN="3")) == (3, [])
    assert not [call for call in called("scontrol") if call["words"][0] == "requeue"]


@pytest.mark.parametrize("status", [1, 2])
def test_what_the_preflight_refuses_is_not_trained(status, job, called):
    assert ended(job("demo", PREFLIGHT=str(status))) == (status, [])
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


@pytest.mark.parametrize(
    ("environment", "why", "asked"),
    [
        ({"SLURM_RESTART_COUNT": "20"}, "has begun again 20 times, and MOST_RESTARTS", False),
        ({"SLURM_RESTART_COUNT": "3", "MOST_RESTARTS": "3"}, "has begun again 3 times", False),
        ({"MOST_RESTARTS": "0"}, "has begun again 0 times", False),
        ({"REQUEUE": "1"}, "cannot be queued again, see above", True),
    ],
)
def test_a_job_that_is_not_queued_again_says_so(environment, why, asked, job, called):
    process = job("demo", TRAIN="waits", **environment)
    wait_for(lambda: called("python", TRAIN))
    process.send_signal(signal.SIGUSR1)
    status, (line,) = ended(process)
    assert status == 1
    assert f"job 4711 {why}" in line
    assert line.endswith(": submit it anew to go on")
    assert "is queued again" not in line
    requeued = [call for call in called("scontrol") if call["words"][0] == "requeue"]
    assert len(requeued) == asked


def test_a_job_that_may_begin_again_is_queued_again(job, called):
    process = job("demo", TRAIN="waits", SLURM_RESTART_COUNT="2", MOST_RESTARTS="3")
    wait_for(lambda: called("python", TRAIN))
    process.send_signal(signal.SIGUSR1)
    line = "train_slurm: the time is nearly over; job 4711 is queued again"
    assert ended(process) == (0, [line])


def test_a_run_that_ends_well_in_the_last_minutes_is_over(job, called):
    process = job("demo", TRAIN="ends well")
    wait_for(lambda: called("python", TRAIN))
    process.send_signal(signal.SIGUSR1)
    assert ended(process) == (0, [])
    assert [call["words"][0] for call in called("scontrol")] == ["show"]


@pytest.mark.parametrize(
    ("job_id", "given", "port"),
    [
        ("4711", "6379", 6379),
        ("4711", "10500", 10500),
        ("4711", None, 29422),
        ("9999", None, 29998),
    ],
)
def test_ray_takes_a_port_and_the_next(job_id, given, port, job, called, tmp_path):
    """Of the job, and none that Ray's own choice of others could forbid."""
    write_program(tmp_path / "bin/timeout", "sys.exit(0)")  # what waits for the port
    head = {"HEAD": "opens no port", "RAY_PORT": given, "SLURM_JOB_ID": job_id}
    process = job("demo", HOSTS="gpu-1", **head)
    assert ended(process) == (0, [])
    (call,) = called("srun")
    options = dict(
        word.split("=", 1) for word in call["words"] if word.startswith("--") and "=" in word
    )
    assert int(options["--port"]) == port
    parameters = RayParams(
        redis_port=port,
        ray_client_server_port=int(options["--ray-client-server-port"]),
        min_worker_port=int(options["--min-worker-port"]),
        max_worker_port=int(options["--max-worker-port"]),
    )
    parameters.update_pre_selected_port()


@pytest.mark.parametrize(
    ("arguments", "environment", "field"),
    [
        (["demo"], {"SLURM_JOB_ID": None}, "train_slurm: SLURM_JOB_ID: not set; "),
        (["demo"], {"SLURM_SUBMIT_DIR": "/"}, "train_slurm: SLURM_SUBMIT_DIR: / is no checkout; "),
        (["demo"], {"RAY_PORT": "1023"}, "train_slurm: RAY_PORT: 1023; give a port from 1024"),
        (["demo"], {"RAY_PORT": "65535"}, "train_slurm: RAY_PORT: 65535; give a port from 1024"),
        (["demo"], {"RAY_PORT": "ray"}, "train_slurm: RAY_PORT: ray; give a port from 1024"),
        (["demo"], {"RAY_PORT": "08080"}, "train_slurm: RAY_PORT: 08080; give a port from 1024"),
        (["demo"], {"MOST_RESTARTS": "-1"}, "train_slurm: MOST_RESTARTS: -1; give a whole number"),
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
