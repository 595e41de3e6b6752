"""Made-up games and episodes."""

from pathlib import Path

from holderpo.alfworld.episode_records import EpisodeRecord
from holderpo.alfworld.games import Game, Manifest
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turns import Outcome

PICK, LOOK, CLEAN, *_ = TASK_TYPES


def game(number, task_type=PICK, **changes):
    fields = {
        "path": f"valid_seen/{task_type}-{number}/trial/game.tw-pddl",
        "task_type": task_type,
        "split": "valid_seen",
        "scene": number,
        "sha256": f"{number:064x}",
        "wording": "put",
        "wins_without_put": False,
    }
    return Game(**(fields | changes))


def manifest_of(games, folder=Path("games")):
    return Manifest("valid_seen", folder, tuple(sorted(games)), "0.4.2")


def episode(one, outcome=Outcome.WON, *, pass_number=1, steps=10, **changes):
    fields = {
        "game": one.path,
        "task_type": one.task_type,
        "won": outcome is Outcome.WON,
        "steps": steps,
        "outcome": outcome,
        "pass_number": pass_number,
        "number": one.scene,
        "seed": 0,
        "split": one.split,
        "scene": one.scene,
        "sha256": one.sha256,
        "truncated": 0,
        "malformed": 0,
        "inadmissible": 0,
        "episode_return": 10.0 * (outcome is Outcome.WON),
        "restarts": 0,
        "reason": "no answer" if outcome is Outcome.FAILED else "",
    }
    return EpisodeRecord(**(fields | changes))
