"""A model fitted to demonstrations: what it learns, and when it is made again."""

import dataclasses
import importlib
import json

import torch

from data_prep.warm_start import WarmStartSettings, ensure_warm_start, fit, fit_digest

SETTINGS = WarmStartSettings(num_prompt_tokens=2, steps=2, warm_up_steps=1, batch_size=4)


def doubled(batch_size, rng):
    """A letter twice, then the next one twice."""
    first = torch.from_numpy(rng.integers(ord("a"), ord("z"), (batch_size, 1)))
    return torch.cat([first, first, first + 1, first + 1], dim=1)


def test_a_model_learns_the_answers_of_any_demonstrations():
    settings = dataclasses.replace(SETTINGS, steps=60, batch_size=64, warm_up_steps=5)
    model = fit(settings, doubled)
    tokens = torch.tensor([[ord(letter) for letter in word] for word in ("aabb", "mmnn")])
    with torch.no_grad():
        predicted = model(input_ids=tokens[:, :-1]).logits.argmax(-1)
    assert predicted[:, 1:].tolist() == tokens[:, 2:].tolist()
    # The prompt is given, not learnt.
    assert predicted[:, 0].tolist() != tokens[:, 1].tolist()


def test_it_is_made_once_and_again_when_its_settings_change(tmp_path, capsys):
    folder = tmp_path / "model"
    for settings in (SETTINGS, SETTINGS, dataclasses.replace(SETTINGS, steps=3)):
        ensure_warm_start(folder, settings, doubled)
        assert json.loads((folder / "warm_start.json").read_text())["steps"] == settings.steps
    assert capsys.readouterr().out.count("written") == 2


def test_it_is_made_again_when_the_code_of_the_demonstrations_changes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "lessons_of_a_test.py"
    code = "def lessons(batch_size, rng):\n    return SHARE * rng.random(batch_size)\n"
    module.write_text(f"SHARE = 0.25\n{code}")
    lessons = importlib.import_module(module.stem).lessons
    before = fit_digest(SETTINGS, lessons)
    assert fit_digest(SETTINGS, lessons) == before
    module.write_text(f"SHARE = 0.5\n{code}")
    assert fit_digest(SETTINGS, lessons) != before
