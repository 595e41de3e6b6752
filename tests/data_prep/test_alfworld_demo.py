"""Games and model of the household demo."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from data_prep import alfworld_demo
from data_prep.alfworld_demo import DEMONSTRATIONS, WARM_START, prepare, prompt_settings, teacher
from data_prep.alfworld_demonstrations import Demonstration
from data_prep.alfworld_generator import GeneratorSettings
from data_prep.tiny_model import END_ID, PAD_ID
from holderpo.alfworld.games import read_manifest
from tests.alfworld_games import needs_alfworld

GAMES = GeneratorSettings(size="tiny", train=1, valid_seen=1)
FEW = dataclasses.replace(DEMONSTRATIONS, episodes_per_game=1)
SHORT = dataclasses.replace(WARM_START, steps=2, warm_up_steps=1, batch_size=2)

TURNS = [
    Demonstration("look " * number, f"<think></think><action>go to desk {number}</action>")
    for number in range(1, 40)
]


def test_batches_hold_prompt_answer_end_and_padding():
    lessons = teacher(TURNS)
    batch = lessons.demonstrations(4, np.random.default_rng(0))
    assert batch.tokens.shape == batch.is_answer.shape
    for tokens, is_answer in zip(batch.tokens, batch.is_answer, strict=True):
        answer = tokens[is_answer].tolist()
        assert answer[-1] == END_ID
        prompt, padding = (
            tokens[: is_answer.nonzero()[0, 0]],
            tokens[is_answer.nonzero()[-1, 0] + 1 :],
        )
        turn = Demonstration(
            lessons.tokenizer.decode(prompt.tolist()), lessons.tokenizer.decode(answer[:-1])
        )
        assert turn in TURNS
        assert (padding == PAD_ID).all()


def test_turns_of_a_batch_are_of_like_length_and_all_have_the_same_chance():
    lessons = teacher(TURNS)
    rng = np.random.default_rng(0)
    shares, drawn = [], []
    for _ in range(400):
        batch = lessons.demonstrations(4, rng)
        shares.append((batch.tokens == PAD_ID).double().mean().item())
        lengths = batch.is_answer.int().argmax(dim=1)
        pairs = zip(batch.tokens, lengths, strict=True)
        drawn += [len(lessons.tokenizer.decode(row[:length])) // 5 for row, length in pairs]
    assert np.mean(shares) < 0.15
    counts = np.bincount(drawn, minlength=40)[1:]
    assert counts.min() > 0.4 * counts.mean()
    assert counts.max() < 1.8 * counts.mean()


def test_messages_are_those_of_the_training():
    settings = prompt_settings()
    assert settings.history_length == 2
    assert settings.first.endswith("Your command: ")
    assert settings.later.endswith("Your command: ")


@needs_alfworld
def test_games_and_model_are_made_once(tmp_path, capsys, monkeypatch):
    prepare(tmp_path, GAMES, FEW, SHORT)
    assert "written" in capsys.readouterr().out
    for split in ("train", "valid_seen"):
        assert len(read_manifest(tmp_path / "games" / f"{split}.json").games) == 6
    model = Qwen2ForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer(TURNS[0].response, return_tensors="pt").input_ids
    assert model.config.vocab_size == len(tokenizer)
    assert torch.isfinite(model(input_ids=ids).logits).all()

    played = []
    play = alfworld_demo.play_demonstrations
    monkeypatch.setattr(
        alfworld_demo, "play_demonstrations", lambda *given: played.append(given) or play(*given)
    )
    prepare(tmp_path, GAMES, FEW, SHORT)
    assert not played
    assert "up to date" in capsys.readouterr().out
    # Other demonstrations make it anew.
    prepare(tmp_path, GAMES, dataclasses.replace(FEW, wander=0.5), SHORT)
    assert len(played) == 1
    # And so do other messages.
    changed = tmp_path / "other.yaml"
    changed.write_text(alfworld_demo.PROMPT_FILE.read_text().replace("Your command", "Now"))
    monkeypatch.setattr(alfworld_demo, "PROMPT_FILE", changed)
    prepare(tmp_path, GAMES, dataclasses.replace(FEW, wander=0.5), SHORT)
    assert len(played) == 2


@needs_alfworld
def test_the_same_settings_give_the_same_model(tmp_path):
    for name in "ab":
        prepare(tmp_path / name, GAMES, FEW, SHORT)
    first, second = ((tmp_path / n / "model" / "model.safetensors").read_bytes() for n in "ab")
    assert first == second
    stamp = json.loads((tmp_path / "a" / "model" / "warm_start.json").read_text())
    assert stamp["steps"] == 2


@needs_alfworld
def test_what_is_wrong_is_one_line(tmp_path):
    (tmp_path / "games" / "json_2.1.1").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        alfworld_demo.main(["--folder", str(tmp_path)])
    error = str(ended.value)
    assert "holds other games (json_2.1.1); give another --folder" in error
    assert len(error.splitlines()) == 1
