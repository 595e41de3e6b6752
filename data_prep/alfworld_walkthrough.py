"""The commands that win a generated game, known because everything about it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from data_prep.alfworld_rooms import Item, Receptacle
from data_prep.alfworld_scenario import LIGHT, TOOLS, TWO, Scenario
from holderpo.alfworld.game_facts import Wording

_VERBS = {"cleanable": "clean", "heatable": "heat", "coolable": "cool"}


def names_of(scenario: Scenario) -> dict[str, str]:
    """What the engine calls things.

    Args:
        scenario: of the game.

    Returns:
        Names by id, such as ``drawer 3``: of the ids of a class, the last one sorted is the first.
    """
    ids = [place.id for place in scenario.room.receptacles]
    ids += [thing.id for thing in scenario.things]
    names = {}
    numbers: Counter[str] = Counter()
    for name in sorted(ids, key=str.lower, reverse=True):
        owner = name.partition("_bar_")[0].lower()
        kind = f"{owner}basin" if name.lower().endswith("basin") else owner
        numbers[kind] += 1
        names[name] = f"{kind} {numbers[kind]}"
    return names


def walkthrough(scenario: Scenario, wording: Wording) -> list[str]:
    """Commands that win, none of them in vain.

    Args:
        scenario: of the game.
        wording: of the command that puts an object down.

    Returns:
        Commands, in order; the goal holds after the last one.
    """
    player = _Player(scenario, wording)
    if scenario.task_type == LIGHT:
        lamp = scenario.room.lamp
        assert lamp is not None, "rooms for this task have one"
        player.take(player.nearest(scenario.targets))
        player.go_to(lamp.receptacle)
        player.commands.append(f"use {player.names[lamp.id]}")
        return player.commands
    destination = player.first_open(scenario.destination)
    number = 2 if scenario.task_type == TWO else 1
    targets = list(scenario.targets)
    for _ in range(number):
        target = player.nearest(targets)
        targets.remove(target)
        player.take(target)
        if scenario.task_type in TOOLS:
            tool, ability = TOOLS[scenario.task_type]
            player.use_on(target, player.first_open(tool), _VERBS[ability])
        player.put(target, destination)
    return player.commands


class _Player:
    """Where the agent is, what it has opened, and its commands so far."""

    def __init__(self, scenario: Scenario, wording: Wording) -> None:
        self.names = names_of(scenario)
        self.commands: list[str] = []
        self._room = scenario.room
        self._put = "put {} in/on {}" if wording == "put" else "move {} to {}"
        self._location = scenario.room.start
        self._opened: set[str] = set()

    def first_open(self, kind: str) -> Receptacle:
        found = [place for place in self._room.receptacles if place.type == kind]
        return min(found, key=lambda place: (place.is_openable, place.id))

    def nearest(self, targets: Sequence[Item]) -> Item:
        return min(targets, key=lambda item: (item.receptacle.is_openable, item.id))

    def go_to(self, place: Receptacle) -> None:
        # What stands at the same spot is reached already, and the engine offers no way to it.
        if place.location != self._location:
            self.commands.append(f"go to {self.names[place.id]}")
            self._location = place.location

    def reach_into(self, place: Receptacle) -> None:
        self.go_to(place)
        if place.is_openable and place.id not in self._opened:
            self.commands.append(f"open {self.names[place.id]}")
            self._opened.add(place.id)

    def take(self, item: Item) -> None:
        self.reach_into(item.receptacle)
        self.commands.append(f"take {self.names[item.id]} from {self.names[item.receptacle.id]}")

    def use_on(self, item: Item, tool: Receptacle, verb: str) -> None:
        self.go_to(tool)
        self.commands.append(f"{verb} {self.names[item.id]} with {self.names[tool.id]}")

    def put(self, item: Item, place: Receptacle) -> None:
        self.reach_into(place)
        self.commands.append(self._put.format(self.names[item.id], self.names[place.id]))
