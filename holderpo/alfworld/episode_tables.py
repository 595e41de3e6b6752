"""An evaluation on ALFWorld as a table for a terminal and for Markdown, and as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from holderpo.alfworld.episode_scores import GroupScore, PanelScore
from holderpo.alfworld.games import Game
from holderpo.alfworld.paired_success import PairedDifference
from holderpo.alfworld.turns import Outcome
from holderpo.bootstrap import BOOTSTRAP, NUM_RESAMPLES, WILSON
from holderpo.printable import printable
from holderpo.sheets import Sheet, fit, markdown, show

# How each kind of interval is marked in a table.
_MARKS: Mapping[str, str] = {WILSON: "W", BOOTSTRAP: "B"}
_NONE = "-"
_MOST_LISTED = 10


def panel_sheets(panel: PanelScore) -> list[Sheet]:
    """The tables: success, how the episodes went, and the passes where there are several.

    Args:
        panel: the numbers.

    Returns:
        Them, as wide as a terminal.
    """
    groups = [panel.whole, *([panel.unmarked] if panel.unmarked else []), *panel.by_type]
    sheets = [
        Sheet(
            f"Success on {panel.name}@{panel.digest}",
            ["task", "games", "episodes", "failed", "no room", "success", "95 %"],
            [_success_cells(group) for group in groups],
            broken=["task"],
        ),
        Sheet(
            "Steps and turns",
            ["task", "steps", "of won", "return", "cut off", "malformed", "inadmissible"],
            [_turn_cells(group) for group in groups],
            broken=["task"],
        ),
    ]
    if len(panel.passes) > 1:
        sheets.append(
            Sheet(
                "Passes",
                ["pass", "episodes", "failed", "success"],
                [
                    [
                        str(one.number),
                        str(one.num_episodes),
                        str(one.num_failed),
                        _percent(one.success),
                    ]
                    for one in panel.passes
                ],
            )
        )
    if panel.differences:
        sheets.append(
            Sheet(
                "Against the other evaluation",
                ["task", "games", "there", "here", "difference", "95 %"],
                [_difference_cells(one) for one in panel.differences],
                broken=["task"],
            )
        )
    return [fitted for sheet in sheets for fitted in fit(sheet)]


def _difference_cells(one: PairedDifference) -> list[str]:
    interval = _NONE
    if one.interval is not None:
        interval = " to ".join(f"{100 * end:+.1f}" for end in one.interval)
    return [
        one.name,
        str(one.num_games),
        _percent(one.before),
        _percent(one.after),
        f"{100 * one.difference:+.1f}",
        interval,
    ]


def _success_cells(group: GroupScore) -> list[str]:
    return [
        group.name,
        str(group.num_games),
        str(group.num_episodes),
        str(group.num_failed),
        str(group.outcomes.get(Outcome.LENGTH, 0)),
        _percent(group.success),
        _interval(group),
    ]


def _interval(group: GroupScore) -> str:
    if group.interval is None:
        return _NONE
    low, high = map(_percent, group.interval)
    return f"{low}-{high} {_MARKS[group.interval_kind]}"


def _turn_cells(group: GroupScore) -> list[str]:
    return [
        group.name,
        _number(group.steps),
        _number(group.steps_won),
        _number(group.mean_return, 2),
        _percent(group.truncated),
        _percent(group.malformed),
        _percent(group.inadmissible),
    ]


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def explain_panel(panel: PanelScore, games: Sequence[Game]) -> list[str]:
    """What has to be said beside the tables.

    Args:
        panel: the numbers.
        games: that were to be played.

    Returns:
        A paragraph each.
    """
    return list(_explain(panel, games))


def _explain(panel: PanelScore, games: Sequence[Game]) -> Iterator[str]:
    yield (
        "Success: the engine's goal held within the steps allowed; percent, mean over games. No "
        "room: episodes, among those not won, whose next prompt did not fit. Intervals: W is "
        f"Wilson's; B are percentiles of {NUM_RESAMPLES} bootstrap resamples of the games, each "
        "with all its passes."
    )
    yield (
        "Steps: mean over episodes, of all and of those won. Return: mean reward, penalties taken "
        "off. Cut off: responses at the limit of tokens; malformed and inadmissible: by their "
        "action; all three as percent of turns."
    )
    if panel.spread is not None:
        yield (
            f"{len(panel.passes)} passes: mean {_percent(panel.whole.success)}, standard deviation "
            f"from pass to pass {100 * panel.spread:.1f} points."
        )
    if panel.differences:
        yield (
            "Difference: mean over the games that both have of what each was won more often, in "
            f"points; its interval: percentiles of {NUM_RESAMPLES} bootstrap resamples of these "
            "games."
        )
    marked = [game for game in games if game.wins_without_put]
    if marked:
        yield (
            f"{len(marked)} games can be won without the last action, as the object stands in two "
            f"places at once; they count as the engine says: {_some([g.path for g in marked])}."
        )
    if panel.failed:
        num_games = panel.whole.num_games * len(panel.passes)
        won = panel.whole.outcomes.get(Outcome.WON, 0)
        yield (
            f"{len(panel.failed)} of {num_games} episodes failed in the environment and are in no "
            f"number above; were all of them lost, success over all would be "
            f"{_percent(won / num_games)}. The same command plays them again."
        )
        listed = [f"{one.game} (pass {one.pass_number}): {one.reason}" for one in panel.failed]
        yield f"Failed: {_some(listed)}."
    if panel.num_restarts:
        yield f"Environments replaced while their episodes went on: {panel.num_restarts}."


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_LISTED
    listed = "; ".join(printable(name) for name in names[:_MOST_LISTED])
    return listed + (f"; and {more} more" if more > 0 else "")


def panel_markdown(
    title: str, panel: PanelScore, games: Sequence[Game], notes: Sequence[str]
) -> str:
    """The whole report.

    Args:
        title: what was evaluated.
        panel: the numbers.
        games: that were to be played.
        notes: what else should be known.

    Returns:
        Markdown.
    """
    parts = [f"# {printable(title)}"]
    for sheet in panel_sheets(panel):
        parts += [f"## {sheet.title}", markdown(sheet)]
    parts += explain_panel(panel, games)
    if notes:
        parts += ["## Notes", "\n".join(f"- {printable(note)}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def print_panel(
    console: Console, panel: PanelScore, games: Sequence[Game], notes: Sequence[str]
) -> None:
    """The same on a screen.

    Args:
        console: where.
        panel: the numbers.
        games: that were to be played.
        notes: what else should be known.
    """
    for sheet in panel_sheets(panel):
        show(sheet, console)
    for line in [*explain_panel(panel, games), *map(printable, notes)]:
        console.print(escape(line), highlight=False)


def panel_json(panel: PanelScore, games: Sequence[Game]) -> dict[str, Any]:
    """The numbers for a program; shares are fractions.

    Args:
        panel: the numbers.
        games: that were to be played.

    Returns:
        JSON-serialisable.
    """
    prefix = panel.metric_prefix
    results = {f"{prefix}/success": panel.whole.success}
    results |= {f"{prefix}/success/{group.name}": group.success for group in panel.by_type}
    unmarked = panel.unmarked
    return {
        "name": prefix,
        "results": results,
        "all": _group_entry(panel.whole),
        "by_type": {group.name: _group_entry(group) for group in panel.by_type},
        "wins_without_put": [game.path for game in games if game.wins_without_put],
        "without_marked": None if unmarked is None else _group_entry(unmarked),
        "passes": [
            {
                "pass": one.number,
                "episodes": one.num_episodes,
                "failed": one.num_failed,
                "success": one.success,
            }
            for one in panel.passes
        ],
        "standard_deviation_of_passes": panel.spread,
        "differences": {
            one.name: {
                "games": one.num_games,
                "there": one.before,
                "here": one.after,
                "difference": one.difference,
                "interval": None if one.interval is None else list(one.interval),
            }
            for one in panel.differences
        },
        "restarts": panel.num_restarts,
        "failed": [
            {"game": one.game, "pass": one.pass_number, "reason": one.reason}
            for one in panel.failed
        ],
    }


def _group_entry(group: GroupScore) -> dict[str, Any]:
    return {
        "games": group.num_games,
        "played_games": group.num_played_games,
        "episodes": group.num_episodes,
        "failed": group.num_failed,
        "success": group.success,
        "interval": None if group.interval is None else list(group.interval),
        "interval_kind": group.interval_kind or None,
        "outcomes": {str(outcome): group.outcomes.get(outcome, 0) for outcome in Outcome},
        "steps": group.steps,
        "steps_won": group.steps_won,
        "return": group.mean_return,
        "truncated": group.truncated,
        "malformed": group.malformed,
        "inadmissible": group.inadmissible,
    }
