"""The demo's task: right answers, disjoint splits, seeds."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import column_addition
from data_prep.tiny_model import END_ID


def number(digits, side):
    return sum(int(digit) * 10**place for place, digit in enumerate(digits[:, side]))


def test_answers_are_the_sums_of_the_two_numbers():
    digits = column_addition.draw_problems("train", 300, np.random.default_rng(0))
    for problem, sums in zip(digits, column_addition.add_columns(digits), strict=True):
        written = [value % 10 for value in sums[:-1]] + [sums[-1]]
        total = sum(int(value) * 10**place for place, value in enumerate(written))
        assert total == number(problem, 0) + number(problem, 1)


def test_text_form():
    digits = np.array([[7, 9], [4, 8], [3, 5], [1, 2], [6, 0], [0, 5]])
    assert column_addition.prompt_text(digits) == "79 48 35 12 60 05="
    assert (
        column_addition.answer_text(column_addition.add_columns(digits[None])[0])
        == "16 13 09 03 06 05"
    )


def test_the_teacher_forgets_the_stated_share_of_carries():
    rng = np.random.default_rng(1)
    digits = column_addition.draw_problems("warm_start", 4000, rng)
    told = column_addition.add_columns(digits, forget_carry=column_addition.FORGET_CARRY, rng=rng)
    carried = told[:, 1:] - digits[:, 1:].sum(-1)
    was_due = told[:, :-1] >= 10
    assert carried[~was_due].max() == 0
    assert carried[was_due].mean() == pytest.approx(1 - column_addition.FORGET_CARRY, abs=0.02)


def test_splits_are_disjoint_whatever_the_seeds():
    seen = {}
    for split in column_addition.BUCKETS:
        for seed in (0, 1):
            digits = column_addition.draw_problems(split, 2000, np.random.default_rng(seed))
            seen.setdefault(split, set()).update(map(column_addition.prompt_text, digits))
    assert not seen["heldout"] & (seen["train"] | seen["warm_start"])
    assert not seen["train"] & seen["warm_start"]


def test_parquet_rows_and_manifest_follow_the_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        column_addition.write_data(tmp_path / name, seed=seed, num_train=20, num_heldout=10)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in "abc"]
    digests = [[file["sha256"] for file in manifest["files"]] for manifest in manifests]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    row = pq.read_table(tmp_path / "a" / "train.parquet").to_pylist()[0]
    assert row["prompt"][0]["role"] == "user"
    assert len(row["prompt"][0]["content"]) == column_addition.PROMPT_CHARACTERS
    assert len(row["reward_model"]["ground_truth"]) == column_addition.ANSWER_CHARACTERS


def test_demonstrations_end_with_the_end_token():
    batch = column_addition.demonstrations(3, np.random.default_rng(0))
    num_prompt_tokens = column_addition.PROMPT_CHARACTERS
    num_answer_tokens = column_addition.ANSWER_CHARACTERS + 1
    assert batch.tokens.shape == (3, num_prompt_tokens + num_answer_tokens)
    assert (batch.tokens[:, -1] == END_ID).all()
    assert (batch.tokens[:, num_prompt_tokens - 1] == ord("=")).all()
    assert not batch.is_answer[:, :num_prompt_tokens].any()
    assert batch.is_answer[:, num_prompt_tokens:].all()
