"""The user's message of a turn: all that the agent knows of the game.

Each turn has a message of its own, made anew. The engine says the task and lists the room only
once, so later messages repeat the task, and the last turns as far as the history goes.

**Source**: the same information as verl-agent's messages for ALFWorld, in other words; theirs
loses the task with a history of 0.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from holderpo.alfworld.actions import NO_COMMAND
from holderpo.number_kinds import is_whole

_ROLE = "You are the agent in ALFWorld, a household simulated in text. You act by commands.\n\n"
_TASK = "Your task: {task}\nSteps taken so far: {num_steps}\n"
_HISTORY = (
    "The last {num_shown} of them, each with what you observed before it and your command:\n"
    "{history}\n"
)
_NOW = "\nThis is step {step}. You now observe:\n{observation}\n\n"
_INSTRUCTION = (
    "Commands you can give now:\n{actions}\n\n"
    "First think through the situation step by step, inside <think> and </think>. Then choose one "
    "of these commands and write it inside <action> and </action>."
)

FIRST_TEMPLATE = _ROLE + "{observation}\n\n" + _INSTRUCTION
"""Of the first turn, whose observation says the room and the task."""
LATER_TEMPLATE = _ROLE + _TASK + _HISTORY + _NOW + _INSTRUCTION
"""Of the turns after it."""
LATER_TEMPLATE_WITHOUT_HISTORY = _ROLE + _TASK + _NOW + _INSTRUCTION
"""Of the turns after the first, with ``history_length`` 0."""

SLOTS: Mapping[str, str] = {
    "task": "what is to be done, one sentence",
    "observation": "the engine's text of this turn, unchanged",
    "actions": "the admissible commands but `help`, one on each line",
    "history": "the last turns: number, observation and command of each",
    "num_shown": "how many turns {history} holds",
    "step": "number of this turn, the first is 1",
    "num_steps": "how many steps were taken before",
}
"""Slots of a template, with what they hold."""

_HISTORY_SLOTS = {"history", "num_shown"}
_TASK_MARK = "Your task is to:"
# What a grammar says whose task was never filled in.
_NO_TASK = "UNKNOWN GOAL"
_MOST_CHARACTERS = 200
"""Of a command in the history; no admissible one comes near."""


@dataclass(frozen=True)
class PastTurn:
    """A turn that is over."""

    observation: str
    """The engine's text."""
    action: str
    """The command that was sent after it."""


@dataclass(frozen=True)
class TurnPromptSettings:
    """What the messages say."""

    history_length: int = 2
    """How many of the last turns a message repeats; 0 repeats none."""
    first_template: str | None = None
    """Of the first turn; null: ``FIRST_TEMPLATE`` of :mod:`holderpo.alfworld.turn_prompt`. Needs
    ``{observation}`` and ``{actions}``, knows ``{task}``, ``{step}`` and ``{num_steps}``; a brace
    that is no slot is doubled."""
    later_template: str | None = None
    """Of the other turns; null: ``LATER_TEMPLATE``. Needs ``{task}`` too, and ``{history}`` unless
    the history is 0; knows ``{num_shown}`` with it."""

    def __post_init__(self) -> None:
        """The history must be a number, and each template hold the slots that it needs and can.

        Raises:
            ValueError: naming all wrong fields with their fixes.
        """
        count = self.history_length
        if not is_whole(count, at_least=0):
            raise ValueError(f"history_length: {count!r}; give a number of turns, 0 or more")
        problems = _template_problems(
            "first_template", self.first, needed={"observation", "actions"}, never=_HISTORY_SLOTS
        )
        always = {"task", "observation", "actions"}
        problems += _template_problems(
            "later_template",
            self.later,
            needed=always | {"history"} if count else always,
            never=set() if count else _HISTORY_SLOTS,
        )
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def first(self) -> str:
        """The template of the first turn."""
        return FIRST_TEMPLATE if self.first_template is None else self.first_template

    @property
    def later(self) -> str:
        """The template of the other turns."""
        if self.later_template is not None:
            return self.later_template
        return LATER_TEMPLATE if self.history_length else LATER_TEMPLATE_WITHOUT_HISTORY


