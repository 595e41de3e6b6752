"""What the laboratory asks of a task: problems, a reward, a model that can do a part of it.

Shapes: ``N`` problems, ``P`` prompt tokens, ``T`` response tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from holderpo.dotted import load_callable

TRAIN, HELD_OUT = "train", "heldout"


@dataclass(frozen=True)
class Problems:
    """Prompts of one length, and what tells a right response."""

    prompts: Tensor
    """(N, P) int64; token numbers, without padding."""
    answers: Tensor
    """(N, T) int64; whatever the task's ``score`` compares with."""

    def repeat(self, times: int) -> Problems:
        """Each problem several times in a row, as a group.

        Args:
            times: responses of a group.
        """
        return Problems(
            self.prompts.repeat_interleave(times, 0), self.answers.repeat_interleave(times, 0)
        )


class LabTask(Protocol):
    """A task of one's own is a class with these; its settings are the arguments of the class."""

    end_id: int
    """Token after which a response ends."""
    max_response_tokens: int
    """Where a response is cut off."""

    def draw(self, split: str, count: int, rng: np.random.Generator) -> Problems:
        """Problems of ``train`` or ``heldout``, of which no problem is in both.

        Args:
            split: which of the two.
            count: N.
            rng: source of randomness.
        """

    def score(self, problems: Problems, responses: Tensor) -> Tensor:
        """Reward of each response.

        Args:
            problems: N of them.
            responses: (N, T) int64; whatever follows the end token does not count.

        Returns:
            (N,) float32.
        """

    def ensure_model(self, folder: Path, seed: int) -> Path:
        """A causal language model to start from, made if it is not there.

        Args:
            folder: for the models of this task.
            seed: of the model.

        Returns:
            A folder with a Hugging Face checkpoint.
        """


def build_task(settings: Mapping[str, Any]) -> LabTask:
    """A task from ``{_target_: package.module.Class, <its arguments>}``.

    Raises:
        ValueError: naming the field, its value and the fix.
    """
    arguments = dict(settings)
    name = arguments.pop("_target_", None)
    if not isinstance(name, str):
        raise ValueError(f"task._target_: {name!r}; give the dotted name of a class")
    make = load_callable(name, field="task._target_")
    try:
        task: LabTask = make(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"task: {name} with {arguments}: {error}") from error
    return task


def exact_match(answers: Tensor, responses: Tensor, end_id: int) -> Tensor:
    """1 where a response is the answer up to and with its end token, else 0.

    Args:
        answers: (N, T) int64, end token included, anything after it.
        responses: (N, T') int64.
        end_id: the end token.

    Returns:
        (N,) float32.
    """
    width = max(answers.shape[1], responses.shape[1])
    padded = [
        torch.nn.functional.pad(one, (0, width - one.shape[1]), value=-1)
        for one in (answers, responses)
    ]
    ended = (padded[0] == end_id).cumsum(-1)
    is_counted = (ended == 0) | ((ended == 1) & (padded[0] == end_id))
    return ((padded[0] == padded[1]) | ~is_counted).all(-1).float()
