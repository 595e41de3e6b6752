"""The command line of a run: its help, what it imports, and the command it ends with."""

import re
import shlex
import subprocess
import sys

import pytest

from recipe.holderpo import main
from recipe.holderpo.main import config_dir, same_run_under_another_rule
from recipe.holderpo.run import launch
from recipe.holderpo.run.cluster import ClusterError
from tests.recipe.composing import composed

NAME = "trainer.experiment_name"
MAIN = [sys.executable, "-m", "recipe.holderpo.main"]


def test_help_names_every_experiment_rule_and_method():
    shown = subprocess.run([*MAIN, "--help"], capture_output=True, text=True, check=True).stdout
    words = set(re.findall(r"[\w.]+", shown))
    rules = re.search(r"p=RULE(.*)p\.FIELD", shown, re.DOTALL)[1]
    methods = re.search(r"method=METHOD(.*)device=", shown, re.DOTALL)[1]
    of_group = {"p": re.findall(r"\w+", rules), "method": re.findall(r"\w+", methods)}
    parts = {"ess_set_point", "minus_q", "plus_q"}  # Of other rules.
    for path in config_dir().rglob("*.yaml"):
        is_start = path.parent == config_dir() and path.stem in ("base", "math", "alfworld")
        named = of_group.get(path.parent.name, words)
        assert path.stem in named or path.stem in parts or is_start, path
    assert "actor_rollout_ref:" not in shown, "the whole configuration is --cfg job's"


def test_torch_is_not_imported_before_its_environment_is_set():
    code = "import sys, recipe.holderpo.main; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_each_thing_that_a_cluster_lacks_is_a_line_of_its_own(monkeypatch, tmp_path):
    shown = []

    class FakeConsole:
        def __init__(self, path):
            pass

        def fail(self, text):
            shown.append(text)

    def train(config, console, plan):
        raise ClusterError(["torch: 2.10.0 on node b; fix", "verl: none on node c; fix"])

    monkeypatch.setattr(main, "Console", FakeConsole)
    monkeypatch.setattr(launch, "train", train)
    monkeypatch.setattr(sys, "argv", ["main", "--config-name=demo"])
    config = composed("demo")
    config.run_dir = str(tmp_path)
    assert main.run(config, tmp_path, None) == 1
    first, second, last = shown
    assert first == "failed: torch: 2.10.0 on node b; fix"
    assert second == "failed: verl: none on node c; fix"
    assert last.startswith("no checkpoint was saved, start again with: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--config-name=demo"],
            ["--config-name=demo", "p=sign_matched", f"{NAME}=demo_sign_matched"],
        ),
        (
            ["--config-name=demo", "++run_dir=X", "trainer.default_local_dir=/ck", "++p.start=1"],
            ["--config-name=demo", "p=sign_matched", f"{NAME}=demo_sign_matched"],
        ),
        (
            ["--config-name=demo", "p=sign_matched", f"{NAME}=demo_sign_matched"],
            ["--config-name=demo", "p=linear", f"{NAME}=demo_linear"],
        ),
        (
            ["--config-name=demo", f"{NAME}='my run, 2'"],
            ["--config-name=demo", "p=sign_matched", f"{NAME}='my run, 2_sign_matched'"],
        ),
        (
            ["--config-name=demo", "p=sign_matched", "p.positive.value=-4", "seed=3"],
            ["--config-name=demo", "seed=3", "p=linear", f"{NAME}=demo_linear"],
        ),
        (
            ["--config-name=demo", "run_dir=a b", "advantage.transforms=[{name: my.f}]"],
            [
                *["--config-name=demo", "advantage.transforms=[{name: my.f}]"],
                *["p=sign_matched", f"{NAME}=demo_sign_matched"],
            ],
        ),
    ],
)
def test_a_run_ends_with_a_command_that_differs_in_the_rule(arguments, expected):
    chosen = [text for text in arguments if text.startswith(("p=", "trainer.exp"))]
    line = same_run_under_another_rule(composed("demo", chosen), arguments)
    words = shlex.split(line)
    assert words[1:] == ["-m", "recipe.holderpo.main", *expected]
    overrides = [word for word in expected if not word.startswith(("--", "advantage"))]
    config = composed("demo", overrides)
    assert config.trainer.default_local_dir == f"{config.run_dir}/checkpoints"
    name = config.trainer.experiment_name
    assert name.endswith(("_linear", "_sign_matched"))
    assert config.run_dir == f"outputs/{name}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["actor_rollout_ref.actor.policy_loss.loss_mode=vanilla"],
        ["actor_rollout_ref.actor.ppo_mini_batch_size=32"],
    ],
)
def test_no_other_rule_is_named_where_p_has_no_effect(overrides):
    assert same_run_under_another_rule(composed("demo", overrides), []) is None