def task_of(first_observation: str) -> str:
    """The task's sentence, which only a game's first text says.

    Args:
        first_observation: the engine's text after a reset.

    Returns:
        What comes after "Your task is to:", white space around it removed.

    Raises:
        ValueError: the text says no task.
    """
    task = first_observation.partition(_TASK_MARK)[2].strip()
    if not task or _NO_TASK in task:
        shown = first_observation[-80:]
        raise ValueError(f"first observation: says no task ({shown!r}); give the text of a reset")
    return task


def turn_prompt(
    *,
    task: str,
    observation: str,
    admissible: Collection[str],
    history: Sequence[PastTurn] = (),
    num_steps: int | None = None,
    settings: TurnPromptSettings | None = None,
) -> str:
    """The user's message of a turn.

    Args:
        task: of :func:`task_of`.
        observation: the engine's text of this turn.
        admissible: the game's commands now; ``help`` is left out.
        history: the turns before, the last one last; earlier ones than are shown may be missing.
        num_steps: how many steps were taken before; as many as ``history`` holds if left out.
        settings: what the message says; the defaults if left out.

    Returns:
        The message. Texts of the game and of the model stand in it as they are.

    Raises:
        ValueError: a slot would be empty, or turns of the history are missing.
    """
    settings = settings or TurnPromptSettings()
    num_steps = len(history) if num_steps is None else num_steps
    num_shown = min(settings.history_length, num_steps)
    if not num_shown <= len(history) <= num_steps:
        raise ValueError(
            f"history: {len(history)} turns after {num_steps} steps; give the last {num_shown} at "
            "least, and not more than there were"
        )
    filled = {
        "task": task,
        "observation": observation,
        "actions": "\n".join(f"- {command}" for command in admissible if command != "help"),
    }
    for name, text in filled.items():
        if not text.strip():
            raise ValueError(f"{name}: empty at step {num_steps + 1}; give {SLOTS[name]}")
    filled |= {
        "history": _history_text(history, num_shown, num_steps),
        "num_shown": str(num_shown),
        "step": str(num_steps + 1),
        "num_steps": str(num_steps),
    }
    return _filled(settings.first if num_steps == 0 else settings.later, filled)


def _history_text(history: Sequence[PastTurn], num_shown: int, num_steps: int) -> str:
    shown = history[len(history) - num_shown :]
    return "\n".join(
        f"[Step {number}] You observed: {turn.observation}\nYour command: {_shown(turn.action)}"
        for number, turn in enumerate(shown, start=num_steps - num_shown + 1)
    )


def _shown(action: str) -> str:
    """A command in the history: one of any length must not fill the model's context."""
    if len(action) > _MOST_CHARACTERS:
        return action[:_MOST_CHARACTERS] + "..."
    return action if action.strip() else NO_COMMAND


def _filled(template: str, slots: Mapping[str, str]) -> str:
    """The template filled in one pass: braces in a text stay what they are."""
    return "".join(
        literal + (slots[name] if name is not None else "")
        for literal, name, _, _ in string.Formatter().parse(template)
    )


def _template_problems(
    field: str, template: str, *, needed: set[str], never: set[str]
) -> list[str]:
    """What is wrong with a template, each in one line."""
    try:
        parts = list(string.Formatter().parse(template))
    except (TypeError, ValueError) as error:
        return [f"{field}: {error}; a brace that is no slot is doubled: {{{{ or }}}}"]
    names = [
        name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for _, name, form, conversion in parts
        if name is not None
    ]
    known = [name for name in SLOTS if name not in never]
    problems = [
        f"{field}: unknown slot {{{name}}}; give one of {', '.join(known)} (a brace that is no "
        "slot is doubled)"
        for name in sorted(set(names) - set(known))
    ]
    missing = [name for name in SLOTS if name in needed - set(names)]
    if missing:
        problems.append(f"{field}: lacks {', '.join(f'{{{name}}}' for name in missing)}; add it")
    return problems
