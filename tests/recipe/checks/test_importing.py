"""A package of others may end its import in anything: it is told in one line."""

import pytest

from recipe.holderpo.checks.importing import why_not_importable


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("ImportError('undefined symbol: _Z')", "undefined symbol: _Z"),
        ("ImportError()", "ImportError"),
        ("OSError('libcudart.so.13: cannot open\\nmore')", "libcudart.so.13: cannot open"),
        ("RuntimeError('no driver')", "no driver"),
        ("RuntimeError()", "RuntimeError"),
        ("ValueError('\\n')", "ValueError"),
    ],
)
def test_whatever_a_module_raises_is_one_line(raised, told, tmp_path, monkeypatch):
    (tmp_path / "module_of_others.py").write_text(f"raise {raised}")
    monkeypatch.syspath_prepend(tmp_path)
    assert why_not_importable("module_of_others") == told


def test_names_that_are_none_and_modules_that_are_not_there_are_told_too():
    assert why_not_importable("") == "Empty module name"
    assert why_not_importable("json.no_such_module") == "No module named 'json.no_such_module'"
    assert why_not_importable("json.decoder") is None
