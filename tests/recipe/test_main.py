"""The command line of a run: its help, what it imports, and the command it ends with."""

import re
import shlex
import subprocess
import sys

import pytest

from recipe.holderpo.main import config_dir, same_run_under_another_rule
from tests.recipe.composing import composed

MAIN = [sys.executable, "-m", "recipe.holderpo.main"]


def test_help_names_every_experiment_rule_and_method():
    shown = subprocess.run([*MAIN, "--help"], capture_output=True, text=True, check=True).stdout
    words = set(re.findall(r"[\w.]+", shown))
    parts = {"ess_set_point", "minus_q", "plus_q"}  # Of other rules.
    for path in config_dir().rglob("*.yaml"):
        is_start = path.parent == config_dir() and path.stem in ("base", "math")
        assert path.stem in words or path.stem in parts or is_start, path
    assert "actor_rollout_ref:" not in shown, "the whole configuration is --cfg job's"


def test_torch_is_not_imported_before_its_environment_is_set():
    code = "import sys, recipe.holderpo.main; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config-name=demo"], ["--config-name=demo", "p=sign_matched"]),
        (
            ["--config-name=demo", "p=sign_matched", "p.positive.value=-4", "seed=3"],
            ["--config-name=demo", "seed=3", "p=linear"],
        ),
        (
            ["--config-name=demo", "run_dir=a b", "advantage.transforms=[{name: my.f}]"],
            ["--config-name=demo", "advantage.transforms=[{name: my.f}]", "p=sign_matched"],
        ),
    ],
)
def test_a_run_ends_with_a_command_that_differs_in_the_rule(arguments, expected):
    chosen = [text for text in arguments if text.startswith("p=")]
    line = same_run_under_another_rule(composed("demo", chosen), arguments)
    words = shlex.split(line)
    rule = expected[-1].removeprefix("p=")
    assert words[1:] == [
        *["-m", "recipe.holderpo.main", *expected],
        f"trainer.experiment_name=demo_{rule}",
    ]
