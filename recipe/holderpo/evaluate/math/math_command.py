r"""Evaluate a model on benchmarks of mathematics.

    python -m recipe.holderpo.evaluate math --model <folder, hub name, run or checkpoint> \
        --panel table2 --out outputs/evaluate/mine

Answers come from vLLM and go, graded, to ``<out>/<set>.jsonl`` one by one; the same command goes on
where it was cut off. The table is in ``<out>/report.md`` and on the screen, the numbers are in
``<out>/summary.json``. Data: ``python -m data_prep.<set>``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.console

from holderpo.benchmarks.panels import PANELS, SETS
from holderpo.benchmarks.records import read_records
from holderpo.benchmarks.score_tables import print_report, to_json, to_markdown
from holderpo.benchmarks.scores import PanelResult, SetResult, average_panel, score_set
from holderpo.records_folder import remove_cut_off_line, write_settings
from holderpo.studies.results import installed_versions
from holderpo.whole_files import write_whole
from recipe.holderpo.evaluate.engine_options import add_engine_options
from recipe.holderpo.evaluate.evaluation_folder import (
    LOG_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    PlanError,
    exit_status,
    locked,
    told_on,
)
from recipe.holderpo.evaluate.math.answers import Records, make_answers, records_path, regrade
from recipe.holderpo.evaluate.math.evaluation_plan import (
    GRADE,
    ZERO,
    Answer,
    EvaluationPlan,
    check_settings,
    make_plan,
)
from recipe.holderpo.run.console import Console

# Until all answers are: scores of two rules would be mixed after an interruption.
_UNFINISHED = "unknown until --regrade is finished"


def parse_arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m recipe.holderpo.evaluate math",
        description="Evaluate a model on benchmarks of mathematics. The same command goes on where "
        "it was cut off.",
    )
    add = parser.add_argument
    add("--model", required=True, help="Hugging Face folder, hub name, or run or checkpoint folder")
    add("--revision", help="of the hub")
    add("--panel", nargs="+", default=[], help=f"sets of a table: {', '.join(PANELS)}")
    add("--sets", nargs="+", default=[], help=f"further sets, greedy: {', '.join(SETS)}")
    add("--data", type=Path, default=Path("data"), help="folder of the sets (default: data)")
    add("--out", type=Path, required=True, help="folder for everything")
    add("--seeds", nargs="+", type=int, default=[0], help="of sampled answers (default: 0)")
    add("--max-tokens", type=int, help="longest answer (default: 3000)")
    add(
        "--sampling",
        nargs="+",
        action="append",
        default=[],
        metavar=("SET", "KEY=VALUE"),
        help="change a set, or all: temperature, top_p, samples, k (of pass@k, as 1,8), max_tokens",
    )
    add("--limit", type=int, help="only the first problems of each set")
    add(
        "--truncated",
        choices=[ZERO, GRADE],
        default=ZERO,
        help="what a cut off answer is worth: zero, as in training, or what the grader says",
    )
    add("--regrade", action="store_true", help="grade the answers that are there anew")
    add_engine_options(parser, length="the model's positions", at_a_time="answers at a time")
    add("--check", action="store_true", help="check, say what would be done, and stop")
    return parser.parse_args(command_line)


def main(command_line: Sequence[str] | None = None) -> int:
    """Evaluate; returns 0, 1 after a failure, 2 for bad input, 130 after an interrupt."""
    arguments = parse_arguments(command_line)
    return exit_status(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Check everything and evaluate.

    Args:
        arguments: of the command line.

    Returns:
        The exit status.

    Raises:
        PlanError: for bad input.
    """
    began = time.monotonic()
    plan = make_plan(arguments)
    if arguments.check:
        announce(plan, read_all(plan))
        return 0
    with locked(arguments.out):
        if plan.model.actor is not None:
            print(f"exporting {plan.model.actor} to {plan.model.path}", flush=True)
            plan.model.export()
            check_settings(plan)
        return evaluate(plan, began)


