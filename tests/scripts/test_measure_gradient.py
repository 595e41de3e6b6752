"""The gradient measurement's reading of dumps, and one whole run on a random model."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from data_prep.tiny_model import END_ID, ascii_tokenizer, save, tiny_qwen2

# scripts/ is no package, and an installed one of that name hides it.
PATH = Path(__file__).parents[2] / "scripts" / "measure_gradient.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)

LINE = {"input": "1+1=", "output": "2", "gts": "2", "score": 1.0, "step": 1, "uid": "a_b_0_0"}


def dump(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_the_prompts_part_of_the_key_is_the_group(tmp_path):
    path = dump(tmp_path / "1.jsonl", LINE, {**LINE, "uid": "a_b_1_0"})
    assert {rollout.prompt_uid for rollout in script.read_rollouts(path)} == {"a_b"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([1], "line 2: not a JSON object"),
        ({**LINE, "score": None}, "line 2: score: None"),
        ({**LINE, "score": float("nan")}, "line 2: score: nan"),
        ({**LINE, "uid": "a"}, r"line 2: uid: 'a'; must be \{prompt\}_\{rollout\}_\{output\}"),
        ({"input": "1+1="}, "line 2: output: None"),
    ],
)
def test_a_bad_line_is_named(tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        script.read_rollouts(dump(tmp_path / "1.jsonl", LINE, entry))


def test_a_missing_or_empty_or_broken_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--rollouts: .*not found"):
        script.read_rollouts(tmp_path / "1.jsonl")
    with pytest.raises(ValueError, match="empty"):
        script.read_rollouts(dump(tmp_path / "1.jsonl"))
    (tmp_path / "1.jsonl").write_text('{"input": ')
    with pytest.raises(ValueError, match="line 1: Expecting value"):
        script.read_rollouts(tmp_path / "1.jsonl")


def test_the_end_token_is_appended_unless_the_response_was_cut_off():
    tokenizer = ascii_tokenizer()
    rollout = script.Rollout("1+1=", "23", 1.0, "a")
    assert script.tokenize(tokenizer, rollout, 3).response == [*b"23", END_ID]
    assert script.tokenize(tokenizer, rollout, 2).response == [*b"23"]
    with pytest.raises(ValueError, match="max-response-tokens"):
        script.tokenize(tokenizer, rollout, 1)


def test_the_chat_template_is_filled_again_with_its_special_tokens():
    tokenizer = ascii_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<end>Q: {{ m['content'] }}<end>A:{% endfor %}"
    prompt = script.tokenize(tokenizer, script.Rollout("Q: 1+1=A:", "2", 1.0, "a"), 9).prompt
    assert prompt == [END_ID, *b"Q: 1+1=", END_ID, *b"A:"]
    with pytest.raises(ValueError, match="not one user message"):
        script.tokenize(tokenizer, script.Rollout("1+1=", "2", 1.0, "a"), 9)


def test_a_whole_run_writes_tables_numbers_and_picture(tmp_path, monkeypatch, capsys):
    for seed, name in enumerate(("old", "new")):
        torch.manual_seed(seed)
        save(tmp_path / name, tiny_qwen2(max_tokens=16))
    entries = [
        {
            **LINE,
            "input": f"1+{number}=",
            "output": str(answer),
            "score": float(answer == 2),
            "uid": f"{number}_{answer}_0",
        }
        for number in (1, 2)
        for answer in (2, 3)
    ]
    rollouts = dump(tmp_path / "1.jsonl", *entries)
    options = {
        "--rollouts": rollouts,
        "--old-model": tmp_path / "old",
        "--model": tmp_path / "new",
        "--max-response-tokens": 4,
        "--mini-batch-groups": 1,
        "--out": tmp_path / "out",
    }
    words = [str(word) for pair in options.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["measure_gradient.py", *words, "--orders", "-0.5", "1"])
    script.main()
    assert "4 responses of 2 prompts (2 with signal), 8 tokens" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "gradient.json").read_text())
    assert [order["p"] for order in record["measurement"]["orders"]] == [-0.5, 1.0]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".json", ".png"}
