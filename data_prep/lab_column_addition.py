"""Column addition as a task of the laboratory: any number of columns, any width of the model."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data_prep import column_addition
from data_prep.column_addition import WARM_START, add_columns, draw_problems, tokens_of
from data_prep.tiny_model import END_ID, ascii_tokenizer
from data_prep.warm_start import Teacher, ensure_warm_start
from holderpo.lab.task import Problems, exact_match


class ColumnAddition:
    """The demo's task; an answer has 3 tokens a column, its end token included."""

    end_id = END_ID

    def __init__(
        self,
        *,
        num_columns: int = column_addition.NUM_COLUMNS,
        forget_carry: float = column_addition.FORGET_CARRY,
        hidden_size: int = WARM_START.hidden_size,
        warm_start_steps: int = WARM_START.steps,
    ) -> None:
        """Choose the size.

        Args:
            num_columns: of each problem.
            forget_carry: probability with which the teacher loses an outgoing carry.
            hidden_size: width of the model, a multiple of 32.
            warm_start_steps: optimiser steps of the fit to the teacher.
        """
        self.num_columns, self.forget_carry = num_columns, forget_carry
        self.max_response_tokens = 3 * num_columns
        self._settings = dataclasses.replace(
            WARM_START,
            steps=warm_start_steps,
            hidden_size=hidden_size,
            max_tokens=max(WARM_START.max_tokens, 6 * num_columns),
        )

    def draw(self, split: str, count: int, rng: np.random.Generator) -> Problems:
        """Problems and their true sums."""
        digits = draw_problems(split, count, rng, self.num_columns)
        return Problems(*tokens_of(digits, add_columns(digits)))

    def score(self, problems: Problems, responses: torch.Tensor) -> torch.Tensor:
        """1 for the whole right answer, else 0."""
        return exact_match(problems.answers, responses, self.end_id)

    def ensure_model(self, folder: Path, seed: int) -> Path:
        """The demo's model where nothing differs from it, by the same fit."""
        settings = dataclasses.replace(self._settings, seed=seed)
        name = f"columns{self.num_columns}_forget{self.forget_carry:g}_width{settings.hidden_size}"
        path = folder / f"{name}_steps{settings.steps}_seed{seed}"
        made_of = [f"{self.num_columns} columns, {self.forget_carry} forgotten"]
        ensure_warm_start(path, settings, self._teacher, made_of)
        return path

    def _teacher(self) -> Teacher:
        demonstrations = partial(
            column_addition.demonstrations,
            num_columns=self.num_columns,
            forget_carry=self.forget_carry,
        )
        return Teacher(ascii_tokenizer(), demonstrations)
