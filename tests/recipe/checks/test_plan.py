"""What the plan says of the length of a run."""

import pytest

from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, warnings_of
from tests.recipe.composing import composed

OPTIM = f"{ACTOR}.optim"


@pytest.fixture(autouse=True)
def no_running_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # The run has 25 rounds; the first is at the start, so 24 steps end in the last.
        ("p.steps=24", None),
        (
            "p.steps=25",
            "the schedule of p does not finish: its end comes in round 26, the run has 25 (set "
            "p.steps=whole_run)",
        ),
        ("p.steps=22 p.hold_steps=2", None),
        ("p.steps=23 p.hold_steps=2", "its end comes in round 26, the run has 25"),
        ("p.steps=40 p.start=1 p.end=1", None),
        ("p.steps=whole_run trainer.total_training_steps=1 trainer.test_freq=1", None),
        (
            f"{OPTIM}.lr_warmup_steps=30",
            "the learning rate does not reach 0.0002: with a warm-up of 30 rounds it is reached in "
            "round 31, the run has 25",
        ),
        (
            f"{OPTIM}.lr_warmup_steps=0 {OPTIM}.lr_warmup_steps_ratio=1",
            "in round 26, the",
        ),
        (f"{OPTIM}.lr_warmup_steps=24", None),
        # With steps counted from one the last round has the whole rate.
        (f"{OPTIM}.lr_warmup_steps=25 {OPTIM}.zero_indexed_step=false", None),
        (
            f"{OPTIM}.lr_warmup_steps=26 {OPTIM}.zero_indexed_step=false",
            "in round 26, the",
        ),
        (f"{OPTIM}.lr=0", f"{OPTIM}.lr is 0: nothing is learned"),
        ("trainer.total_epochs=3", "trainer.total_epochs is 3: the run ends there"),
        ("trainer.test_freq=-1", "trainer.test_freq is -1: held-out problems are answered before"),
        ("trainer.test_freq=-1 trainer.val_before_train=false", None),
    ],
)
def test_what_a_run_does_not_come_to_warns(overrides, expected, existing):
    warnings = warnings_of(existing, overrides)
    if overrides.startswith("p.steps=whole_run"):
        # The demo's warm-up of 5 rounds.
        assert [line for line in warnings if "schedule" in line] == []
    elif expected is None:
        assert warnings == []
    else:
        (line,) = warnings
        assert expected in line


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (f"{OPTIM}.lr_warmup_steps=5", "warm-up of 5 rounds"),
        (f"{OPTIM}.lr_warmup_steps=0 {OPTIM}.lr_warmup_steps_ratio=0.2", "warm-up of 5 rounds"),
        (f"{OPTIM}.lr_warmup_steps=-1", None),
    ],
)
def test_the_warm_up_is_shown_as_verl_counts_it(settings, shown, existing):
    lines = check_config(composed("demo", [*existing, *settings.split()])).lines
    (line,) = [line for line in lines if line.startswith("optimiser")]
    assert shown in line if shown else "warm-up" not in line


def test_resources_that_a_running_ray_is_not_told_warn(existing, monkeypatch):
    given = "ray_kwargs.ray_init.num_cpus=9 ++ray_kwargs.ray_init.resources.disk=1"
    assert warnings_of(existing, given) == []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert warnings_of(existing, "") == []
    assert warnings_of(existing, given) == [
        f"ray_kwargs.ray_init.{name} has no effect: the Ray instance at 10.0.0.1:6379 has its own "
        "resources"
        for name in ("num_cpus", "resources.disk")
    ]
