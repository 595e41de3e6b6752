r"""Evaluate an agent on a whole panel of ALFWorld's games.

    python -m recipe.holderpo.evaluate alfworld --policy <model, run, checkpoint, random, expert> \
        --split valid_seen --games ~/.cache/alfworld --out outputs/evaluate/seen

Each game is played once in every pass. Episodes go to ``<out>/episodes.jsonl`` one by one, what
was said in them to ``<out>/transcripts.jsonl``; the same command goes on where it was cut off. The
table is in ``<out>/report.md`` and on the screen, the numbers are in ``<out>/summary.json``. With
``--show`` one episode of ``--out`` is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console

from holderpo.alfworld.actions import LEVELS, ActionSettings
from holderpo.alfworld.episode_records import (
    EPISODES_FILE,
    Episodes,
    read_episodes,
    write_episodes,
)
from holderpo.alfworld.games import write_manifest
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.transcripts import TRANSCRIPTS_FILE
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from holderpo.printable import printable
from holderpo.records_folder import remove_cut_off_line, write_settings
from holderpo.whole_files import write_whole
from recipe.holderpo.evaluate.alfworld.model_plan import DEFAULTS, PROMPT_TOKENS
from recipe.holderpo.evaluate.alfworld.panel_plan import (
    PanelPlan,
    check_panel_settings,
    make_panel_plan,
)
from recipe.holderpo.evaluate.alfworld.policies import EXPERT, RANDOM
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
from recipe.holderpo.run.console import Console

MANIFEST_FILE = "manifest.json"


def parse_arguments(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m recipe.holderpo.evaluate alfworld",
        description="Evaluate an agent on a whole panel of ALFWorld's games. The same command goes "
        "on where it was cut off, and plays again what failed in the environment.",
    )
    add = parser.add_argument
    add("--policy", help=f"model: folder, hub name, run or checkpoint; or {RANDOM}, or {EXPERT}")
    add("--revision", help="of the hub")
    add("--split", help="folder of the games: valid_seen, valid_unseen, or any other")
    add("--games", type=Path, help="folder that holds the split's folder anywhere below it")
    add("--out", type=Path, help="folder for everything")
    add("--passes", type=int, default=1, help="times through the games (default: %(default)s)")
    add("--seed", type=int, default=0, help="of everything drawn (default: %(default)s)")
    add("--max-steps", type=int, default=50, help="of an episode (default: %(default)s)")
    add("--limit-games", type=int, help="only the first games; a part, and called so")
    add(
        "--task-types",
        nargs="+",
        default=[],
        metavar="TYPE",
        help=f"only these; a part, and called so: {', '.join(TASK_TYPES.values())}",
    )
    add(
        "--side-by-side",
        type=int,
        default=64,
        help="episodes at a time; changes the time, not the episodes (default: %(default)s)",
    )
    add("--workers", type=int, help="processes with games (default: one for four CPUs, up to 8)")
    _add_model_options(parser.add_argument_group("of a model"))
    add(
        "--against",
        type=Path,
        metavar="DIR",
        help="--out of an earlier evaluation: success there and here in the games of both, and the "
        "difference with its interval",
    )
    add("--check", action="store_true", help="check, say what would be done, and stop")
    add(
        "--show",
        metavar="EPISODE",
        help="print an episode of --out, and stop: its number or path, then @ and the pass if it "
        "is not the first, as 12@2",
    )
    return parser.parse_args(command_line)


def _add_model_options(options: argparse._ArgumentGroup) -> None:
    add = options.add_argument
    add(
        "--temperature",
        type=float,
        help="default: 0, the most likely token each time; the reference validates with 0.4",
    )
    add("--max-tokens", type=int, help=f"of a response (default: {DEFAULTS['max_tokens']})")
    add(
        "--turn-prompt",
        type=Path,
        metavar="FILE",
        help="what it is told in each turn: a file of configs/turn_prompt, or a run's config.yaml "
        "(default: that of the run whose checkpoint --policy is, or the reference's)",
    )
    add(
        "--history-length",
        type=int,
        help="turns that a prompt repeats (default: as --turn-prompt says, or "
        f"{TurnPromptSettings().history_length})",
    )
    add(
        "--strictness",
        choices=LEVELS,
        help="how an action is read from a response (default: as the run's config.yaml says, or "
        f"{ActionSettings().strictness})",
    )
    add(
        "--batch-invariant",
        action=argparse.BooleanOptionalAction,
        help="whether vLLM's answers do not depend on what else is under way: slower, and the same "
        "episodes however many are played at a time (default: on a GPU)",
    )
    add_engine_options(
        options,
        length=f"{PROMPT_TOKENS} and --max-tokens, or the model's positions if these are fewer",
        at_a_time="responses at a time",
    )


def main(command_line: Sequence[str] | None = None) -> int:
    """Evaluate; returns 0, 1 after a failure, 2 for bad input, 130 after an interrupt."""
    arguments = parse_arguments(command_line)
    if arguments.show is not None:
        from recipe.holderpo.evaluate.alfworld.show_episode import show_episode

        return exit_status(lambda: show_episode(arguments.out, arguments.show))
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
    plan = make_panel_plan(arguments)
    if arguments.check:
        announce(plan, read_all(plan))
        return 0
    with locked(arguments.out):
        model = None if plan.model is None else plan.model.model
        if model is not None and model.actor is not None:
            print(f"exporting {model.actor} to {model.path}", flush=True)
            model.export()
            check_panel_settings(plan)
        return evaluate(plan, began)


def read_all(plan: PanelPlan) -> Episodes:
    """The episodes that are there.

    Args:
        plan: of the evaluation.

    Returns:
        All records, also those that are not wanted now.

    Raises:
        PlanError: for a broken file.
    """
    try:
        return read_episodes(plan.arguments.out / EPISODES_FILE)
    except ValueError as error:
        raise PlanError([str(error)]) from error


def announce(plan: PanelPlan, episodes: Episodes) -> None:
    """Print what will be done."""
    arguments, manifest = plan.arguments, plan.manifest
    found = [episodes[one.key] for one in plan.wanted if one.key in episodes]
    failed = sum(record.failed for record in found)
    again = f"; {failed} that failed are played again" if failed else ""
    lines = [
        f"policy     {plan.title}",
        f"games      {len(plan.games)} of {manifest.split}@{manifest.digest[:8]} "
        f"in {manifest.folder}",
        f"episodes   {len(plan.wanted)}, of which {len(found) - failed} are there{again}",
        f"output     {arguments.out}",
        *(f"note       {note}" for note in plan.notes),
    ]
    if plan.model is not None:
        lines.insert(
            1, f"model      {plan.model.sampling}, {plan.model.dtype} on {plan.model.device}"
        )
    print("\n".join(map(printable, lines)), flush=True)


def evaluate(plan: PanelPlan, began: float) -> int:
    """Play the missing episodes and make the report.

    Args:
        plan: checked, its folder locked.
        began: when this command did, by ``time.monotonic``.

    Returns:
        The exit status.
    """
    out = plan.arguments.out
    for name in (EPISODES_FILE, TRANSCRIPTS_FILE):
        remove_cut_off_line(out / name)
    episodes = read_all(plan)
    announce(plan, episodes)
    write_settings(out, plan.settings())
    write_manifest(out / MANIFEST_FILE, plan.manifest)
    wanted = {one.key for one in plan.wanted}
    if failed := [key for key, one in episodes.items() if one.failed and key in wanted]:
        for key in failed:
            del episodes[key]
        write_episodes(out / EPISODES_FILE, episodes.values())
    console = Console(out / LOG_FILE)

    def work() -> int:
        environment: dict[str, float] = {}
        if missing := [one for one in plan.wanted if one.key not in episodes]:
            from recipe.holderpo.evaluate.alfworld.playing import play_missing

            environment = play_missing(plan, missing, episodes, console)
        seconds = round(time.monotonic() - began, 1)
        return report(plan, episodes, console, {"environment": environment, "seconds": seconds})

    return told_on(console, work)


def report(
    plan: PanelPlan, episodes: Episodes, console: Console, this_time: Mapping[str, Any]
) -> int:
    """Write the table and the numbers.

    Args:
        plan: of the evaluation.
        episodes: with every one that is wanted.
        console: for the table.
        this_time: what is known of this command alone.

    Returns:
        The exit status: 1 if episodes failed.
    """
    from holderpo.alfworld.episode_scores import score_panel
    from holderpo.alfworld.episode_tables import panel_json, panel_markdown, print_panel
    from holderpo.studies.results import installed_versions
    from recipe.holderpo.checks.versions import current_commit

    games = [numbered.game for numbered in plan.games]
    panel = score_panel(
        plan.manifest,
        games,
        [episodes[one.key] for one in plan.wanted],
        num_passes=plan.arguments.passes,
        num_in_split=plan.num_in_split,
        task_types=plan.task_types,
        earlier=plan.earlier.values(),
    )
    out = plan.arguments.out
    title = f"Evaluation of {plan.title} on {panel.name}@{panel.digest}"
    write_whole(out / REPORT_FILE, panel_markdown(title, panel, games, plan.notes))
    summary: dict[str, Any] = {
        **panel_json(panel, games),
        "policy": plan.title,
        "notes": plan.notes,
        "settings": plan.settings(),
        "passes_wanted": plan.arguments.passes,
        "limit_games": plan.arguments.limit_games,
        "task_types": list(plan.task_types),
        "versions": installed_versions(),
        "commit": current_commit(),
        "this_command": this_time,
    }
    write_whole(out / SUMMARY_FILE, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    print_panel(rich.console.Console(file=console.screen), panel, games, plan.notes)
    success = "none" if panel.whole.success is None else f"{100 * panel.whole.success:.1f} %"
    console.say(f"table      {out / REPORT_FILE}\nnumbers    {out / SUMMARY_FILE}")
    console.say(f"result     {panel.metric_prefix}/success {success}")
    if panel.failed:
        console.fail(
            f"failed: {len(panel.failed)} of {len(plan.wanted)} episodes, in the environment; the "
            "same command plays them again"
        )
        return 1
    return 0
