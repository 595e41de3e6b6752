"""``python -m holderpo.studies.plot_order``: a schedule of p, or what a run used, as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holderpo.control.schedule import WHOLE_RUN, Annealing, Constant, Schedule
from holderpo.metrics import ESS_FRAC, PREFIX, REWARD_MEAN, P
from holderpo.studies.diagrams import ENDINGS, Diagram, draw_diagrams
from holderpo.studies.run_files import METRICS_FILE, read_rows

Rows = Sequence[Mapping[str, float]]


def draw_schedule(schedule: Schedule, num_rounds: int, path: Path, *, title: str) -> None:
    """Draw p over the rounds of a run.

    Args:
        schedule: of p.
        num_rounds: rollout rounds of the run.
        path: picture file; its ending chooses the format.
        title: above the picture.
    """
    rows = [{"step": step, P: schedule.at(step)} for step in range(num_rounds)]
    draw_diagrams(rows, [Diagram("order p", {P: "p"})], path, title=title)


def draw_run(rows: Rows, path: Path, *, title: str) -> None:
    """Draw the order a run has used beside its sampled reward and its effective tokens.

    Args:
        rows: one mapping per step, as in ``metrics.jsonl``.
        path: picture file; its ending chooses the format.
        title: above the picture.

    Raises:
        ValueError: if no row has an order.
    """
    names = {name for row in rows for name in row}
    orders = sorted(name for name in names if name == P or name.startswith(P + "_"))
    if not orders:
        raise ValueError(f"no step has {P}; give the metrics of a run with the Hölder loss")
    diagrams = [
        Diagram("order p", {name: name.removeprefix(PREFIX) for name in orders}),
        Diagram("sampled reward, mean", {REWARD_MEAN: "reward"}),
        Diagram("ESS, fraction of a response's tokens", {ESS_FRAC: "ESS"}),
    ]
    shown = [diagram for diagram in diagrams if names & set(diagram.curves)]
    draw_diagrams([row for row in rows if _is_drawn(row, shown)], shown, path, title=title)


def _is_drawn(row: Mapping[str, float], diagrams: Sequence[Diagram]) -> bool:
    return any(name in row for diagram in diagrams for name in diagram.curves)


def read_run(run: Path) -> Rows:
    """The steps of a run; what cannot be read is left out, and said in an error if nothing is left.

    Args:
        run: its folder, or its ``metrics.jsonl``.

    Returns:
        One mapping per step.

    Raises:
        ValueError: if there is no such file, or no step in it.
    """
    path = run / METRICS_FILE if run.is_dir() else run
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a run's folder or its {METRICS_FILE}")
    notes: list[str] = []
    rows = read_rows(path, notes)
    if not rows:
        raise ValueError("; ".join([f"{path}: no step in it, give a run's {METRICS_FILE}", *notes]))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        arguments: without the program's name; the process's own by default.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out.suffix not in ENDINGS:
        parser.error(f"--out: {options.out}; give a file ending in {' or '.join(ENDINGS)}")
    settings = {name: getattr(options, name) for name in _FIELDS if hasattr(options, name)}
    try:
        if options.run is not None:
            if settings:
                raise ValueError(f"--run draws what a run has used; leave out {sorted(settings)}")
            draw_run(read_run(options.run), options.out, title=str(options.run))
        else:
            if options.rounds < 1:
                raise ValueError(f"--rounds: {options.rounds}; give a number above 0")
            schedule = _schedule(settings, options.rounds)
            draw_schedule(schedule, options.rounds, options.out, title=_title(settings))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(options.out)


def _schedule(settings: Mapping[str, Any], num_rounds: int) -> Schedule:
    if "value" in settings:
        if len(settings) > 1:
            raise ValueError(
                f"--value is constant; leave out {sorted(settings.keys() - {'value'})}"
            )
        return Constant(**settings)
    missing = [name for name in ("start", "end") if name not in settings]
    if missing:
        raise ValueError(f"--{missing[0]}: missing; give --start and --end, or --value")
    try:
        return Annealing(**settings).for_run(num_rounds)
    except ValueError as error:
        field, _, reason = str(error).partition(":")
        raise ValueError(f"--{field.replace('_', '-')}:{reason}") from error


def _steps(text: str) -> int | str:
    return text if text == WHOLE_RUN else int(text)


_steps.__name__ = f"number of rounds or '{WHOLE_RUN}'"  # argparse puts it into its error

_FIELDS: Mapping[str, Any] = {
    "value": float,
    "shape": str,
    "start": float,
    "end": float,
    "steps": _steps,
    "exponent": float,
    "warm_up_steps": int,
    "warm_up_from": float,
    "hold_steps": int,
    "after": float,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m holderpo.studies.plot_order",
        usage="%(prog)s [--run RUN | --value P | --start P --end P --shape SHAPE ...] --out OUT",
        description="Draw a schedule (options named as the settings under `p`), or with --run "
        "what a run has used.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--out", type=Path, required=True, help="picture, .png or .svg")
    parser.add_argument(
        "--run", type=Path, default=None, help="a run's folder, or its metrics.jsonl"
    )
    parser.add_argument("--rounds", type=int, default=100, help="rollout rounds of the run (100)")
    for name, convert in _FIELDS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=convert, metavar=name.upper())
    return parser


def _title(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


if __name__ == "__main__":
    main()
