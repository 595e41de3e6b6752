"""Entry point: ``python -m recipe.holderpo.main --config-name=<experiment> [Hydra overrides]``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from recipe.holderpo.config_folder import config_dir
from recipe.holderpo.cpu.shortcuts import leave_out
from recipe.holderpo.run.command import how_to_go_on, same_command
from recipe.holderpo.run.console import Console, announce
from recipe.holderpo.run.environment import set_environment
from recipe.holderpo.run.run_folder import claimed, prepare_run_folder

if TYPE_CHECKING:
    from recipe.holderpo.checks.plan import Plan

LOG_FILE = "run.log"
# What another run must not take over: its rule for p, its name and its folders.
_OF_ONE_RUN = (
    *("p=", "p.", "p@", "run_dir=", "trainer.experiment_name=", "trainer.resume_mode="),
    *("trainer.resume_from_path=", "trainer.default_local_dir=", "trainer.validation_data_dir="),
    *("trainer.rollout_data_dir=", "resume_with="),
)


@hydra.main(config_path=str(config_dir()), config_name="base", version_base=None)
def main(config: DictConfig) -> None:
    """Compose, check, print the plan, run; exits with 1 on failure, 2 on a bad configuration."""
    set_environment(config)
    from recipe.holderpo.checks.first_prompts import prompt_lines
    from recipe.holderpo.checks.settings import ConfigError, check_config

    try:
        plan = check_config(config)
    except ConfigError as error:
        print("The configuration cannot be run:", file=sys.stderr)
        print("\n".join(f"  {problem}" for problem in error.problems), file=sys.stderr)
        sys.exit(2)
    if config.device == "cpu" and not config.cpu.shortcuts:
        leave_out(config)
    announce(plan)
    if config.check:
        for line in prompt_lines(plan.first_prompts):
            print(line)
        print("nothing wrong; not started")
        return
    run_dir = Path(config.run_dir)
    try:
        with claimed(run_dir):
            prepare_run_folder(config, plan.start)
        # By now it may be another one.
        with claimed(run_dir):
            sys.exit(run(config, run_dir, plan))
    except BlockingIOError:
        print(f"run_dir: {run_dir} is in use by another run; give another", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"run_dir: {config.run_dir} cannot be written to ({error})", file=sys.stderr)
        sys.exit(2)


def run(config: DictConfig, run_dir: Path, plan: Plan) -> int:
    """Train with a quiet screen and write the report.

    Args:
        config: the checked configuration.
        run_dir: for everything the run leaves behind.
        plan: of the run.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interrupt.
    """
    from recipe.holderpo.run.cluster import ClusterError
    from recipe.holderpo.run.launch import train

    print(f"log        {run_dir / LOG_FILE} (everything Ray, vLLM and verl say)", flush=True)
    console = Console(run_dir / LOG_FILE)
    try:
        train(config, console, plan)
        from recipe.holderpo.run.summary import measure_import_seconds, write_summary

        import_seconds = measure_import_seconds() if config.report.measure_import else None
        for line in write_summary(run_dir, import_seconds=import_seconds):
            console.say(line)
        if command := same_run_under_another_rule(config, sys.argv[1:]):
            console.say(f"another rule      {command}")
    except KeyboardInterrupt:
        console.fail(f"interrupted; {how_to_go_on(config, sys.argv[1:])}")
        return 130
    except ClusterError as error:
        for problem in error.problems:
            console.fail(f"failed: {problem}")
        console.fail(how_to_go_on(config, sys.argv[1:]))
        return 1
    except Exception as error:
        console.fail_with(error, f"; {how_to_go_on(config, sys.argv[1:])}")
        return 1
    return 0


def same_run_under_another_rule(config: DictConfig, arguments: Sequence[str]) -> str | None:
    """A command for the same run, in a folder of its own, under another rule for p.

    Args:
        config: of this run.
        arguments: of this run's command line.

    Returns:
        One line for a shell; None where p has no effect.
    """
    from recipe.holderpo.checks.plan import updates_per_step
    from recipe.holderpo.sections import HOLDER

    if config.actor_rollout_ref.actor.policy_loss.loss_mode != HOLDER:
        return None
    if updates_per_step(config) < 2:
        return None
    is_by_sign = config.p._target_.endswith(".SignMatched")
    rule, present = ("linear", "sign_matched") if is_by_sign else ("sign_matched", "linear")
    name = str(config.trainer.experiment_name).removesuffix(f"_{present}") + f"_{rule}"
    if not re.fullmatch(r"[\w.-]+", name):
        # Hydra's own quotes.
        name = "'" + name.replace("'", "\\'") + "'"
    changed = [f"p={rule}", f"trainer.experiment_name={name}"]
    return same_command(arguments, without=_OF_ONE_RUN, plus=changed)


if __name__ == "__main__":
    main()
