"""Settings of the advantage against what a row is."""

import pytest

from recipe.holderpo.checks.turn_settings import describe_credit, turn_problems, turn_warnings
from tests.recipe.composing import composed

AGENT = "++agent={}"
DIFFICULTY = "advantage.transforms=[{name: weight_by_difficulty}]"


def problems(*overrides):
    found = list(turn_problems(composed("demo", overrides)))
    assert all("\n" not in line for line in found)
    return found


@pytest.mark.parametrize("override", ["advantage.step_weight=0.5", "advantage.unit=turn"])
def test_what_needs_rows_of_turns_is_refused_without_an_agent(override):
    (line,) = problems(override)
    name, _, value = override.partition("=")
    assert line.startswith(f"{name}: ")
    assert value in line
    assert "agent is null; it needs rows of turns" in line
    assert problems() == problems(override, AGENT) == []


@pytest.mark.parametrize("estimator", ["rloo", "reinforce_plus_plus", "remax", "opo", "grpo_passk"])
def test_estimators_that_take_turns_for_responses_are_refused(estimator):
    override = f"algorithm.adv_estimator={estimator}"
    (line,) = problems(override, AGENT)
    assert line.startswith(f"algorithm.adv_estimator: '{estimator}' with an agent; ")
    assert problems(override) == problems("algorithm.adv_estimator=grpo", AGENT) == []


@pytest.mark.parametrize("setting", ["step_weight=1.0", "unit=turn", "row_weight=episode"])
def test_verls_grpo_gives_no_credit_by_turn(setting):
    (line,) = problems("algorithm.adv_estimator=grpo", f"advantage.{setting}", AGENT)
    assert line.startswith(f"advantage.{setting.partition('=')[0]}: ")
    assert line.endswith("with algorithm.adv_estimator 'grpo'; choose holder for it")


def test_kl_in_the_reward_of_tokens_would_be_lost():
    override = "algorithm.use_kl_in_reward=true"
    (line,) = problems(override, AGENT)
    assert line.startswith("algorithm.use_kl_in_reward: true with an agent; ")
    # verl's own estimator reads the rewards of tokens.
    assert problems(override) == problems(override, "algorithm.adv_estimator=grpo", AGENT) == []


@pytest.mark.parametrize(
    ("reward", "is_refused"),
    [
        ("{}", True),
        ("{success: 1.0}", True),
        ("{success: 1.0, malformed_penalty: 0.0}", False),
        ("{success: 1.0, malformed_penalty: 0.0, inadmissible_penalty: 0.1}", True),
        ("{success: 1.0, malformed_penalty: 0.0, failure: -1.0}", True),
    ],
)
def test_weights_by_difficulty_are_refused_before_the_first_round(reward, is_refused):
    found = problems(DIFFICULTY, f"++agent={{reward: {reward}}}")
    assert [line.partition(":")[0] for line in found] == ["advantage.transforms"] * is_refused
    assert problems(DIFFICULTY) == []


def test_what_is_wrong_in_a_section_itself_is_reported_there():
    assert problems("advantage.step_weight=much", "advantage.unit=turn") == []
    assert problems(DIFFICULTY, "++agent={reward: 7}") == []


def test_what_has_no_effect_is_said():
    def warned(*overrides):
        return [line.partition(" has no effect")[0] for line in warnings(*overrides)]

    def warnings(*overrides):
        return list(turn_warnings(composed("demo", overrides)))

    weight, discount = "advantage.row_weight", "advantage.step_discount"
    assert warned() == []
    assert warned(f"{weight}=episode") == [weight]
    assert warned(f"{weight}=episode", AGENT) == []
    assert warned(f"{discount}=0.9", AGENT) == [discount]
    assert warned(f"{discount}=0.9", "advantage.step_weight=1.0", AGENT) == []


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["+method=holder_step"],
            "returns among the group's episodes, by step 1 (discount 0.95); every turn counts the "
            "same",
        ),
        (
            ["advantage.row_weight=episode"],
            "rewards among all turns of the group, none by step; every episode counts the same",
        ),
        (
            ["algorithm.adv_estimator=grpo"],
            "the last turn's reward among those of the group's episodes, for every turn",
        ),
    ],
)
def test_the_plan_says_who_gets_the_credit(overrides, line):
    assert describe_credit(composed("alfworld_qwen25_1_5b", overrides)) == line
