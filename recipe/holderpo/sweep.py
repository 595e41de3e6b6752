"""Many runs, one after the other: method x order x seed, resumable.

    python -m recipe.holderpo.sweep --methods grpo linear --orders -2 2 --seeds 0 1 2 [overrides]

A run is its own process with its own folder ``<out>/<arm>/seed_<seed>``. Runs that are finished are
skipped and one that was cut off goes on from its checkpoint, so the same command finishes what is
left. Each finished run appends a line to ``<out>/results.jsonl``; read them with
``python -m holderpo.evaluation.compare --sweep <out>``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir

from holderpo.evaluation.results import append_result, installed_versions
from holderpo.evaluation.run_files import SUMMARY_FILE, SWEEP_FILE
from holderpo.evaluation.runs import read_run
from recipe.holderpo.launch import OF_A_NEW_RAY
from recipe.holderpo.main import config_dir
from recipe.holderpo.settings import plain

RESULTS_FILE = "results.jsonl"
# The method whose order --orders sets.
STATIC = "static"


@dataclass(frozen=True)
class PlannedRun:
    """One run of the sweep."""

    arm: str
    """What is compared: runs of one arm differ in their seed only."""
    method: str
    """Name of the file in configs/method, or of the arm where it was given by hand."""
    p: float | None
    """Order, where --orders set it."""
    seed: int
    """Of the run."""
    overrides: tuple[str, ...]
    """Hydra overrides that make the arm, and those of the whole sweep."""

    def folder(self, out: Path) -> Path:
        """Where the run leaves everything."""
        return out / self.arm / f"seed_{self.seed}"


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
        arms.append((name.strip(), name.strip(), None, shlex.split(overrides)))
    names = [arm[0] for arm in arms]
    if not names:
        raise ValueError("nothing to run; give --methods, --orders or --arm")
    if len(set(names)) < len(names):
        raise ValueError(f"two arms have one name: {sorted(names)}; name each once")
    return [
        PlannedRun(name, method, p, seed, (*overrides, *arguments.overrides))
        for seed in arguments.seeds
        for name, method, p, overrides in arms
    ]


def is_finished(run: PlannedRun, folder: Path) -> bool:
    """Whether the run has been done; its note is written first, and must be of the same settings.

    Raises:
        ValueError: if the folder holds a run with other settings.
    """
    path = folder / SWEEP_FILE
    note = json.loads(json.dumps(asdict(run)))
    if path.exists() and json.loads(path.read_text()) != note:
        raise ValueError(
            f"{folder}: holds a run with other settings than this sweep's; give another --out, or "
            "move that folder away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(note, indent=2) + "\n")
    os.replace(unfinished, path)
    return (folder / SUMMARY_FILE).exists()


def run_command(run: PlannedRun, config: str, folder: Path) -> list[str]:
    """The command line of one run."""
    return [
        *[sys.executable, "-m", "recipe.holderpo.main", f"--config-name={config}"],
        *run.overrides,
        f"seed={run.seed}",
        f"run_dir={folder}",
        f"trainer.experiment_name={run.arm}",
        "trainer.resume_mode=auto",
    ]


@contextmanager
def ray_address(arguments: argparse.Namespace, first: PlannedRun) -> Iterator[str | None]:
    """The Ray instance the runs connect to; None where each starts its own.

    A shared one gets the resources that the first run's configuration would give its own.
    """
    if arguments.ray == "own":
        yield None
    elif arguments.ray == "shared":
        import ray

        with initialize_config_dir(str(config_dir()), version_base=None):
            config = compose(arguments.config, [*first.overrides, f"seed={first.seed}"])
        settings = plain(config.ray_kwargs.ray_init)
        # The instance lives as long as this process and ends with it.
        ray.init(log_to_driver=False, **{k: settings[k] for k in OF_A_NEW_RAY if k in settings})
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()
    else:
        yield arguments.ray


def do_run(run: PlannedRun, arguments: argparse.Namespace, address: str | None) -> str:
    """Run to the end; returns ``skipped``, ``done`` or what went wrong."""
    folder = run.folder(arguments.out)
    already = is_finished(run, folder)
    if not already:
        environment = os.environ | ({} if address is None else {"RAY_ADDRESS": address})
        if arguments.prepare:
            subprocess.run(
                shlex.split(arguments.prepare.replace("{seed}", str(run.seed))), check=True
            )
        command = run_command(run, arguments.config, folder)
        status = subprocess.run(command, env=environment).returncode
        if status != 0:
            return f"failed with status {status}, see {folder / 'run.log'}"
    # Also of a skipped run: the sweep may have been cut off just before.
    append_result(
        arguments.out / RESULTS_FILE,
        read_run(folder),
        versions=installed_versions(),
        commit=current_commit(),
    )
    return "skipped" if already else "done"


def current_commit() -> str | None:
    """Commit of the checkout this file is in, with ``-dirty`` if it has changed; None elsewhere."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None if found.returncode == 0 else None


def parse_arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what is no option is a Hydra override of every run."""
    parser = argparse.ArgumentParser(
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
        default="shared",
        help="shared: one Ray instance for all runs; own: each its own; or an address of a cluster "
        "(default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="print the commands of what is left and stop")
    arguments, overrides = parser.parse_known_args(command_line)
    wrong = [text for text in overrides if text.startswith("--") or "=" not in text]
    if wrong:
        parser.error(f"{wrong[0]!r} is neither an option nor an override (key=value)")
    arguments.overrides = overrides
    return arguments


def main(command_line: Sequence[str] | None = None) -> int:
    """Run what is left; returns 0, 1 if a run failed, 2 for bad input, 130 after an interrupt."""
    arguments = parse_arguments(command_line)
    failed = []
    try:
        runs = plan_runs(arguments)
        if arguments.dry_run:
            for run in runs:
                folder = run.folder(arguments.out)
                if not (folder / SUMMARY_FILE).exists():
                    print(shlex.join(run_command(run, arguments.config, folder)))
            return 0
        with ray_address(arguments, runs[0]) as address:
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
