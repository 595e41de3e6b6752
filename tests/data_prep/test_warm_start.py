"""A model fitted to demonstrations: what it learns, and when it is made again."""

import dataclasses
import importlib
import json

import pytest
import torch
from transformers import AutoTokenizer

from data_prep.tiny_model import PAD_ID, ascii_tokenizer
from data_prep.warm_start import (
    Batch,
    Teacher,
    WarmStartSettings,
    ensure_warm_start,
    fit,
    fit_digest,
)

SETTINGS = WarmStartSettings(steps=2, warm_up_steps=1, batch_size=4)


def doubled(batch_size, rng):
    """A letter twice, then the next one twice."""
    first = torch.from_numpy(rng.integers(ord("a"), ord("z"), (batch_size, 1)))
    tokens = torch.cat([first, first, first + 1, first + 1], dim=1)
    return Batch(tokens, torch.tensor([[False, False, True, True]]).expand(batch_size, -1))


def teacher():
    return Teacher(ascii_tokenizer(), doubled)


def padded(batch_size, rng):
    """The same, with something behind it that is no token."""
    batch = doubled(batch_size, rng)
    padding = torch.full((batch_size, 3), PAD_ID)
    return Batch(
        torch.cat([batch.tokens, padding], dim=1),
        torch.cat([batch.is_answer, padding.bool()], dim=1),
    )


def test_padding_changes_nothing():
    settings = dataclasses.replace(SETTINGS, prompt_weight=0.5)
    plain, longer = (
        fit(settings, dataclasses.replace(teacher(), demonstrations=demonstrations))
        for demonstrations in (doubled, padded)
    )
    for ours, theirs in zip(plain.parameters(), longer.parameters(), strict=True):
        # The operations sum in another order; a step is 4e-3.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_prompts_are_learnt_too_if_asked():
    settings = dataclasses.replace(SETTINGS, steps=60, batch_size=64, warm_up_steps=5)
    model = fit(dataclasses.replace(settings, prompt_weight=1.0), teacher())
    with torch.no_grad():
        predicted = model(input_ids=torch.tensor([[*b"mmnn"]])).logits.argmax(-1)
    assert predicted[0, 0] == ord("m")


@pytest.mark.parametrize(("hidden_size", "num_layers"), [(64, 1), (96, 2)])
def test_the_model_has_the_size_asked_for_and_its_teachers_vocabulary(hidden_size, num_layers):
    tokenizer = ascii_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    settings = dataclasses.replace(SETTINGS, hidden_size=hidden_size, num_layers=num_layers)
    config = fit(settings, Teacher(tokenizer, doubled)).config
    assert (config.hidden_size, config.num_hidden_layers) == (hidden_size, num_layers)
    assert config.intermediate_size == 3 * hidden_size
    assert config.vocab_size == 130


def test_fresh_weights_are_as_wide_as_asked_for():
    for width in (0.02, 0.06):
        settings = dataclasses.replace(SETTINGS, learning_rate=0.0, initializer_range=width)
        weights = fit(settings, teacher()).model.embed_tokens.weight
        # All but the row of the padding, which is 0.
        assert weights.std().item() == pytest.approx(width, rel=0.05)


def test_the_teachers_tokenizer_lies_beside_the_model(tmp_path):
    tokenizer = ascii_tokenizer()
    tokenizer.add_tokens(["mmnn"])
    ensure_warm_start(tmp_path / "model", SETTINGS, lambda: Teacher(tokenizer, doubled))
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("mmnn").input_ids == [128]


def test_a_model_learns_the_answers_of_any_demonstrations():
    settings = dataclasses.replace(SETTINGS, steps=60, batch_size=64, warm_up_steps=5)
    model = fit(settings, teacher())
    tokens = torch.tensor([[ord(letter) for letter in word] for word in ("aabb", "mmnn")])
    with torch.no_grad():
        predicted = model(input_ids=tokens[:, :-1]).logits.argmax(-1)
    assert predicted[:, 1:].tolist() == tokens[:, 2:].tolist()
    # The prompt is given, not learnt.
    assert predicted[:, 0].tolist() != tokens[:, 1].tolist()


def test_it_is_made_once_and_again_when_its_settings_change(tmp_path, capsys):
    folder = tmp_path / "model"
    for settings in (SETTINGS, SETTINGS, dataclasses.replace(SETTINGS, steps=3)):
        ensure_warm_start(folder, settings, teacher)
        assert json.loads((folder / "warm_start.json").read_text())["steps"] == settings.steps
    assert capsys.readouterr().out.count("written") == 2


def test_a_model_that_is_there_asks_no_teacher(tmp_path):
    ensure_warm_start(tmp_path / "model", SETTINGS, teacher)
    asked = []

    def ask():
        asked.append(True)
        return teacher()

    ensure_warm_start(tmp_path / "model", SETTINGS, ask)
    assert not asked
    ensure_warm_start(tmp_path / "model", SETTINGS, ask, ["other games"])
    assert asked


def test_it_is_made_again_when_the_code_of_the_demonstrations_changes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "lessons_of_a_test.py"
    code = "def lessons():\n    return SHARE\n"
    module.write_text(f"SHARE = 0.25\n{code}")
    imported = importlib.import_module(module.stem)
    # As the teacher's own module, and as one more.
    ways = ((imported.lessons, []), (teacher, [imported]), (teacher, ["text"]))
    before = [fit_digest(SETTINGS, *way) for way in ways]
    assert [fit_digest(SETTINGS, *way) for way in ways] == before
    assert len({*before}) == 3
    module.write_text(f"SHARE = 0.5\n{code}")
    after = [fit_digest(SETTINGS, *way) for way in ways]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
