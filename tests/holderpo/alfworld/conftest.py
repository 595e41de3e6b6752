from tests.alfworld_games import generated_games, official_games

__all__ = ["generated_games", "official_games"]
