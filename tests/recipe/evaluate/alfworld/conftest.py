import pytest

from holderpo.alfworld.games import collect_games
from tests.alfworld_games import generated_games

__all__ = ["generated_games", "manifest"]


@pytest.fixture(scope="session")
def manifest(generated_games):
    """Six small games, one of each type."""
    file = next(iter(generated_games.values()))
    return collect_games(file.parents[3], file.parents[2].name)
