"""Results on disk are never of two kinds in one folder."""

import json

import pytest

from holderpo.records_folder import SETTINGS_FILE, settings_conflicts, write_settings

SETTINGS = {
    "model": {"path": "/a", "fingerprint": "f"},
    "engine": {"dtype": "float32"},
    "sets": {"math500": {"temperature": 0.0, "max_tokens": 3000}},
}


def test_other_settings_are_refused_by_name(tmp_path):
    assert settings_conflicts(tmp_path / "new", SETTINGS) == []
    write_settings(tmp_path / "new", SETTINGS)
    other = {
        "model": {"path": "/b", "fingerprint": "g"},
        "engine": {"dtype": "float32"},
        "sets": {"math500": {"temperature": 0.0, "max_tokens": 512}},
    }
    fingerprint, tokens = settings_conflicts(tmp_path / "new", other)
    assert "model.fingerprint is 'f' there and 'g' here; give another --out" in fingerprint
    assert "sets.math500.max_tokens is 3000 there and 512 here" in tokens


def test_a_model_that_was_moved_and_further_sets_are_no_conflict(tmp_path):
    write_settings(tmp_path, SETTINGS)
    more = {
        **SETTINGS,
        "model": {"path": "/moved", "fingerprint": "f"},
        "sets": {"amc": {"temperature": 0.0, "max_tokens": 3000}},
    }
    assert settings_conflicts(tmp_path, more) == []
    write_settings(tmp_path, more, growing="sets")
    stored = json.loads((tmp_path / SETTINGS_FILE).read_text())
    assert list(stored["sets"]) == ["math500", "amc"]
    assert stored["model"]["path"] == "/moved"


def test_answers_of_unknown_settings_are_refused(tmp_path):
    (tmp_path / "math500.jsonl").write_text("{}\n")
    assert "no evaluation.json" in settings_conflicts(tmp_path, SETTINGS)[0]
    (tmp_path / SETTINGS_FILE).write_text("{")
    assert "broken" in settings_conflicts(tmp_path, SETTINGS)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"model": SETTINGS["model"], "games": {"split": "train"}},
        {"games": {"split": "train"}},
        {**SETTINGS, "policy": {"name": "random"}},
    ],
)
def test_another_kind_of_evaluation_is_refused(tmp_path, settings):
    write_settings(tmp_path, SETTINGS)
    (conflict,) = settings_conflicts(tmp_path, settings)
    assert "of another kind of evaluation; give another --out" in conflict
