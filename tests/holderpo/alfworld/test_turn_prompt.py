"""A turn's message holds all that the agent may know, and texts stand in it as they are."""

import pytest

from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turn_prompt import (
    SLOTS,
    PastTurn,
    TurnPromptSettings,
    task_of,
    turn_prompt,
)
from tests.alfworld_games import needs_alfworld
from tests.docs.pages import blocks, text_of

ROOM = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
    "around you, you see a desk 1.\n\nYour task is to: put a mug in desk."
)
TASK = "put a mug in desk."
ADMISSIBLE = ("go to desk 1", "help", "inventory", "look")
PAST = tuple(PastTurn(f"seen {number}", f"did {number}") for number in range(1, 6))
ROLE = "You are the agent in ALFWorld, a household simulated in text. You act by commands.\n\n"
INSTRUCTION = (
    "Commands you can give now:\n- go to desk 1\n- inventory\n- look\n\n"
    "First think through the situation step by step, inside <think> and </think>. Then choose one "
    "of these commands and write it inside <action> and </action>."
)


def prompt(**changed):
    given = {"task": TASK, "observation": "You see a mug 1.", "admissible": ADMISSIBLE}
    return turn_prompt(**(given | changed))


def test_the_first_message_holds_the_room_and_the_task():
    assert prompt(observation=ROOM) == f"{ROLE}{ROOM}\n\n{INSTRUCTION}"


def test_a_later_message_holds_the_task_and_the_last_turns_with_their_numbers():
    assert prompt(history=PAST) == (
        f"{ROLE}Your task: put a mug in desk.\nSteps taken so far: 5\n"
        "The last 2 of them, each with what you observed before it and your command:\n"
        "[Step 4] You observed: seen 4\nYour command: did 4\n"
        "[Step 5] You observed: seen 5\nYour command: did 5\n\n"
        f"This is step 6. You now observe:\nYou see a mug 1.\n\n{INSTRUCTION}"
    )


def test_a_history_of_0_repeats_no_turn_but_the_task():
    settings = TurnPromptSettings(history_length=0)
    assert prompt(history=PAST, settings=settings) == (
        f"{ROLE}Your task: put a mug in desk.\nSteps taken so far: 5\n\n"
        f"This is step 6. You now observe:\nYou see a mug 1.\n\n{INSTRUCTION}"
    )
    assert prompt(num_steps=5, settings=settings) == prompt(history=PAST, settings=settings)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
def test_a_message_shows_as_much_history_as_there_is_and_is_asked_for(length):
    settings = TurnPromptSettings(history_length=length)
    for taken in range(1, 6):
        text = prompt(history=PAST[:taken], settings=settings)
        shown = [number for number in range(1, 7) if f"[Step {number}]" in text]
        assert shown == list(range(max(1, taken - length + 1), taken + 1))
        assert f"The last {len(shown)} of them" in text
        assert all(f"seen {number}\nYour command: did {number}\n" in text for number in shown)


def test_turns_that_are_not_shown_may_be_missing_and_others_may_not():
    assert prompt(history=PAST[-2:], num_steps=5) == prompt(history=PAST)
    with pytest.raises(ValueError, match=r"history: 1 turns after 5 steps; give the last 2"):
        prompt(history=PAST[-1:], num_steps=5)
    with pytest.raises(ValueError, match=r"history: 5 turns after 4 steps"):
        prompt(history=PAST, num_steps=4)


@pytest.mark.parametrize(
    ("changed", "slot"),
    [
        ({"task": ""}, "task"),
        ({"task": " \n"}, "task"),
        ({"observation": ""}, "observation"),
        ({"observation": "\n"}, "observation"),
        ({"admissible": ()}, "actions"),
        ({"admissible": ("help",)}, "actions"),
    ],
)
def test_an_empty_slot_is_an_error(changed, slot):
    with pytest.raises(ValueError, match=f"^{slot}: empty at step 6; give {SLOTS[slot][:10]}"):
        prompt(history=PAST, **changed)


ODD = "{task} {{x}} {0} {} }{ %s $task \\1 \x1b[31m\x07\r\t\x00 \u202e\u200b ünï 你好 <|im_end|>"


def test_texts_of_the_game_and_the_model_stand_as_they_are():
    past = (PastTurn(f"saw {ODD}", f"said {ODD}"),)
    text = prompt(
        task=f"do {ODD}", observation=f"now {ODD}", admissible=(f"can {ODD}",), history=past
    )
    for lead in ("saw", "said", "do", "now", "- can"):
        assert f"{lead} {ODD}" in text


