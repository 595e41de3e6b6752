"""Planning a sweep, skipping what is done, and refusing to mix settings."""

import json
import re
import signal
import subprocess
import sys

import psutil
import pytest

from recipe.holderpo.sweep import __main__ as sweep
from tests.holderpo.studies.run_folders import write_run


def arguments(*words):
    return sweep.parse_arguments(words)


def test_runs_are_every_arm_of_a_seed_before_the_next_seed(tmp_path):
    runs = sweep.plan_runs(
        arguments(
            *["--methods", "grpo", "--orders", "-2", "0.5", "--seeds", "3", "4"],
            *["--arm", "far: +method=sign_matched p.positive.value=-4", f"--out={tmp_path}"],
            "trainer.total_training_steps=7",
        )
    )
    assert [(run.arm, run.seed) for run in runs] == [
        (arm, seed) for seed in (3, 4) for arm in ("grpo", "static_p-2", "static_p0.5", "far")
    ]
    assert runs[1].overrides == ("+method=static", "p.value=-2.0", "trainer.total_training_steps=7")
    assert runs[3].overrides[:2] == ("+method=sign_matched", "p.positive.value=-4")
    command = sweep.run_command(runs[4], runs[4].folder(tmp_path))
    assert command[:2] == [sys.executable, "-m"]
    assert {"seed=4", f"run_dir={tmp_path}/grpo/seed_4", "trainer.resume_mode=auto"} <= set(command)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to run"),
        (["--methods", "grpo", "grpo"], "two arms have one name"),
        (["--arm", "no colon"], "give NAME: OVERRIDE"),
        (["--arm", "open: p.value='1"], '--arm: "open: p.value=\'1": No closing quotation'),
        (["--arm", "../x: p=constant"], "'../x' names a folder"),
        (["--methods", "grpo", "seed=3"], "seed=3: set by the sweep; give --seeds"),
        (["--methods", "grpo", "no_such_method"], "no_such_method: cannot be composed"),
        (["--methods", "grpo", "--config", "none"], "Cannot find primary config 'none'"),
        (["--orders", "nan"], "static_pnan: p.value: nan; give a finite number"),
    ],
)
def test_bad_sweeps_are_one_line(words, message, capsys, tmp_path):
    assert sweep.main([*words, f"--out={tmp_path}", "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_overrides_may_follow_an_option_with_several_values():
    found = arguments("--methods", "grpo", "a.b=1", "--seeds", "0", "1", "+c=2", "p@p.positive=ess")
    assert (found.methods, found.seeds) == (["grpo"], [0, 1])
    assert found.overrides == ["a.b=1", "+c=2", "p@p.positive=ess"]


def test_words_that_are_neither_options_nor_overrides_are_refused():
    with pytest.raises(SystemExit):
        arguments("--methods", "grpo", "--sedes", "1")


NO_RAY = ("--ray=own", "trainer.total_training_steps=3")
# What a run leaves behind, without the run: its note is there before it starts.
LEAVE = """
import json, sys
from pathlib import Path
assert (Path(sys.argv[1]) / "sweep.json").exists()
from recipe.holderpo.sweep.sweep_run import locked
with locked(Path(sys.argv[1])) as lock:
    assert lock is None, "the sweep holds it, and this process with it"
from tests.holderpo.studies.run_folders import write_run
folder = Path(sys.argv[1]) / "written"
write_run(folder, [0.1, 0.2, 0.3], name="grpo", seed=int(sys.argv[2]))
for path in folder.iterdir():
    path.rename(Path(sys.argv[1]) / path.name)
folder.rmdir()
"""


@pytest.fixture
def started(monkeypatch):
    """Runs that take no time; the seeds of those that were started."""
    seeds = []

    def command(run, folder):
        seeds.append(run.seed)
        return [sys.executable, "-c", LEAVE, str(folder), str(run.seed)]

    monkeypatch.setattr(sweep, "run_command", command)
    return seeds


def results(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_finished_run_is_skipped_and_recorded_once(started, tmp_path, capsys):
    words = ["--methods", "grpo", "--seeds", "0", "1", *NO_RAY, f"--out={tmp_path}"]
    assert sweep.main(words) == 0
    assert started == [0, 1]
    (tmp_path / "grpo" / "seed_1" / "summary.json").unlink()
    (tmp_path / "grpo" / "seed_1" / "metrics.jsonl").unlink()
    (tmp_path / "results.jsonl").unlink()
    assert sweep.main(words) == 0
    assert started == [0, 1, 1]
    assert [(line["arm"], line["seed"]) for line in results(tmp_path)] == [("grpo", 0), ("grpo", 1)]
    assert "2 of 2 runs are finished" in capsys.readouterr().out


def test_the_commit_recorded_is_that_of_the_run(started, tmp_path, monkeypatch):
    words = ["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]
    monkeypatch.setattr(sweep, "current_commit", lambda: "then")
    assert sweep.main(words) == 0
    (tmp_path / "results.jsonl").unlink()
    monkeypatch.setattr(sweep, "current_commit", lambda: "now")
    assert sweep.main(words) == 0
    assert [line["commit"] for line in results(tmp_path)] == ["then"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["p.value=2"], r"'overrides': \['\+method=grpo', 'trainer.total_training_steps=3'"),
        (["--config", "gsm8k_smoke"], "'config': 'demo'.* instead of .*'config': 'gsm8k_smoke'"),
    ],
)
def test_a_folder_with_a_run_of_other_settings_is_refused_before_any_run(
    change, message, started, tmp_path, capsys
):
    words = ["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]
    assert sweep.main([*words, "--seeds", "1"]) == 0
    assert sweep.main([*words, "--seeds", "0", "1", *change]) == 2
    assert started == [1]
    assert re.search(f"other settings than this sweep's.*{message}", capsys.readouterr().err)


def test_a_run_that_another_process_does_is_left_to_it(started, tmp_path, capsys):
    words = ["--methods", "grpo", "--seeds", "0", "1", *NO_RAY, f"--out={tmp_path}"]
    folder = tmp_path / "grpo" / "seed_0"
    folder.mkdir(parents=True)
    with sweep.locked(folder):
        assert sweep.main(words) == 1
    assert started == [1]
    assert "grpo, seed 0: not done: another process is at work" in capsys.readouterr().out
    assert sweep.main(words) == 0
    assert started == [1, 0]


def test_a_failed_run_does_not_end_the_sweep(tmp_path, capsys, monkeypatch):
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(sweep, "run_command", lambda run, folder: fails)
    words = ["--methods", "grpo", "--seeds", "0", "1", *NO_RAY, f"--out={tmp_path}"]
    assert sweep.main(words) == 1
    shown = capsys.readouterr().out
    assert "0 of 2 runs are finished" in shown
    assert shown.count("failed with status 3") == 4
    assert sweep.main([*words, "p.value=2"]) == 1, "nothing was done with the other settings"


@pytest.mark.parametrize("prepare", ["false", "no_such_program"])
def test_a_failed_preparation_fails_its_run(prepare, started, tmp_path, capsys):
    words = ["--methods", "grpo", *NO_RAY, f"--out={tmp_path}", f"--prepare={prepare}"]
    assert sweep.main(words) == 1
    assert "grpo, seed 0: failed: --prepare" in capsys.readouterr().out
    assert started == []


def test_a_run_that_cannot_be_recorded_does_not_end_the_sweep(started, tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text("{")
    words = ["--methods", "grpo", "--seeds", "0", "1", *NO_RAY, f"--out={tmp_path}"]
    assert sweep.main(words) == 1
    assert started == [0, 1]
    assert "grpo, seed 1: not recorded" in capsys.readouterr().out


def cut_off(folder, *, num_rows, checkpoint):
    """A run of 3 steps without a report."""
    write_run(folder, [0.1] * num_rows, name="grpo", planned=3, finished=False)
    text = (folder / "config.yaml").read_text()
    text = text.replace("trainer:\n", "trainer:\n  default_local_dir: ${run_dir}/checkpoints\n")
    (folder / "config.yaml").write_text(text)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(checkpoint))


def test_a_run_cut_off_in_its_report_gets_the_report(started, tmp_path, monkeypatch):
    folder = tmp_path / "grpo" / "seed_0"
    cut_off(folder, num_rows=3, checkpoint=3)
    sweep.write_note(*sweep.plan_runs(arguments("--methods", "grpo", *NO_RAY)), folder, "c")

    def write_summary(run_dir):
        (run_dir / "summary.json").write_text(json.dumps({"steps": 3}))

    monkeypatch.setattr("recipe.holderpo.run.summary.write_summary", write_summary)
    assert sweep.main(["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]) == 0
    assert started == []
    assert [line["steps"] for line in results(tmp_path)] == [3]


def test_a_run_whose_last_step_is_lost_starts_anew(started, tmp_path):
    cut_off(tmp_path / "grpo" / "seed_0", num_rows=2, checkpoint=3)
    assert sweep.main(["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]) == 0
    assert started == [0]
    assert (tmp_path / "grpo" / "seed_0.1" / "checkpoints").exists()
    assert [line["steps"] for line in results(tmp_path)] == [3]


@pytest.mark.parametrize("tracker", [None, ""])
def test_a_run_that_died_before_its_first_checkpoint_starts_anew(tracker, started, tmp_path):
    folder = tmp_path / "grpo" / "seed_0"
    write_run(folder, [0.1, 0.1], name="grpo", planned=3, finished=False)
    if tracker is not None:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(tracker)
    sweep.write_note(*sweep.plan_runs(arguments("--methods", "grpo", *NO_RAY)), folder, "c")
    assert sweep.main(["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]) == 0
    assert started == [0]
    assert (tmp_path / "grpo" / "seed_0.1" / "metrics.jsonl").exists()
    assert (folder / "sweep.json").exists(), "and the run has found it there, and its lock"
    assert [line["steps"] for line in results(tmp_path)] == [3]


def test_what_is_wrong_with_a_checkpoint_is_left_to_the_run_to_say(started, tmp_path):
    folder = tmp_path / "grpo" / "seed_0"
    cut_off(folder, num_rows=2, checkpoint="nonsense")
    assert sweep.main(["--methods", "grpo", *NO_RAY, f"--out={tmp_path}"]) == 0
    assert started == [0]
    assert not (tmp_path / "grpo" / "seed_0.1").exists()


def test_a_run_cut_off_before_goes_on_in_its_folder(tmp_path):
    cut_off(tmp_path / "run", num_rows=3 - 1, checkpoint=2)
    assert sweep.finish_what_was_trained(tmp_path / "run")
    assert not sweep.is_finished(tmp_path / "run")


INTERRUPTED = """
import os, sys
from pathlib import Path
from recipe.holderpo.sweep import __main__ as sweep
child = (
    "import signal, time\\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\\n"
    "signal.signal(signal.SIGTERM, signal.default_int_handler)\\n"
    "try:\\n print('up', flush=True); time.sleep(60)\\n"
    "except KeyboardInterrupt:\\n time.sleep(0.4); print('ended', flush=True)"
)
with sweep.interrupted_by_signals(), sweep.locked(Path(sys.argv[1])) as lock:
    sweep.run_to_its_end([sys.executable, "-c", child], os.environ, lock)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_peace_and_then_the_sweep(number, tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
    assert rest == b"ended\n"
    assert errors.endswith(b"KeyboardInterrupt\n")


def test_a_run_that_outlives_its_sweep_keeps_its_folder(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        (run,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait(timeout=30)
        with sweep.locked(tmp_path) as lock:
            assert lock is None
        run.kill()
    run.wait(timeout=30)
    with sweep.locked(tmp_path) as lock:
        assert lock is not None
