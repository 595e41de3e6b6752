"""Runs of seconds, for tests."""

from holderpo.lab.settings import ArmSettings, Cell, Regime

CONSTANT = "holderpo.control.schedule.Constant"


def arm(name="static", value=1.0, **settings):
    return ArmSettings(name=name, **{"p": {"_target_": CONSTANT, "value": value}, **settings})


def cell(an_arm=None, seed=0, *, task=None, **regime):
    quick = {
        "name": "quick",
        "learning_rate": 1e-2,
        "num_prompts": 4,
        "group_size": 4,
        "num_updates": 2,
        "num_rounds": 4,
        "warm_up_rounds": 1,
    }
    return Cell(
        task={"_target_": "tests.holderpo.lab.copying.Copying", **(task or {})},
        regime=Regime(**{**quick, **regime}),
        arm=an_arm or arm(),
        seed=seed,
    )
