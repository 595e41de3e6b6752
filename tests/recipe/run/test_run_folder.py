"""A run's folder as a run begins in it: nothing of an earlier one is lost."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from holderpo.studies.run_files import read_rows
from recipe.holderpo.checks.checkpoints import TRACKER, checkpoints_in, read_tracker
from recipe.holderpo.checks.resume import plan_start
from recipe.holderpo.checks.settings import make_controller
from recipe.holderpo.run.run_folder import HELD_BY_SWEEP, claimed, prepare_run_folder
from tests.recipe.checkpoint_files import run_config, write_run


def begin(config):
    start, problems = plan_start(config, make_controller(config))
    assert problems == []
    prepare_run_folder(config, start)
    return start


@pytest.mark.parametrize("mode", ["auto", "disable"])
def test_an_earlier_run_that_does_not_go_on_is_kept_whole(mode, tmp_path, capsys):
    write_run(run_config(tmp_path / "run"), [5])
    tracker = tmp_path / "run/checkpoints" / TRACKER
    if mode == "auto":
        (tmp_path / "run/checkpoints/global_step_5/data.pt").unlink()
        tracker.write_text("")
    config = run_config(tmp_path / "run", f"trainer.resume_mode={mode}", "seed=1")
    begin(config)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
    assert OmegaConf.load(tmp_path / "run/config.yaml") == config
    kept = tmp_path / "run.1"
    assert len(read_rows(kept / "metrics.jsonl", [])) == 6
    assert OmegaConf.load(kept / "config.yaml").seed == 0
    assert capsys.readouterr().out == f"earlier    kept aside, as {kept}\n"
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 0}\n')
    begin(config)
    assert (tmp_path / "run.2/metrics.jsonl").exists()


def test_a_run_that_goes_on_keeps_its_folder_and_its_configuration(tmp_path):
    write_run(run_config(tmp_path / "run"), [5])
    before = sorted((tmp_path / "run").rglob("*"))
    begin(run_config(tmp_path / "run", "trainer.save_freq=3"))
    assert sorted((tmp_path / "run").rglob("*")) == before
    assert OmegaConf.load(tmp_path / "run/config.yaml").trainer.save_freq == 3


def test_the_configuration_before_an_allowed_change_is_kept(tmp_path):
    write_run(run_config(tmp_path / "run"), [5])
    begin(run_config(tmp_path / "run", "seed=1", "resume_with=[seed]"))
    seeds = {path.name: OmegaConf.load(path).seed for path in (tmp_path / "run").glob("*.yaml")}
    assert seeds == {"config.yaml": 1, "config_to_step_5.yaml": 0}


def test_a_torn_tracker_is_mended(tmp_path):
    folder = write_run(run_config(tmp_path / "run"), [5], tracker="\0").parent
    begin(run_config(tmp_path / "run"))
    assert read_tracker(folder) == "5"


def test_going_back_leaves_newer_checkpoints_under_another_name(tmp_path):
    folder = write_run(run_config(tmp_path / "run"), [5, 10, 15]).parent
    config = run_config(tmp_path / "run", "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = str(folder / "global_step_5")
    begin(config)
    assert read_tracker(folder) == "5"
    assert list(checkpoints_in(folder)) == [5]
    assert (folder / "global_step_10.1/data.pt").exists()
    assert begin(run_config(tmp_path / "run")).step == 5
    assert begin(config).moved_aside == (), "the same command once more"


def test_another_runs_checkpoint_is_left_as_it_is(tmp_path):
    folder = write_run(run_config(tmp_path / "first"), [5, 10]).parent
    before = sorted((tmp_path / "first").rglob("*"))
    write_run(run_config(tmp_path / "second"), [5])
    config = run_config(tmp_path / "second", "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = str(folder / "global_step_5")
    begin(config)
    assert sorted((tmp_path / "first").rglob("*")) == before
    assert [path.name for path in Path(config.run_dir).iterdir()] == ["config.yaml"]
    assert (tmp_path / "second.1/metrics.jsonl").exists()


def test_a_link_to_the_runs_own_checkpoint_is_no_other_run(tmp_path):
    folder = write_run(run_config(tmp_path / "run"), [5])
    (tmp_path / "link").symlink_to(tmp_path / "run/checkpoints")
    config = run_config(tmp_path / "run", "trainer.resume_mode=resume_path")
    for path in (tmp_path / "link/global_step_5", tmp_path / "x/../run/checkpoints/global_step_5"):
        (tmp_path / "x").mkdir(exist_ok=True)
        config.trainer.resume_from_path = str(path)
        assert begin(config).is_own
    assert folder.exists()


def test_the_configuration_of_the_steps_before_a_change_stays_the_one_that_did_them(tmp_path):
    write_run(run_config(tmp_path / "run"), [5])
    for seed in (1, 2):
        # The first of them is cut off before its first step.
        begin(run_config(tmp_path / "run", f"seed={seed}", "resume_with=[seed]"))
    assert OmegaConf.load(tmp_path / "run/config_to_step_5.yaml").seed == 0


def test_an_empty_folder_is_taken_as_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    assert begin(run_config(tmp_path / "run", "trainer.resume_mode=disable")).moved_aside == ()


def test_one_run_at_a_time_has_a_folder(tmp_path, monkeypatch):
    with claimed(tmp_path):
        with pytest.raises(BlockingIOError), claimed(tmp_path):
            pass
        monkeypatch.setenv(HELD_BY_SWEEP, "1")
        with claimed(tmp_path):
            pass
        monkeypatch.delenv(HELD_BY_SWEEP)
    with claimed(tmp_path), claimed(tmp_path / "not there"):
        pass
