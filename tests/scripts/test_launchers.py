"""Launchers: what they prepare and run, and with which Python."""

import os
import runpy
import shlex
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tests.recipe.composing import composed
from tests.recipe.launching import REPOSITORY, launched, run_launcher, write_python

run_command = runpy.run_path(str(REPOSITORY / "scripts/profile_startup.py"))["run_command"]

MATH = sorted(path.stem for path in REPOSITORY.glob("configs/math_*.yaml"))
REAL = [name for name in MATH if name != "math_smoke"]
ALFWORLD = sorted(path.stem for path in REPOSITORY.glob("configs/alfworld_*.yaml"))
ON_GPUS = [name for name in ALFWORLD if name.startswith("alfworld_qwen")]
# Each launcher that starts Python, with arguments that it takes.
LAUNCHERS = {
    "demo.sh": [],
    "evaluate_math.sh": ["outputs/a"],
    "sweep.sh": ["--methods", "grpo"],
    "train_alfworld.sh": ["alfworld_smoke"],
    "train_math.sh": ["math_smoke"],
}


def without_python(folder):
    """A search path with the usual programs, but no interpreter."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("dirname", "grep", "sed"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    return programs


def test_every_script_is_bash():
    for path in REPOSITORY.glob("scripts/*.sh"):
        subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("script", LAUNCHERS)
def test_python_is_the_one_given_or_the_checkouts_or_the_first_found(script, tmp_path):
    def first_word(**environment):
        run = run_launcher(script, tmp_path, *LAUNCHERS[script], **environment)
        assert run.returncode == 0, run.stderr
        return run.stdout.split()[0]

    given = tmp_path / "given/python"
    write_python(given)
    given.write_text(given.read_text().replace("echo", "echo given"))
    programs = without_python(tmp_path)
    (programs / "python").symlink_to(given)
    assert first_word(PATH=f"{programs}") == "given"
    write_python(tmp_path / ".venv/bin/python")
    assert first_word(PATH=f"{programs}") == "-m"
    assert first_word(PYTHON=str(given)) == "given"


@pytest.mark.parametrize("script", LAUNCHERS)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_python_without_verl_is_refused_in_one_line(script, is_there, tmp_path):
    python = tmp_path / "python"
    if is_there:
        # The real look-up, in an interpreter that sees nothing but its standard library.
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
        python.chmod(0o755)
    run = run_launcher(script, tmp_path, *LAUNCHERS[script], PYTHON=str(python))
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"PYTHON={python}: cannot import verl; run make setup, or ")


def test_this_python_is_accepted(tmp_path):
    script = f'source "{REPOSITORY}/scripts/python.sh"; echo "$python"'
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout == f"{sys.executable}\n"


def test_the_demo_takes_a_seed_and_overrides(tmp_path):
    prepared, run = launched("demo.sh", tmp_path, "3", "p=ess")
    assert prepared == "-m data_prep.column_addition --seed 3"
    assert run == "-m recipe.holderpo.main --config-name=demo seed=3 p=ess"
    assert launched("demo.sh", tmp_path)[1].endswith("--config-name=demo seed=0")


def test_the_demo_on_alfworld_makes_its_games_and_model(tmp_path):
    assert launched("train_alfworld.sh", tmp_path, "alfworld_demo", "seed=2") == [
        "-m data_prep.alfworld_demo",
        "-m recipe.holderpo.main --config-name=alfworld_demo seed=2",
    ]


def test_a_sweep_prepares_each_run_with_the_same_python(tmp_path):
    python = tmp_path / "a folder/python"
    write_python(python)
    python.write_text(python.read_text().replace("$*", "$6"))
    run = run_launcher("sweep.sh", tmp_path, "--seeds", "1", PYTHON=str(python))
    # The sixth word is what follows --prepare, which the sweep takes apart like a shell.
    assert shlex.split(run.stdout) == [
        *[str(python), "-m", "data_prep.column_addition", "--seed", "{seed}"]
    ]


@pytest.mark.parametrize("arguments", [[], ["math"], ["alfworld"], ["no_such_run"], ["demo"]])
@pytest.mark.parametrize(
    ("script", "known"),
    [("train_math.sh", ["gsm8k_smoke", *MATH]), ("train_alfworld.sh", ALFWORLD)],
)
def test_training_lists_what_it_knows(script, known, arguments, tmp_path):
    write_python(tmp_path / ".venv/bin/python")
    run = run_launcher(script, tmp_path, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    first, *listed = run.stderr.splitlines()
    assert first == f"CONFIG: {arguments[0] if arguments else 'not given'}; give one of"
    assert sorted(listed) == known


@pytest.mark.parametrize("config", REAL)
def test_training_on_mathematics_prepares_what_is_missing(config, tmp_path):
    run = f"-m recipe.holderpo.main --config-name={config} seed=1"
    arguments = ["train_math.sh", tmp_path, config, "seed=1"]
    assert launched(*arguments) == ["-m data_prep.math", run]
    assert launched(*arguments, MATH_SOURCE="there") == [
        "-m data_prep.math --source-folder there",
        run,
    ]
    data = OmegaConf.load(REPOSITORY / "configs/math.yaml").data
    path = tmp_path / data.train_files
    path.parent.mkdir(parents=True)
    path.touch()
    assert launched(*arguments) == [run]


@pytest.mark.parametrize(
    ("config", "prepares"),
    [
        # Not in the real runs' folder: their data are compared with more held-out sets.
        ("math_smoke", "--sets math500 math_level3to5 --tiny-model --folder data/math_smoke"),
        # The chat template is what the configuration needs, not the preparation's default.
        ("gsm8k_smoke", "--sets gsm8k --template chat --tiny-model"),
    ],
)
def test_a_small_run_prepares_its_data_and_its_model(config, prepares, tmp_path):
    calls = launched("train_math.sh", tmp_path, config, MATH_SOURCE="there")
    run = f"-m recipe.holderpo.main --config-name={config}"
    assert calls == [f"-m data_prep.math {prepares} --source-folder there", run]
    settings = OmegaConf.load(REPOSITORY / f"configs/{config}.yaml")
    model = tmp_path / settings.actor_rollout_ref.model.path
    model.mkdir(parents=True)
    # A preparation that was cut off is made again.
    assert launched("train_math.sh", tmp_path, config)[0].startswith("-m data_prep.math ")
    (model / "tokenizer.json").touch()
    assert launched("train_math.sh", tmp_path, config) == [run]


def needed_files(config):
    """What a run on games reads: manifests, and the tokenizer of a tiny model."""
    model = config.actor_rollout_ref.model.path
    files = [config.data.train_files, config.data.val_files]
    return files if model.startswith("Qwen") else [*files, f"{model}/tokenizer.json"]


@pytest.mark.parametrize(
    ("config", "prepares"),
    [
        *[(name, "official --games there --splits train valid_seen") for name in ON_GPUS],
        (
            "alfworld_official_cpu",
            "official --games there --splits valid_train valid_seen --tiny-model",
        ),
        (
            "alfworld_smoke",
            "generate --size small --train 1 --valid-seen 1 --tiny-model --folder "
            "data/alfworld_smoke",
        ),
    ],
)
def test_training_on_games_prepares_what_is_missing(config, prepares, tmp_path):
    run = f"-m recipe.holderpo.main --config-name={config} seed=1"
    arguments = ["train_alfworld.sh", tmp_path, config, "seed=1"]
    prepared = [f"-m data_prep.alfworld {prepares}", run]
    # Any one of them that is missing is made, however far the last attempt came.
    for file in needed_files(composed(config)):
        assert launched(*arguments, ALFWORLD_GAMES="there") == prepared
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert launched(*arguments, ALFWORLD_GAMES="there") == [run]


def test_official_games_are_looked_for_where_alfworld_puts_them(tmp_path):
    def games(**environment):
        call = launched("train_alfworld.sh", tmp_path, ON_GPUS[0], **environment)[0]
        return call.split("--games ")[1].split(" --splits")[0]

    assert games(HOME="/home/me", ALFWORLD_DATA="") == "/home/me/.cache/alfworld"
    assert games(ALFWORLD_DATA="/games") == "/games"
    assert games(ALFWORLD_DATA="/games", ALFWORLD_GAMES="my games") == "my games"


def test_the_profile_of_a_start_takes_an_experiment_and_overrides():
    command = run_command(["--config", "gsm8k_smoke", "seed=1", "+method=grpo"])
    assert command[:4] == [
        sys.executable,
        "-m",
        "recipe.holderpo.main",
        "--config-name=gsm8k_smoke",
    ]
    assert command[-3:] == ["seed=1", "+method=grpo", "run_dir=outputs/profile_startup"]


@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("--seed=1", 2)])
def test_the_profile_of_a_start_starts_nothing_for_its_options(word, status, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command([word])
    assert ended.value.code == status
    output = capsys.readouterr()
    assert "--config" in output.out + output.err
