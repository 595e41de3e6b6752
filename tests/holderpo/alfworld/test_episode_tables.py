"""A panel's report."""

import io
import json

import rich.console

from holderpo.alfworld.episode_scores import score_panel
from holderpo.alfworld.episode_tables import panel_json, panel_markdown, print_panel
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turns import Outcome
from tests.holderpo.alfworld.episode_samples import episode, game, manifest_of

GAMES = sorted(
    game(number, list(TASK_TYPES)[number % 6], wins_without_put=number == 4)
    for number in range(1, 141)
)
MANIFEST = manifest_of(GAMES)
EVIL = "\x1b]0;evil\x07 [bold]\u202e"


def panel(num_passes, *, failed=()):
    def outcome(one, number):
        if one.scene in failed and number == 1:
            return Outcome.FAILED
        return Outcome.WON if (one.scene + number) % 8 else Outcome.STEP_LIMIT

    records = [
        episode(one, outcome(one, number), pass_number=number)
        for one in GAMES
        for number in range(1, num_passes + 1)
    ]
    records = [
        one if not one.failed else episode(game_of(one), Outcome.FAILED, reason=EVIL)
        for one in records
    ]
    return score_panel(MANIFEST, GAMES, records, num_passes=num_passes)


def game_of(record):
    return next(one for one in GAMES if one.path == record.game)


def shown(result):
    screen = io.StringIO()
    console = rich.console.Console(file=screen, width=80)
    print_panel(console, result, GAMES, [EVIL])
    return screen.getvalue()


def test_the_tables_fit_a_terminal_of_80_columns():
    for result in (panel(1), panel(3, failed=range(1, 30))):
        screen = shown(result)
        assert max(map(len, screen.splitlines())) <= 80
        # In one piece each.
        assert screen.count("Success on") == screen.count("Steps and turns") == 1
        report = panel_markdown("a", result, GAMES, [])
        assert max(len(line) for line in report.splitlines() if line.startswith("|")) <= 80


def test_the_report_says_success_failures_passes_and_marked_games():
    report = panel_markdown("Evaluation of expert", panel(1), GAMES, ["a note"])
    assert report.startswith("# Evaluation of expert\n\n## Success on valid_seen@")
    assert "87.9" in report
    assert "1 games can be won without the last action" in report
    assert "- a note" in report
    assert "Passes" not in report
    report = panel_markdown("a", panel(3, failed=(1, 2)), GAMES, [])
    assert "2 of 420 episodes failed in the environment" in report
    assert "3 passes: mean 87.9, standard deviation from pass to pass" in report


def test_nothing_in_a_report_acts_on_a_terminal():
    result = panel(1, failed=(1,))
    for text in (shown(result), panel_markdown(EVIL, result, GAMES, [EVIL])):
        assert "\\x1b]0;evil\\x07 [bold]\\u202e" in text.replace("\n", "")
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_what_failed_is_bounded_from_below():
    won = 123 - 2
    assert f"success over all would be {100 * won / 140:.1f}." in panel_markdown(
        "a", panel(1, failed=(1, 2)), GAMES, []
    )


def test_numbers_for_a_program():
    result = panel(3, failed=(1,))
    numbers = json.loads(json.dumps(panel_json(result, GAMES), allow_nan=False))
    name = f"alfworld/valid_seen@{MANIFEST.digest[:8]}"
    assert numbers["name"] == name
    assert numbers["results"][f"{name}/success"] == result.whole.success
    assert set(numbers["results"]) == {
        f"{name}/success",
        *(f"{name}/success/{short}" for short in TASK_TYPES.values()),
    }
    assert numbers["all"]["outcomes"] == {
        "won": result.whole.outcomes[Outcome.WON],
        "step_limit": result.whole.outcomes[Outcome.STEP_LIMIT],
        "length": 0,
        "failed": 1,
    }
    assert numbers["wins_without_put"] == [one.path for one in GAMES if one.wins_without_put]
    assert [one["pass"] for one in numbers["passes"]] == [1, 2, 3]
    assert numbers["failed"][0]["reason"] == EVIL
