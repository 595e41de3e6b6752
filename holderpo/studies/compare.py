"""Compare the arms of a study over seeds: tables, differences, collapses, learning curves.

python -m holderpo.studies.compare RUN_DIR... [--sweep DIR] [--baseline ARM] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from holderpo.studies.arms import Bootstrap, CollapseRule
from holderpo.studies.comparison_tables import print_study, to_json, to_markdown
from holderpo.studies.curves import BAND_WORDS, Band, Curve, draw_curves, make_curve
from holderpo.studies.study import Study, StudySettings, make_study, read_sources
from holderpo.studies.windows import parse_window


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, compare, show and write.

    Args:
        arguments: of the command line.

    Returns:
        The exit status: 0; 1 if something given was left out; 2 if nothing could be compared.
    """
    options = make_parser().parse_args(arguments)
    try:
        settings = settings_of(options)
        if not options.runs and options.sweep is None:
            raise ValueError("no runs; give run folders, a results file, or --sweep DIR")
        study = make_study(read_sources(options.runs, options.sweep), settings)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    written: list[str] = []
    try:
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            written, more_notes = draw(study, options.out, options.band)
            study = study._replace(notes=[*study.notes, *more_notes])
            write_tables(study, options.out)
    except OSError as error:
        print(f"error: --out: {error}; give a folder that can be written", file=sys.stderr)
        return 2
    console = Console()
    print_study(study, console)
    if options.out is not None:
        names = ", ".join(["comparison.md", "comparison.json", *written])
        console.print(f"written: {names} in {options.out}", highlight=False, soft_wrap=True)
    return 1 if study.problems else 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m holderpo.studies.compare",
        description="Compare arms over seeds. Exit status 1: something given was left out.",
    )
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUN", help="run folders, or results files (JSONL)")
    add("--sweep", type=Path, help="folder with run folders somewhere below")
    add("--baseline", metavar="ARM", help="arm that the others are compared with, seed by seed")
    defaults = StudySettings()
    add("--metric", default=defaults.metric, help="default: %(default)s")
    add(
        "--steps",
        default=",".join(window.name for window in defaults.windows),
        help="steps that the metric is averaged over, joined by commas (default: %(default)s)",
    )
    add("--out", type=Path, help="folder for comparison.md, .json, curves.png and .svg")
    add("--band", choices=list(BAND_WORDS), default="range", help="shaded around the curves")
    add(
        "--unfinished",
        choices=("exclude", "include"),
        default="exclude",
        help="whether unfinished runs count (default: %(default)s; they are listed either way)",
    )
    rule, bootstrap = defaults.rule, defaults.bootstrap
    add("--collapse-window", type=int, default=rule.size, help="steps (default: %(default)s)")
    add(
        "--collapse-fraction",
        type=float,
        default=rule.fraction,
        help="of the best mean before (default: %(default)s)",
    )
    add("--resamples", type=int, default=bootstrap.num_resamples, help="default: %(default)s")
    add("--bootstrap-seed", type=int, default=bootstrap.seed, help="default: %(default)s")
    return parser


def settings_of(options: argparse.Namespace) -> StudySettings:
    """The settings in a parsed command line.

    Raises:
        ValueError: naming the option, what it has, and what is allowed.
    """
    windows = dict.fromkeys(parse_window(text.strip()) for text in options.steps.split(","))
    return StudySettings(
        metric=options.metric,
        windows=tuple(windows),
        baseline=options.baseline,
        include_unfinished=options.unfinished == "include",
        bootstrap=Bootstrap(options.resamples, options.bootstrap_seed),
        rule=CollapseRule(options.collapse_window, options.collapse_fraction),
    )


def draw(study: Study, folder: Path, band: Band) -> tuple[list[str], list[str]]:
    """The pictures.

    Args:
        study: to show.
        folder: for the files; must exist.
        band: what is shaded.

    Returns:
        Names of the files, and what a reader should know about the curves.
    """
    settings, notes = study.settings, list[str]()
    curves: list[Curve] = []
    for arm in study.arms:
        curve = make_curve(arm, band, settings.bootstrap)
        if curve is None:
            notes.append(f"{arm.name}: no curve; results files have none")
            continue
        curves.append(curve)
        if curve.num_left_out:
            notes.append(
                f"{arm.name}: {curve.num_left_out} of the steps are not in the curve, as not all "
                "seeds have them"
            )
        if curve.num_seeds < len(arm.runs):
            notes.append(f"{arm.name}: {curve.num_seeds} of {len(arm.runs)} runs are in the curve")
    if not curves:
        return [], notes
    names = ["curves.png", "curves.svg"]
    draw_curves(
        curves,
        [folder / name for name in names],
        metric=settings.metric,
        band=band,
        baseline=settings.baseline,
    )
    return names, notes


def write_tables(study: Study, folder: Path) -> None:
    """The report as Markdown and JSON, into a folder that exists."""
    (folder / "comparison.md").write_text(to_markdown(study), encoding="utf-8")
    text = json.dumps(to_json(study), indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "comparison.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
