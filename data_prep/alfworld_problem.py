"""A generated game as the files that alfworld reads."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from data_prep.alfworld_rooms import Item
from data_prep.alfworld_scenario import Scenario
from data_prep.alfworld_tables import Tables
from data_prep.alfworld_walkthrough import walkthrough
from holderpo.alfworld.game_facts import wording_of
from holderpo.alfworld.games import GENERATOR_KEY
from holderpo.alfworld.split_folders import GAME_FILE, TRIAL_FILE

PROBLEM_FILE = "initial_state.pddl"
TASK_SENTENCE = re.compile(r'(Your task is to: )[^"]*(")')
"""Where a grammar names the task: as the package ships it, or as a game file has it."""


@dataclass(frozen=True)
class Logic:
    """What all games of a set have in common."""

    domain: str
    grammar: str


@dataclass(frozen=True)
class GameFiles:
    """One game, ready to be written."""

    folder: str
    """Below the split: ``<task>/<trial>``."""
    files: Mapping[str, str]
    """Texts by name."""
    commands: tuple[str, ...]
    """That win it."""
    key: str
    """The same for games that are alike but for their names."""


def write_game(
    scenario: Scenario, logic: Logic, number: int, seed: int, tables: Tables
) -> GameFiles:
    """Write a game down.

    Args:
        scenario: of the game.
        logic: domain and grammar of the game files.
        number: of the game within its set.
        seed: of the set.
        tables: of the installed alfworld.

    Returns:
        Its files, the same bytes every time.
    """
    body = _body(scenario, tables)
    key = hashlib.sha256(body.encode()).hexdigest()
    trial = f"trial_T{seed:08d}_{number:06d}_{int(key[:12], 16) % 1_000_000:06d}"
    problem = f"\n(define (problem plan_{trial})\n(:domain alfred)\n{body}"
    sentence = _sentence(scenario, random.Random(key), tables)
    grammar = TASK_SENTENCE.sub(rf"\g<1>{sentence}.\g<2>", logic.grammar)
    commands = walkthrough(scenario, wording_of(grammar))
    parameters = {
        "object_target": scenario.target,
        "parent_target": scenario.destination,
        "toggle_target": scenario.lamp_type,
        "mrecep_target": "",
        "object_sliced": False,
    }
    trial_data = {
        "task_id": trial,
        "task_type": scenario.task_type,
        "pddl_params": parameters,
        "scene": {
            "floor_plan": f"FloorPlan{scenario.room.scene}",
            "scene_num": scenario.room.scene,
        },
        "turk_annotations": {"anns": [{"task_desc": sentence}]},
    }
    game = {
        "pddl_domain": logic.domain,
        "grammar": grammar,
        "pddl_problem": problem,
        "solvable": True,
        "walkthrough": commands,
        GENERATOR_KEY: "holderpo",
    }
    where = scenario.destination or scenario.lamp_type
    return GameFiles(
        folder=f"{scenario.task_type}-{scenario.target}-None-{where}-{scenario.room.scene}/{trial}",
        files={
            PROBLEM_FILE: problem,
            TRIAL_FILE: json.dumps(trial_data, indent=1) + "\n",
            GAME_FILE: json.dumps(game) + "\n",
        },
        commands=tuple(commands),
        key=key,
    )


def _sentence(scenario: Scenario, rng: random.Random, tables: Tables) -> str:
    template = rng.choice(tables.goals[scenario.task_type]["templates"])
    return template.format(
        obj=scenario.target.lower(),
        recep=scenario.destination.lower(),
        toggle=scenario.lamp_type.lower(),
    )


def _body(scenario: Scenario, tables: Tables) -> str:
    """The problem after its name, which alone tells apart games that are alike."""
    goal = tables.goals[scenario.task_type]["pddl"].format(
        obj=scenario.target, recep=scenario.destination, toggle=scenario.lamp_type
    )
    objects = "\n    ".join(_objects(scenario, tables))
    facts = "\n    ".join(f"({fact})" for fact in _facts(scenario, tables))
    # The package's text of the goal also closes the problem.
    return f"(:objects\n    {objects}\n)\n(:init\n    {facts}\n)\n{goal.replace('#', '-')}"


def _objects(scenario: Scenario, tables: Tables) -> Iterator[str]:
    room = scenario.room
    yield "agent1 - agent"
    # The domain names some of them as constants, so all are there, used or not.
    yield from (f"{kind}Type - otype" for kind in tables.object_types)
    yield from (f"{kind}Type - rtype" for kind in tables.receptacle_types)
    yield from (f"{item.id} - object" for item in scenario.things)
    yield from (f"{place.id} - receptacle" for place in room.receptacles)
    places = {place.location for place in room.receptacles}
    places |= {fixture.location for fixture in room.fixtures} | {room.start}
    yield from (f"{place} - location" for place in sorted(places))


def _facts(scenario: Scenario, tables: Tables) -> Iterator[str]:
    for place in scenario.room.receptacles:
        yield f"receptacleType {place.id} {place.type}Type"
        yield f"receptacleAtLocation {place.id} {place.location}"
        if place.is_openable:
            yield f"openable {place.id}"
    for item in scenario.things:
        yield f"objectType {item.id} {item.type}Type"
        yield f"objectAtLocation {item.id} {item.location}"
        if isinstance(item, Item):
            yield f"inReceptacle {item.id} {item.receptacle.id}"
        for ability in sorted(tables.abilities):
            if item.type in tables.abilities[ability]:
                yield f"{ability} {item.id}"
        if item.type in tables.movable:
            yield f"isReceptacleObject {item.id}"
    yield from (f"pickupable {item.id}" for item in scenario.items)
    kinds = {item.type for item in scenario.items}
    for place_type in sorted({place.type for place in scenario.room.receptacles}):
        for kind in tables.contents[place_type]:
            # Of types that are not there, nothing needs to be known.
            if kind in kinds:
                yield f"canContain {place_type}Type {kind}Type"
    yield f"atLocation agent1 {scenario.room.start}"
