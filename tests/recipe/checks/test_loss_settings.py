"""Settings of the loss, beside those of tests/recipe/checks/test_checks.py."""

import pytest

from tests.recipe.checks.checking import ACTOR, LOSS, refusals, warnings_of


@pytest.mark.parametrize(
    ("overrides", "warns"),
    [
        (f"{ACTOR}.clip_ratio=0.1", True),
        (f"{ACTOR}.clip_ratio=0.1 {LOSS}.loss_mode=vanilla", True),
        (f"{ACTOR}.clip_ratio=0.02", False),
        (f"{ACTOR}.clip_ratio_low=3e-4 {ACTOR}.clip_ratio_high=4e-4", False),
        (f"{ACTOR}.clip_ratio=0.1 {ACTOR}.clip_ratio_low=0.1 {ACTOR}.clip_ratio_high=0.3", False),
        (f"{ACTOR}.clip_ratio=0.1 {ACTOR}.clip_ratio_low=null {LOSS}.loss_mode=gspo", False),
    ],
)
def test_a_clip_ratio_that_low_and_high_override_warns(overrides, warns, existing):
    lines = warnings_of(existing, overrides)
    assert [line.partition(":")[0] for line in lines] == (
        [f"{ACTOR}.clip_ratio has no effect"] if warns else []
    )


def test_progress_in_reward_needs_the_whole_batch(existing):
    filtered = "p=reward algorithm.filter_groups.enable=true"
    (line,) = refusals(existing, filtered)
    assert line == (
        "p: RewardProgress reads reward_mean, but algorithm.filter_groups.enable leaves out the "
        "groups of equal rewards: set it to false, or choose another p"
    )
    assert warnings_of(existing, "p=reward") == []
    assert warnings_of(existing, f"{filtered} {LOSS}.loss_mode=vanilla") == []


def test_loggers_are_those_of_verl(existing):
    (line,) = refusals(existing, "trainer.logger=[tensorbord]")
    assert line.startswith("trainer.logger: 'tensorbord'; give any of clearml, console")
    assert warnings_of(existing, "trainer.logger=console") == []
