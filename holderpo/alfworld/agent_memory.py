"""What an agent is told over the turns of one episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holderpo.alfworld.turn_prompt import PastTurn, TurnPromptSettings, task_of, turn_prompt
from holderpo.alfworld.turns import Turn


class NoTaskError(ValueError):
    """A game's text that no prompt can be made of."""


class AgentMemory:
    """The task and the turns so far, of one episode."""

    def __init__(self, settings: TurnPromptSettings) -> None:
        """Of an episode that has not begun.

        Args:
            settings: what the messages say.
        """
        self._settings = settings
        self._task = ""
        self._past: list[PastTurn] = []

    @property
    def num_steps(self) -> int:
        """How many turns are over."""
        return len(self._past)

    def message(self, turn: Turn) -> str:
        """The user's message of a turn.

        Args:
            turn: the present one; the first one says the task.

        Returns:
            The message.

        Raises:
            NoTaskError: the game's text says no task, or nothing at all.
        """
        try:
            if not self._past:
                self._task = task_of(turn.observation)
            return turn_prompt(
                task=self._task,
                observation=turn.observation,
                admissible=turn.admissible,
                history=self._past,
                settings=self._settings,
            )
        except ValueError as error:
            raise NoTaskError(f"no prompt can be made of the game's text: {error}") from error

    def add(self, turn: Turn, command: str) -> None:
        """Keep a turn that is over.

        Args:
            turn: the one that was answered.
            command: that was sent.
        """
        self._past.append(PastTurn(turn.observation, command))


def message_tokens(
    tokenizer: Any, message: str, chat_template_kwargs: Mapping[str, Any] | None = None
) -> list[int]:
    """A user's message in the model's chat template, ready for the response.

    Args:
        tokenizer: from transformers, with a chat template.
        message: of the user.
        chat_template_kwargs: what the template is given besides.

    Returns:
        Token numbers.
    """
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}],
        add_generation_prompt=True,
        tokenize=False,
        **(chat_template_kwargs or {}),
    )
    return list(tokenizer.encode(text, add_special_tokens=False))
