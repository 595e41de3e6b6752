"""What is read out of a response, at each level."""

import re
import time
from pathlib import Path

import pytest

from holderpo.alfworld.actions import LEVELS, NO_COMMAND, ActionSettings, parse_action

ADMISSIBLE = ("go to desk 1", "look", "move mug 1 to desk 1")
PAGE = Path(__file__).parents[3] / "docs" / "alfworld.md"


def table():
    """The rows of the page's table: a response, and what each level makes of it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = lines.index("| response | `strict` | `lenient` | `reference` |") + 2
    for line in lines[first:]:
        if not line.startswith("|"):
            return
        response, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        yield pytest.param(text_in(response), tuple(map(expected_in, cells)), id=response)


def text_in(span):
    return span.strip("`").replace("\\n", "\n")


def expected_in(cell):
    found = re.fullmatch(r"(`.*`)? ?(\w+)", cell)
    return (NO_COMMAND if found[1] is None else text_in(found[1]), found[2])


def parsed(response, level, admissible=ADMISSIBLE):
    action = parse_action(response, admissible, ActionSettings(strictness=level))
    return action.command, action.kind.value


ROWS = list(table())


@pytest.mark.parametrize(("response", "expected"), ROWS)
def test_the_levels_read_what_the_page_says(response, expected):
    assert tuple(parsed(response, level) for level in LEVELS) == expected


def test_the_page_has_all_its_rows():
    assert len(ROWS) == 22


THOUGHT = "<think>t</think>"
CYRILLIC = "l\u043e\u043ek"
KELVIN = "loo\u212a"
FULL_WIDTH = "\uff1caction\uff1elook\uff1c/action\uff1e"


PIECES = ("<action>", "</action>", "<action></action>", "</think><think>", "<action", "<", "\n")
MALFORMED = (NO_COMMAND, "malformed")
LOOK = ("look", "valid")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", [MALFORMED, MALFORMED, ("", "malformed")]),
        (" \n", [MALFORMED, MALFORMED, (" \n", "malformed")]),
        (f"{THOUGHT}<action>{CYRILLIC}</action>", [(CYRILLIC, "inadmissible")] * 3),
        (f"{THOUGHT}<action>{KELVIN}</action>", [(KELVIN, "inadmissible")] * 2 + [LOOK]),
        (f"{THOUGHT}{FULL_WIDTH}", [MALFORMED, MALFORMED, (f"t</think>{FULL_WIDTH}", "malformed")]),
        (
            f"{THOUGHT}<action>go\u00a0to\tdesk\u20031</action>",
            [("go to desk 1", "valid")] * 2 + [("go\u00a0to\tdesk\u20031", "inadmissible")],
        ),
        (f"{THOUGHT}<action>\x1b[2J{{0}}</action>", [("\x1b[2j{0}", "inadmissible")] * 3),
        (f"{THOUGHT}<action>\ud800</action>", [("\ud800", "inadmissible")] * 3),
        (f"{THOUGHT}<action>look.</action>", [("look.", "inadmissible")] * 3),
        (f"{THOUGHT}<action>'look'</action>", [("'look'", "inadmissible")] * 3),
        (f"<think>{THOUGHT}</think><action>look</action>", [MALFORMED, LOOK, LOOK]),
        ("</think>t<think><action>look</action>", [MALFORMED, LOOK, LOOK]),
        ("<think>t<action>look</action></think>", [MALFORMED, LOOK, LOOK]),
        (f"{THOUGHT}so<action>look</action>", [MALFORMED, LOOK, LOOK]),
        (f"{THOUGHT}<action>look</action><action>go", [MALFORMED, LOOK, LOOK]),
        (
            f"{THOUGHT}<action/>look<action />",
            [MALFORMED, MALFORMED, ("/think><action/>look<action />", "malformed")],
        ),
    ],
)
def test_other_odd_responses(response, expected):
    assert [parsed(response, level) for level in LEVELS] == expected


@pytest.mark.parametrize(
    ("response", "level", "reason"),
    [
        ("look", "strict", "no <think>"),
        ("<think>t", "strict", "no </think>"),
        (THOUGHT, "strict", "no <action>"),
        (f"{THOUGHT}<action>look", "strict", "no </action>"),
        (f"{THOUGHT}{THOUGHT}<action>look</action>", "strict", "more than one <think>"),
        (f"{THOUGHT}<action></action></action>", "strict", "more than one </action>"),
        (f"<action>look</action>{THOUGHT}", "strict", "tags in another order"),
        (f"{THOUGHT}<action>look</action>.", "strict", "text outside the tags"),
        (f"{THOUGHT}<action>\n</action>", "strict", "empty action"),
        ("look", "lenient", "no <action>"),
        ("</action><action>look", "lenient", "no </action> after <action>"),
        ("<action></action>", "lenient", "empty action"),
        ("</action>", "reference", "no <action>"),
        ("<action>look", "reference", "no </action>"),
        ("<action>look</action></think>", "reference", "no <think>"),
        ("<action>look</action><think>", "reference", "no </think>"),
        (f"{THOUGHT}<action>\u4e00\u9fff</action>", "reference", "a Chinese character"),
        (f"{THOUGHT}<action>fly</action>", "reference", "not admissible"),
        (f"{THOUGHT}<action>look</action>", "strict", ""),
        (f"{THOUGHT}<action>put mug 1 in desk 1</action>", "strict", "other wording"),
    ],
)
def test_the_reason_is_given(response, level, reason):
    action = parse_action(response, ADMISSIBLE, ActionSettings(strictness=level))
    assert action.reason == reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "piece",
    [*PIECES, "put mug 1 in ", "\u0130"],
)
def test_a_megabyte_is_read_at_once(level, piece):
    text = piece * (1_000_000 // len(piece))
    for response in (text, f"<think>{text}</think><action>{text}</action>"):
        started = time.perf_counter()
        parsed(response, level)
        assert time.perf_counter() - started < 2


@pytest.mark.parametrize("level", LEVELS)
def test_help_is_a_command_where_the_game_lists_it(level):
    response = f"{THOUGHT}<action>help</action>"
    assert parsed(response, level) == ("help", "inadmissible")
    assert parsed(response, level, (*ADMISSIBLE, "help")) == ("help", "valid")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("accept", [True, False, None])
def test_the_other_wording_is_accepted_as_set(level, accept):
    settings = ActionSettings(strictness=level, accept_other_wording=accept)
    response = f"{THOUGHT}<action>put mug 1 in/on desk 1</action>"
    action = parse_action(response, ADMISSIBLE, settings)
    accepted = level != "reference" if accept is None else accept
    own = "move mug 1 to desk 1" if accepted else "put mug 1 in/on desk 1"
    assert (action.command, action.kind.value) == (own, "valid" if accepted else "inadmissible")


def test_without_settings_responses_are_read_strictly():
    assert parse_action("<action>look</action>", ADMISSIBLE).reason == "no <think>"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"strictness": "Strict"}, "strictness: 'Strict'; give one of strict, lenient, reference"),
        ({"strictness": None}, "strictness: None; give one of"),
        ({"accept_other_wording": 1}, "accept_other_wording: 1; give true, false or null"),
        ({"accept_other_wording": "no"}, "accept_other_wording: 'no'; give true, false or null"),
    ],
)
def test_unknown_settings_are_refused(settings, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        ActionSettings(**settings)
