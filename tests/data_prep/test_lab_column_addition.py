"""The demo's task in the laboratory."""

import numpy as np
import pytest
import torch

from data_prep.lab_column_addition import ColumnAddition
from data_prep.tiny_model import END_ID


def draw(split="train", count=50, **settings):
    task = ColumnAddition(**settings)
    return task, task.draw(split, count, np.random.default_rng(0))


@pytest.mark.parametrize("num_columns", [6, 33, 66])
def test_problems_are_sums_with_carries(num_columns):
    task, problems = draw(num_columns=num_columns)
    assert problems.prompts.shape == (50, 3 * num_columns)
    assert problems.answers.shape == (50, task.max_response_tokens)
    for prompt, answer in zip(problems.prompts, problems.answers, strict=True):
        columns = bytes(prompt.tolist()).decode().rstrip("=").split()
        sums = bytes(answer[:-1].tolist()).decode().split()
        first, second = (int("".join(c[k] for c in reversed(columns))) for k in (0, 1))
        digits = "".join(one[1] for one in reversed(sums))
        assert int(sums[-1][0] + digits) == first + second


def test_only_the_whole_answer_counts():
    task, problems = draw()
    right = problems.answers
    assert task.score(problems, right).tolist() == [1.0] * 50
    wrong = right.clone()
    wrong[:, 4] += 1
    early = right.clone()
    early[:, 7] = END_ID
    endless = right.clone()
    endless[:, -1] = 50
    for response in (wrong, early, endless, right[:, :-1]):
        assert task.score(problems, response).tolist() == [0.0] * 50
    longer = torch.nn.functional.pad(right, (0, 2), value=END_ID)
    assert task.score(problems, longer).tolist() == [1.0] * 50


def test_held_out_problems_are_no_others():
    splits = [
        {tuple(row) for row in draw(split, 3000, num_columns=2)[1].prompts.tolist()}
        for split in ("train", "heldout")
    ]
    assert not splits[0] & splits[1]