def read_all(plan: EvaluationPlan) -> Records:
    """The answers that are there, by set.

    Args:
        plan: of the evaluation.

    Returns:
        All records of the plan's sets, also those that are not wanted now.

    Raises:
        PlanError: for broken files, all of them.
    """
    records, problems = {}, []
    for name in plan.samplings:
        try:
            records[name] = read_records(records_path(plan, name))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise PlanError(problems)
    return records


def missing(plan: EvaluationPlan, records: Records) -> list[Answer]:
    """The answers still to be made, in order."""
    return [
        answer
        for name in plan.samplings
        for answer in plan.answers(name)
        if answer.key not in records[name]
    ]


def announce(plan: EvaluationPlan, records: Records) -> None:
    """Print what will be done."""
    wanted = sum(sum(1 for _ in plan.answers(name)) for name in plan.samplings)
    left = len(missing(plan, records))
    print(f"model      {plan.model.path}, {plan.dtype} on {plan.device}")
    for name, sampling in plan.samplings.items():
        print(f"set        {name}: {len(plan.problems(name))} problems, {sampling}")
    print(f"answers    {wanted}, of which {wanted - left} are there")
    print(f"output     {plan.arguments.out}")
    for note in plan.notes:
        print(f"note       {note}")
    sys.stdout.flush()


def evaluate(plan: EvaluationPlan, began: float) -> int:
    """Make the missing answers and the report.

    Args:
        plan: checked, its folder locked.
        began: when this command did, by ``time.monotonic``.

    Returns:
        The exit status.
    """
    for name in plan.samplings:
        remove_cut_off_line(records_path(plan, name))
    records = read_all(plan)
    if plan.arguments.regrade:
        settings = plan.settings()
        for of_set in settings["sets"].values():
            of_set["truncated"] = _UNFINISHED
        write_settings(plan.arguments.out, settings, growing="sets")
        regrade(plan, records)
    write_settings(plan.arguments.out, plan.settings(), growing="sets")
    announce(plan, records)
    console = Console(plan.arguments.out / LOG_FILE)

    def work() -> int:
        if answers := missing(plan, records):
            make_answers(plan, answers, records, console)
        report(plan, records, console, began)
        return 0

    return told_on(console, work)


def report(plan: EvaluationPlan, records: Records, console: Console, began: float) -> None:
    """Write the table and the numbers.

    Args:
        plan: of the evaluation.
        records: with every answer that is wanted.
        console: for the table.
        began: when this command did, by ``time.monotonic``.
    """
    results: list[SetResult] = []
    for name, sampling in plan.samplings.items():
        wanted = [records[name][answer.key] for answer in plan.answers(name)]
        suspects = plan.benchmarks[name].suspects
        results += score_set(name, sampling, wanted, suspects=suspects)
    panels = [average_panel(PANELS[name], results) for name in dict.fromkeys(plan.arguments.panel)]
    out = plan.arguments.out
    write_whole(out / REPORT_FILE, to_markdown(plan.model.path, results, panels, plan.notes))
    summary = summarize(plan, results, panels) | {"seconds": round(time.monotonic() - began, 1)}
    write_whole(out / SUMMARY_FILE, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    print_report(rich.console.Console(file=console.screen), results, panels, plan.notes)
    console.say(f"table      {out / REPORT_FILE}\nnumbers    {out / SUMMARY_FILE}")


def summarize(
    plan: EvaluationPlan, results: Sequence[SetResult], panels: Sequence[PanelResult]
) -> dict[str, Any]:
    """All numbers with what they were made of."""
    from recipe.holderpo.checks.versions import current_commit

    return {
        **to_json(results, panels),
        "notes": plan.notes,
        "settings": plan.settings(),
        "limit": plan.arguments.limit,
        "versions": installed_versions(),
        "commit": current_commit(),
    }
