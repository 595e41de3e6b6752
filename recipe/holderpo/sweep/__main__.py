"""Many runs, one after the other: method x order x seed, resumable.

    python -m recipe.holderpo.sweep --methods grpo linear --orders -2 2 --seeds 0 1 2 [overrides]

A run is its own process with its own folder ``<out>/<arm>/seed_<seed>``. Runs that are finished are
skipped and one that was cut off goes on from its checkpoint, so the same command finishes what is
left. A run that fails does not end the sweep. Each finished one appends a line to
``<out>/results.jsonl``; read them with ``python -m holderpo.studies.compare --sweep <out>``.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from holderpo.studies.results import append_result, installed_versions
from holderpo.studies.runs import read_run
from recipe.holderpo.checks.resume import plan_start
from recipe.holderpo.checks.settings import make_controller
from recipe.holderpo.checks.versions import current_commit
from recipe.holderpo.main import LOG_FILE, config_dir
from recipe.holderpo.run.run_folder import HELD_BY_SWEEP, move_aside
from recipe.holderpo.sweep.shared_ray import SHARED, ray_for_runs, taken_here
from recipe.holderpo.sweep.sweep_run import (
    PlannedRun,
    check_note,
    finish_what_was_trained,
    is_finished,
    locked,
    run_command,
    run_overrides,
    run_to_its_end,
    write_note,
)

RESULTS_FILE = "results.jsonl"
# The method whose order --orders sets.
STATIC = "static"
SET_BY_THE_SWEEP = {
    "seed": "give --seeds",
    "run_dir": "give --out",
    "check": "give --dry-run",
    "trainer.experiment_name": "it is the arm's name",
    "trainer.resume_mode": "a run goes on where it was cut off",
}
_OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_][\w.@/]*=.*", re.DOTALL)


def plan_runs(arguments: argparse.Namespace) -> list[PlannedRun]:
    """Every run of the sweep, seed by seed, so that an interrupted sweep has whole pairs.

    Args:
        arguments: of the command line.

    Returns:
        The runs.

    Raises:
        ValueError: if there is none, or two arms have one name.
    """
    arms: list[tuple[str, str, float | None, list[str]]] = [
        (method, method, None, [f"+method={method}"]) for method in arguments.methods
    ]
    arms += [
        (f"{STATIC}_p{p:g}", STATIC, p, [f"+method={STATIC}", f"p.value={p}"])
        for p in arguments.orders
    ]
    for text in arguments.arm:
        name, equals, overrides = text.partition(":")
        if not equals or not name.strip() or not overrides.strip():
            raise ValueError(f"--arm: {text!r}; give NAME: OVERRIDE OVERRIDE ...")
        try:
            arms.append((name.strip(), name.strip(), None, shlex.split(overrides)))
        except ValueError as error:
            raise ValueError(f"--arm: {text!r}: {error}") from error
    names = [arm[0] for arm in arms]
    if not names:
        raise ValueError("nothing to run; give --methods, --orders or --arm")
    if len(set(names)) < len(names):
        raise ValueError(f"two arms have one name: {sorted(names)}; name each once")
    for name in names:
        if not re.fullmatch(r"[A-Za-z][\w.+-]*", name):
            raise ValueError(
                f"{name!r} names a folder; give a letter, then letters, digits, '.', '_', '+', '-'"
            )
    for text in arguments.overrides:
        key = text.partition("=")[0].lstrip("+")
        if key in SET_BY_THE_SWEEP:
            raise ValueError(f"{text}: set by the sweep; {SET_BY_THE_SWEEP[key]}")
    return [
        PlannedRun(arguments.config, name, method, p, seed, (*overrides, *arguments.overrides))
        for seed in arguments.seeds
        for name, method, p, overrides in arms
    ]


def check_runs(runs: Sequence[PlannedRun], out: Path) -> None:
    """Find what is wrong with a sweep before it has taken hours.

    Raises:
        ValueError: if an arm cannot be composed or has no valid p, or a folder holds a run with
            other settings.
    """
    for run in runs:
        check_note(run, run.folder(out))
    for run in {run.arm: run for run in runs}.values():
        config = _compose(run)
        try:
            make_controller(config)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{run.arm}: {error}") from error


def _compose(run: PlannedRun, overrides: Sequence[str] | None = None) -> DictConfig:
    """A run's configuration; by default without its places."""
    overrides = [*run.overrides, f"seed={run.seed}"] if overrides is None else overrides
    try:
        with initialize_config_dir(str(config_dir()), version_base=None):
            return compose(run.config, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        # Hydra adds where it has looked.
        reason = str(error).partition("\nConfig search path")[0].strip()
        raise ValueError(f"{run.arm}: cannot be composed: {reason}") from error


def _command(run: PlannedRun, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """A run's command; one that connects to a Ray on this machine cannot know that it is here."""
    command = run_command(run, folder)
    if arguments.ray == SHARED:
        command += [f"++{name}={value}" for name, value in taken_here(_compose(run)).items()]
    return command


def do_run(run: PlannedRun, arguments: argparse.Namespace, address: str | None) -> str:
    """Run to the end; returns ``skipped``, ``done`` or what went wrong."""
    folder = run.folder(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock:
        if lock is None:
            return f"not done: another process is at work in {folder}"
        already = is_finished(folder)
        try:
            if not already and (moved := _moved_aside(run, folder)):
                # Here, so that the new run has a folder with a lock and a note of its own.
                for path in moved:
                    print(f"earlier    kept aside, as {move_aside(path)}", flush=True)
                return do_run(run, arguments, address)
        except ValueError as error:
            return f"failed: {error}"
        problem = None if is_finished(folder) else _train(run, arguments, address, folder, lock)
    if problem is not None:
        return problem
    try:
        # Also of a skipped run: the sweep may have been cut off just before.
        append_result(
            arguments.out / RESULTS_FILE,
            read_run(folder),
            versions=installed_versions(),
            commit=current_commit(),
        )
    except ValueError as error:
        return f"not recorded: {error}"
    return "skipped" if already else "done"


def _moved_aside(run: PlannedRun, folder: Path) -> tuple[Path, ...]:
    """Folders of an unfinished run that cannot go on; its report is made if that alone is missing.

    Raises:
        ValueError: if the run cannot be composed, or its report not be made.
    """
    if not finish_what_was_trained(folder):
        return (folder,)
    if is_finished(folder):
        return ()
    # What is wrong with a checkpoint is for the run itself to say.
    start, _ = plan_start(_compose(run, run_overrides(run, folder)), None)
    return start.moved_aside


def _train(
    run: PlannedRun, arguments: argparse.Namespace, address: str | None, folder: Path, lock: int
) -> str | None:
    """Train what is left of a run; returns what went wrong."""
    if arguments.prepare:
        command = shlex.split(arguments.prepare.replace("{seed}", str(run.seed)))
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"failed: --prepare: {error}"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if address is not None:
        environment["RAY_ADDRESS"] = address
    environment[HELD_BY_SWEEP] = "1"
    try:
        command = _command(run, arguments, folder)
    except ValueError as error:
        return f"failed: {error}"
    write_note(run, folder, current_commit())
    status = run_to_its_end(command, environment, lock)
    return f"failed with status {status}, see {folder / LOG_FILE}" if status else None


def parse_arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what is no option is a Hydra override of every run."""
    parser = argparse.ArgumentParser(
        prog="python -m recipe.holderpo.sweep",
        description="Runs one after the other: method x order x seed. The same command goes on "
        "where it was cut off.",
        epilog="Everything else is a Hydra override of every run.",
    )
    add = parser.add_argument
    add("--config", default="demo", help="experiment in configs/ (default: %(default)s)")
    add("--methods", nargs="+", default=[], help="files in configs/method")
    add("--orders", nargs="+", type=float, default=[], help="orders of the method 'static'")
    add("--arm", action="append", default=[], help="'NAME: OVERRIDE ...', any other arm")
    add("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    add("--out", type=Path, default=Path("outputs/sweep"), help="default: %(default)s")
    add("--prepare", help="command before each run; {seed} stands for its seed")
    add(
        "--ray",
        default=SHARED,
        help="shared: one Ray instance for all runs; own: each its own; or an address of a cluster "
        "(default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="print the commands of what is left and stop")
    # Taken out first: after an option with several values they would be some of them.
    words = list(sys.argv[1:] if command_line is None else command_line)
    overrides = [word for word in words if _OVERRIDE.fullmatch(word)]
    arguments = parser.parse_args([word for word in words if word not in overrides])
    arguments.overrides = overrides
    return arguments


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """A sweep that is told to end, or whose terminal closes, ends its run first."""
    # A signal that is ignored stays so: nohup.
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def main(command_line: Sequence[str] | None = None) -> int:
    """Run what is left; returns 0, 1 if a run failed, 2 for bad input, 130 after an interrupt."""
    arguments = parse_arguments(command_line)
    failed = []
    try:
        runs = plan_runs(arguments)
        check_runs(runs, arguments.out)
        if arguments.dry_run:
            for run in runs:
                folder = run.folder(arguments.out)
                if not is_finished(folder):
                    print(shlex.join(run_command(run, folder)))
            return 0
        ray = ray_for_runs(arguments.ray, partial(_compose, runs[0]))
        with interrupted_by_signals(), ray as address:
            for number, run in enumerate(runs, start=1):
                print(f"== {number} of {len(runs)}: {run.arm}, seed {run.seed}", flush=True)
                began = time.monotonic()
                outcome = do_run(run, arguments, address)
                print(f"== {outcome}, {time.monotonic() - began:.0f} s", flush=True)
                if outcome not in ("done", "skipped"):
                    failed.append(f"{run.arm}, seed {run.seed}: {outcome}")
    except ValueError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print("\n".join([f"{len(runs) - len(failed)} of {len(runs)} runs are finished", *failed]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
