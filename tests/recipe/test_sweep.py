"""Planning a sweep, skipping what is done, and refusing to mix settings."""

import json
import sys

import pytest

from recipe.holderpo import sweep


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
    command = sweep.run_command(runs[4], "demo", runs[4].folder(tmp_path))
    assert command[:2] == [sys.executable, "-m"]
    assert {"seed=4", f"run_dir={tmp_path}/grpo/seed_4", "trainer.resume_mode=auto"} <= set(command)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to run"),
        (["--methods", "grpo", "grpo"], "two arms have one name"),
        (["--arm", "no colon"], "give NAME: OVERRIDE"),
    ],
)
def test_bad_sweeps_are_one_line(words, message, capsys):
    assert sweep.main(words) == 2
    assert message in capsys.readouterr().err


def test_words_that_are_neither_options_nor_overrides_are_refused():
    with pytest.raises(SystemExit):
        arguments("--methods", "grpo", "--sedes", "1")


def test_a_finished_run_is_skipped_and_one_with_other_settings_refused(tmp_path):
    (run,) = sweep.plan_runs(arguments("--methods", "grpo", f"--out={tmp_path}", "a=1"))
    folder = run.folder(tmp_path)
    assert not sweep.is_finished(run, folder)
    assert json.loads((folder / "sweep.json").read_text())["arm"] == "grpo"
    (folder / "summary.json").write_text("{}")
    assert sweep.is_finished(run, folder)
    (other,) = sweep.plan_runs(arguments("--methods", "grpo", f"--out={tmp_path}", "a=2"))
    with pytest.raises(ValueError, match="other settings"):
        sweep.is_finished(other, folder)


def test_a_failed_run_does_not_end_the_sweep(tmp_path, capsys):
    """Two runs that cannot be composed: both are tried, and both are named."""
    words = ["--methods", "no_such_method", "--seeds", "0", "1", "--ray=own", f"--out={tmp_path}"]
    assert sweep.main(words) == 1
    shown = capsys.readouterr().out
    assert "0 of 2 runs are finished" in shown
    assert shown.count("failed with status") == 4