def test_a_command_of_the_history_cannot_fill_the_context_nor_be_blank():
    text = prompt(history=(PastTurn("seen", "x" * 100_000),))
    assert f"Your command: {'x' * 200}...\n" in text
    assert "Your command: (no action)\n" in prompt(history=(PastTurn("seen", " "),))


def test_the_task_is_cut_from_the_first_text():
    assert task_of(ROOM) == TASK
    assert task_of("x\nYour task is to: look at it. Your task is to: think.\n\n") == (
        "look at it. Your task is to: think."
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "You see a desk 1.",
        "Your task is to:",
        "Your task is to:  \n",
        "Your task is to: UNKNOWN GOAL.",
    ],
)
def test_a_text_without_a_task_is_an_error(text):
    with pytest.raises(ValueError, match=r"^first observation: says no task"):
        task_of(text)


def test_own_templates_may_say_it_in_their_way():
    settings = TurnPromptSettings(
        first_template="{actions}|{observation}|{task}|{step}|{num_steps}|{{task}}|JSON {{}}",
        later_template="{step} {num_steps} {num_shown} {task} {history} {observation} {actions}",
    )
    commands = "- go to desk 1\n- inventory\n- look"
    assert prompt(settings=settings) == (
        f"{commands}|You see a mug 1.|{TASK}|1|0|{{task}}|JSON {{}}"
    )
    assert prompt(history=PAST[:1], settings=settings) == (
        f"2 1 1 {TASK} [Step 1] You observed: seen 1\nYour command: did 1 "
        f"You see a mug 1. {commands}"
    )


GOOD = "{task} {history} {observation} {actions}"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"later_template": ""}, "later_template: lacks {task}, {observation}, {actions}, {hist"),
        ({"later_template": "{history} {observation} {actions}"}, "lacks {task}; add it"),
        ({"later_template": "{task} {observation} {actions}"}, "lacks {history}; add it"),
        ({"later_template": GOOD + "{room}"}, "unknown slot {room}; give one of task, obs"),
        ({"later_template": GOOD + "{}"}, "unknown slot {};"),
        ({"later_template": GOOD + "{0}"}, "unknown slot {0};"),
        ({"later_template": GOOD + "{task!r}"}, "unknown slot {task!r};"),
        ({"later_template": GOOD + "{task:>9}"}, "unknown slot {task:>9};"),
        ({"later_template": GOOD + "{task.upper}"}, "unknown slot {task.upper};"),
        ({"later_template": GOOD + "{Task}"}, "unknown slot {Task};"),
        ({"later_template": GOOD + "}"}, "later_template: Single '}' encountered"),
        ({"later_template": GOOD + "{"}, "later_template: Single '{' encountered"),
        ({"later_template": 7}, "later_template: "),
        ({"later_template": GOOD, "history_length": 0}, "unknown slot {history}; give one of"),
        ({"first_template": "{observation}"}, "first_template: lacks {actions}; add it"),
        ({"first_template": GOOD}, "first_template: unknown slot {history}"),
        ({"history_length": -1}, "history_length: -1; give a number of turns, 0 or more"),
        ({"history_length": 1.5}, "history_length: 1.5;"),
        ({"history_length": True}, "history_length: True;"),
        ({"history_length": None}, "history_length: None;"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_in_one_line(settings, problem):
    with pytest.raises(ValueError, match=r"; ") as caught:
        TurnPromptSettings(**settings)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_both_templates_are_complained_of_at_once():
    with pytest.raises(ValueError, match=r"first_template(.|\n)*later_template"):
        TurnPromptSettings(first_template="", later_template="")


@needs_alfworld
def test_the_message_that_the_page_shows_is_that_of_the_game(official_games):
    episode = Episode(official_games["pick"])
    turn = episode.reset()
    task, history = task_of(turn.observation), []
    for command in ("go to toilet 1", "go to cabinet 1", "open cabinet 1"):
        history.append(PastTurn(turn.observation, command))
        turn = episode.step(command)
    text = turn_prompt(
        task=task, observation=turn.observation, admissible=turn.admissible, history=history
    )
    assert ("text", text + "\n") in blocks(text_of("docs/alfworld.md"))
