"""What a run that was cut off is told to go on with."""

import subprocess
import sys

import pytest

from recipe.holderpo.checks.checkpoints import write_tracker
from recipe.holderpo.run.own_checkpoint import main
from tests.recipe.composing import composed

command = main.__wrapped__


@pytest.mark.parametrize("mode", ["auto", "disable", "resume_path"])
def test_a_run_goes_on_only_from_a_checkpoint_of_its_own(mode, tmp_path, capsys):
    elsewhere = f"trainer.resume_from_path={tmp_path}/another/global_step_3"
    config = composed("demo", [f"trainer.resume_mode={mode}", elsewhere])
    config.run_dir = f"{tmp_path}/run"
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    # Written by half, it does not count.
    (folder / "global_step_2").mkdir()
    command(config)
    assert capsys.readouterr().out == ""
    write_tracker(folder, 2)
    command(config)
    assert capsys.readouterr().out == "trainer.resume_mode=auto\n"


@pytest.mark.slow
def test_it_reads_the_words_of_a_run(tmp_path):
    words = ["--config-name=demo", f"run_dir={tmp_path}", "trainer.resume_mode=disable"]
    program = [sys.executable, "-m", "recipe.holderpo.run.own_checkpoint", *words]
    (tmp_path / "checkpoints").mkdir()
    write_tracker(tmp_path / "checkpoints", 2)
    ended = subprocess.run(program, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "trainer.resume_mode=auto\n"), ended.stderr
    assert subprocess.run([*program, "no.such=1"], capture_output=True).returncode != 0
