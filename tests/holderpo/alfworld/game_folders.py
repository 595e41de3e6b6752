"""Folders of made-up games: enough to be collected, too little to be played."""

import json

GRAMMARS = {
    "put": 'action PutObject {\n    template :: "put {o} in/on {r}";\n}',
    "move": 'action PutObject {\n    template :: "move {o} to {r}";\n}',
}
TASK = "pick_and_place_simple-Mug-None-Shelf-301"
PROBLEM = """(define (problem plan)
(:init
    (receptacleType Shelf_bar_1 ShelfType)
    (receptacleType Shelf_bar_2 ShelfType)
    (receptacleType Desk_bar_1 DeskType)
    (objectType Mug_bar_1 MugType)
    (pickupable Mug_bar_1)
    (heatable Mug_bar_1)
    {facts}
)
(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
    (heatable ?o) (objectType ?o MugType) (receptacleType ?r ShelfType) (isHot ?o)
    (inReceptacle ?o ?r)))))))
"""


def add_game(split, task=TASK, trial="trial_1", *, wording="put", trial_data=None, **changes):
    """Write a game below a split's folder; a change to None leaves the key out. The game file."""
    folder = split / task / trial
    folder.mkdir(parents=True)
    trial_data = {"task_type": task.partition("-")[0]} if trial_data is None else trial_data
    (folder / "traj_data.json").write_text(json.dumps(trial_data))
    game = {
        "pddl_domain": "(define (domain alfred))",
        "pddl_problem": PROBLEM.format(facts=""),
        "grammar": GRAMMARS[wording],
        "solvable": True,
        **changes,
    }
    game = {name: value for name, value in game.items() if value is not None}
    (folder / "game.tw-pddl").write_text(json.dumps(game))
    return folder / "game.tw-pddl"
