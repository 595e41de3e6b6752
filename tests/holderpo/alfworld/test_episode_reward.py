"""Success is the goal alone, and only malformed turns lose anything by default."""

import pytest

from holderpo.alfworld.actions import ActionKind
from holderpo.alfworld.episode_reward import RewardSettings


def test_the_rewards_of_the_recipe():
    settings = RewardSettings()
    assert (settings.episode_reward(True), settings.episode_reward(False)) == (10, 0)
    penalties = {kind: settings.turn_penalty(kind) for kind in ActionKind}
    assert penalties == {
        ActionKind.VALID: 0,
        ActionKind.MALFORMED: 0.1,
        ActionKind.INADMISSIBLE: 0,
    }


def test_own_rewards():
    settings = RewardSettings(
        success=1, failure=-1, malformed_penalty=0.5, inadmissible_penalty=0.25
    )
    assert (settings.episode_reward(True), settings.episode_reward(False)) == (1, -1)
    assert [settings.turn_penalty(kind) for kind in ActionKind] == [0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"success": 0}, "success: 0; give more than failure, 0.0"),
        ({"failure": 10}, "success: 10.0; give more than failure, 10"),
        ({"success": float("inf")}, "success: inf; give a finite number"),
        ({"failure": float("nan")}, "failure: nan; give a finite number"),
        ({"success": "10"}, "success: '10'; give a finite number"),
        ({"success": True}, "success: True; give a finite number"),
        ({"malformed_penalty": None}, "malformed_penalty: None; give a finite number"),
        ({"malformed_penalty": -0.1}, "malformed_penalty: -0.1; give 0 or more, it is taken away"),
        ({"inadmissible_penalty": -1}, "inadmissible_penalty: -1; give 0 or more"),
    ],
)
def test_rewards_that_cannot_be_right_are_refused(settings, problem):
    with pytest.raises(ValueError, match="; give ") as caught:
        RewardSettings(**settings)
    assert str(caught.value).startswith(problem)


def test_all_wrong_rewards_are_named():
    with pytest.raises(ValueError, match=r"success(.|\n)*failure"):
        RewardSettings(success=None, failure=None)
