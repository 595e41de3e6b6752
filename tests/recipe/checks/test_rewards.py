"""Reward functions and managers that cannot be loaded are named before anything starts."""

import pytest

from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import refusals
from tests.recipe.composing import composed

FUNCTION = "reward.custom_reward_function"
MANAGER = "reward.reward_manager"
SCORE = "def compute_score(**_):\n    return 1.0\n"


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        (None, "compute_score", "FileNotFoundError: "),
        (SCORE, "score", "AttributeError: "),
        ("def f(:", "compute_score", "SyntaxError: "),
        ("import nothing_of_that_name\n", "compute_score", "ModuleNotFoundError: No module named"),
        ("raise KeyError\n", "compute_score", "KeyError)"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_refused(text, name, why, tmp_path, existing):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    (line,) = refusals(existing, f"{FUNCTION}.path={path} {FUNCTION}.name={name}")
    assert line.startswith(f"{FUNCTION}.path: '{path}' has no '{name}' that can be loaded ({why}")
    assert "\n" not in line


def test_a_module_that_is_not_there_is_refused(existing):
    (line,) = refusals(existing, f"{FUNCTION}.path=pkg://holderpo.rewards.maths")
    assert line.startswith(
        f"{FUNCTION}.path: 'pkg://holderpo.rewards.maths' has no 'compute_score'"
    )


def test_an_unknown_manager_is_refused(existing):
    (line,) = refusals(existing, f"{MANAGER}.name=nive")
    assert line.startswith(f"{MANAGER}.name: 'nive' with source 'register' cannot be loaded (")


def test_functions_and_managers_of_ones_own_are_loaded(tmp_path, existing):
    path = tmp_path / "mine.py"
    path.write_text(
        "from verl.experimental.reward_loop.reward_manager import register\n"
        "from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager\n"
        "@register('of_one_test')\nclass Mine(NaiveRewardManager):\n    pass\n" + SCORE
    )
    overrides = [f"{FUNCTION}.path={path}", f"{MANAGER}.name=of_one_test"]
    assert check_config(composed("demo", [*existing, *overrides])).lines
