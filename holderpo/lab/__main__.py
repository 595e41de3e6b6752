"""The laboratory's commands: ``python -m holderpo.lab run|sweep|report``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from holderpo.bootstrap import NUM_RESAMPLES
from holderpo.lab.lab_sweep import run_cells
from holderpo.lab.protocol import read_protocol, read_sections
from holderpo.lab.settings import ArmSettings, Cell, Regime, from_mapping
from holderpo.lab.training import run_cell
from holderpo.studies.arms import Bootstrap

PROTOCOL = Path("docs/study/protocol.yaml")
RESULTS = Path("docs/study/results.jsonl")
MODELS = Path("data/lab")
REPORT = Path("docs/study")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        arguments: in place of the process's own.

    Returns:
        The exit status: 2 for settings that cannot be run.
    """
    parser = argparse.ArgumentParser(prog="python -m holderpo.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_run, _add_sweep, _add_report):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        options.do(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("run", help="one run, round by round on the screen")
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    parser.add_argument("--task", default="columns", help="of the protocol, or a dotted name")
    parser.add_argument("--regime", default="middle", help="of the protocol (default: middle)")
    parser.add_argument("--arm", default="linear", help="of the protocol (default: linear)")
    parser.add_argument("--p", help="in place of the arm's: YAML, '{_target_: dotted.Name, ...}'")
    parser.add_argument("--clip", type=float, help="in place of the arm's, both distances from 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-seed", type=int, default=0)
    parser.add_argument("--models", type=Path, default=MODELS, help=f"(default: {MODELS})")
    parser.add_argument("--device", default="cpu", help="of torch (default: cpu)")
    parser.set_defaults(do=_run)


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    text = read_sections(options.protocol)
    task = text["tasks"].get(options.task, {"_target_": options.task})
    arm = {"name": options.arm, **_named(text["arms"], options.arm, "--arm")}
    if options.p is not None:
        arm["p"] = yaml.safe_load(options.p)
    if options.clip is not None:
        arm |= {"clip_low": options.clip, "clip_high": options.clip}
    regime = {"name": options.regime, **_named(text["regimes"], options.regime, "--regime")}
    cell = Cell(
        task=task,
        regime=from_mapping(Regime, regime, "regime"),
        arm=from_mapping(ArmSettings, arm, "arm"),
        seed=options.seed,
        model_seed=options.model_seed,
    )
    record = run_cell(cell, options.models, device=options.device, on_round=_show)
    print(f"held-out   {record.held_out_before:.3f} -> {record.held_out_after:.3f}")
    print(f"time       {record.seconds:.1f} s")


def _named(known: Mapping[str, Mapping[str, Any]], name: str, option: str) -> Mapping[str, Any]:
    if name not in known:
        raise ValueError(f"{option}: {name!r}; give one of {', '.join(known)}")
    return known[name]


def _show(number: int, numbers: Mapping[str, float]) -> None:
    shown = {"reward": "reward {:.3f}", "ess_frac": "ess {:.3f}", "clip_frac": "clipped {:.3f}"}
    shown |= {"log_ratio_min": "ratio min {:+.2f}", "log_ratio_max": "max {:+.2f}"}
    shown |= {"grad_norm": "grad {:.2f}"}
    parts = [text.format(numbers[name]) for name, text in shown.items() if name in numbers]
    orders = [f"{v:+.2f}" for name, v in numbers.items() if name.split("_")[0] == "p"]
    print(f"round {number:4d} | p {' '.join(orders) or '-'} | {' | '.join(parts)}", flush=True)


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("sweep", help="the runs of a protocol that are not yet made")
    parser.add_argument("--protocol", type=Path, default=PROTOCOL, help=f"(default: {PROTOCOL})")
    parser.add_argument("--parts", nargs="+", help="of the protocol (default: all, in order)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"(default: {RESULTS})")
    parser.add_argument("--models", type=Path, default=MODELS, help=f"(default: {MODELS})")
    parser.add_argument("--processes", type=int, default=2, help="runs at once (default: 2)")
    parser.add_argument("--device", default="cpu", help="of torch (default: cpu)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs")
    parser.set_defaults(do=_sweep)


def _sweep(options: argparse.Namespace) -> None:
    protocol = read_protocol(options.protocol)
    names = options.parts or list(protocol.parts)
    if unknown := [name for name in names if name not in protocol.parts]:
        raise ValueError(f"--parts: {unknown[0]!r}; give any of {', '.join(protocol.parts)}")
    for name in names:
        cells = protocol.parts[name]
        print(f"part {name}: {len(cells)} runs; {protocol.questions[name]}", flush=True)
        if options.dry_run:
            for cell in cells:
                print(
                    f"  {cell.regime.name:10} {cell.arm.name:24} seed {cell.seed}.{cell.model_seed}"
                )
            continue
        run_cells(
            name,
            cells,
            out=options.out,
            models=options.models,
            num_processes=options.processes,
            device=options.device,
        )


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="tables and pictures of the runs that are made")
    parser.add_argument("--protocol", type=Path, default=PROTOCOL, help=f"(default: {PROTOCOL})")
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[RESULTS], help=f"(default: {RESULTS})"
    )
    parser.add_argument("--out", type=Path, default=REPORT, help=f"folder (default: {REPORT})")
    parser.add_argument(
        "--resamples",
        type=int,
        default=NUM_RESAMPLES,
        help="of the bootstrap (default: %(default)s)",
    )
    parser.set_defaults(do=_report)


def _report(options: argparse.Namespace) -> None:
    # The other commands draw nothing.
    from holderpo.lab.lab_report import make_report

    torch.set_num_threads(1)
    bootstrap = Bootstrap(options.resamples)
    for line in make_report(options.protocol, options.results, options.out, bootstrap):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
