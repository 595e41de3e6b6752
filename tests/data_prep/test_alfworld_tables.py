"""Tables of the installed alfworld: whole, and read without a trace in the user's home."""

import os
import subprocess
import sys

import pytest

from data_prep import alfworld_tables
from tests.alfworld_games import needs_alfworld


@needs_alfworld
def test_tables_hold_the_types_that_the_domain_names():
    tables = alfworld_tables.read_tables()
    # As many as official problems declare.
    assert (len(tables.receptacle_types), len(tables.object_types)) == (30, 79)
    for name in ("SinkBasin", "Microwave", "Fridge"):
        assert f"{name}Type" in tables.domain
        assert name in tables.receptacle_types
    assert "Box" not in tables.openable
    assert tables.contents["CoffeeMachine"] == ("Mug",)
    assert "UNKNOWN GOAL" in tables.grammar


@needs_alfworld
def test_reading_them_makes_no_folder_and_imports_no_alfworld(tmp_path):
    program = (
        "import sys; from data_prep.alfworld_tables import read_tables; read_tables();"
        "assert 'alfworld' not in sys.modules"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ALFWORLD_DATA", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert [*tmp_path.iterdir()] == []


def test_without_the_package_it_says_so(monkeypatch):
    monkeypatch.setattr(alfworld_tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="alfworld"):
        alfworld_tables.read_tables()
