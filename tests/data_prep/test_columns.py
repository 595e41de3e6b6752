"""The demo's task: right answers, disjoint splits, seeds."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import columns
from data_prep.tiny_model import ascii_tokenizer, save, tiny_qwen2
from data_prep.warm_start import WarmStartSettings, demonstrations, ensure_warm_start


def number(digits, side):
    return sum(int(digit) * 10**place for place, digit in enumerate(digits[:, side]))


def test_answers_are_the_sums_of_the_two_numbers():
    digits = columns.draw_problems("train", 300, np.random.default_rng(0))
    for problem, sums in zip(digits, columns.add_columns(digits), strict=True):
        written = [value % 10 for value in sums[:-1]] + [sums[-1]]
        total = sum(int(value) * 10**place for place, value in enumerate(written))
        assert total == number(problem, 0) + number(problem, 1)


def test_text_form():
    digits = np.array([[7, 9], [4, 8], [3, 5], [1, 2], [6, 0], [0, 5]])
    assert columns.prompt_text(digits) == "79 48 35 12 60 05="
    assert columns.answer_text(columns.add_columns(digits[None])[0]) == "16 13 09 03 06 05"


def test_the_teacher_forgets_the_stated_share_of_carries():
    rng = np.random.default_rng(1)
    digits = columns.draw_problems("warm_start", 4000, rng)
    told = columns.add_columns(digits, forget_carry=columns.FORGET_CARRY, rng=rng)
    carried = told[:, 1:] - digits[:, 1:].sum(-1)
    was_due = told[:, :-1] >= 10
    assert carried[~was_due].max() == 0
    assert carried[was_due].mean() == pytest.approx(1 - columns.FORGET_CARRY, abs=0.02)


def test_splits_are_disjoint_whatever_the_seeds():
    seen = {}
    for split in columns.BUCKETS:
        for seed in (0, 1):
            digits = columns.draw_problems(split, 2000, np.random.default_rng(seed))
            seen.setdefault(split, set()).update(map(columns.prompt_text, digits))
    assert not seen["heldout"] & (seen["train"] | seen["warm_start"])
    assert not seen["train"] & seen["warm_start"]


def test_parquet_rows_and_manifest_follow_the_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        columns.write_data(tmp_path / name, seed=seed, num_train=20, num_heldout=10)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in "abc"]
    digests = [[file["sha256"] for file in manifest["files"]] for manifest in manifests]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    row = pq.read_table(tmp_path / "a" / "train.parquet").to_pylist()[0]
    assert row["prompt"][0]["role"] == "user"
    assert len(row["prompt"][0]["content"]) == columns.PROMPT_CHARACTERS
    assert len(row["reward_model"]["ground_truth"]) == columns.ANSWER_CHARACTERS


def test_tokenizer_keeps_every_character_also_after_loading(tmp_path):
    from transformers import AutoTokenizer

    save(tmp_path, tiny_qwen2(max_tokens=64))
    text = "79 48=\n16 13"
    for tokenizer in (ascii_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        assert tokenizer(text).input_ids == list(text.encode())
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        chat = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        assert chat == text


def test_warm_start_is_made_once_and_again_when_its_settings_change(tmp_path, capsys):
    folder = tmp_path / "model"
    settings = WarmStartSettings(steps=2, warm_up_steps=1, batch_size=4)
    for expected in (settings, settings, WarmStartSettings(steps=3, warm_up_steps=1, batch_size=4)):
        ensure_warm_start(folder, expected)
        assert json.loads((folder / "warm_start.json").read_text())["steps"] == expected.steps
    assert capsys.readouterr().out.count("written") == 2


def test_demonstrations_end_with_the_end_token():
    tokens = demonstrations(WarmStartSettings(batch_size=3), np.random.default_rng(0))
    assert tokens.shape == (3, columns.PROMPT_CHARACTERS + columns.ANSWER_CHARACTERS + 1)
    assert (tokens[:, -1] == 1).all()
