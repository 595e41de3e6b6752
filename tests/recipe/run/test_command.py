"""The command with which a user goes on after a run has ended before its time."""

import shlex

import pytest

from recipe.holderpo.run.command import how_to_go_on
from tests.recipe.composing import composed

ARGUMENTS = ["--config-name=demo", "p=ess", "+trainer.resume_mode=disable", "run_dir=a b"]


def go_on(tmp_path, arguments=ARGUMENTS):
    config = composed("demo", [f"trainer.default_local_dir={tmp_path}"])
    return how_to_go_on(config, arguments)


def test_without_a_checkpoint_the_run_starts_again(tmp_path):
    what, _, command = go_on(tmp_path).partition(": ")
    assert what == "no checkpoint was saved, start again with"
    assert shlex.split(command)[1:] == ["-m", "recipe.holderpo.main", *ARGUMENTS]


@pytest.mark.parametrize(
    "more", [[], ["trainer.resume_mode=resume_path", "trainer.resume_from_path=elsewhere"]]
)
def test_with_a_checkpoint_it_resumes(tmp_path, more):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("3")
    what, _, command = go_on(tmp_path, [*ARGUMENTS, *more]).partition(": ")
    assert what == "resume with"
    kept = ["--config-name=demo", "p=ess", "run_dir=a b"]
    assert shlex.split(command)[3:] == [*kept, "trainer.resume_mode=auto"]


def test_a_folder_that_cannot_be_looked_at_may_have_a_checkpoint(tmp_path):
    assert go_on(tmp_path / ("x" * 300)).startswith("resume with: ")
