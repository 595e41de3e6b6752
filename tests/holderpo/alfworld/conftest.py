from tests.alfworld_games import official_games

__all__ = ["official_games"]
