"""What one generated game is about: its goal, and where its things are at the start."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from data_prep.alfworld_rooms import Fixture, Ids, Item, Receptacle, Room
from data_prep.alfworld_tables import Tables

# The receptacle that each treatment needs, and what an object must be able to.
TOOLS: Mapping[str, tuple[str, str]] = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "cleanable"),
    "pick_heat_then_place_in_recep": ("Microwave", "heatable"),
    "pick_cool_then_place_in_recep": ("Fridge", "coolable"),
}
LIGHT = "look_at_obj_in_light"
TWO = "pick_two_obj_and_place"

# Objects by kind of room: those that official rooms always have, and those that some have.
_ALWAYS: Mapping[str, str] = {
    "Kitchen": (
        "Apple Bowl Bread ButterKnife Cup DishSponge Egg Fork Knife Lettuce Mug Pan PepperShaker "
        "Plate Pot Potato SaltShaker SoapBottle Spatula Spoon Tomato"
    ),
    "LivingRoom": "Box CreditCard KeyChain Laptop Pillow RemoteControl Statue",
    "Bedroom": "AlarmClock Book CD CellPhone CreditCard KeyChain Laptop Pen Pencil Pillow",
    "Bathroom": ("Candle Cloth HandTowel Plunger SoapBar SoapBottle SprayBottle ToiletPaper Towel"),
}
_SOMETIMES: Mapping[str, str] = {
    "Kitchen": (
        "Book CellPhone CreditCard Glassbottle Kettle Ladle Pen Pencil Statue Vase WineBottle"
    ),
    "LivingRoom": (
        "Book Bowl Candle CellPhone Newspaper Pen Pencil Plate TissueBox Vase Watch WateringCan"
    ),
    "Bedroom": (
        "BaseballBat BasketBall Bowl Box Cloth Mug RemoteControl Statue TennisRacket TissueBox Vase"
    ),
    "Bathroom": "DishSponge TissueBox ToiletPaperRoll",
}
_SOMETIMES_SHARE = 0.3
_MOST_OF_A_TYPE = 3

# Objects on one receptacle, counted over the official games; 1 for those not named.
_CROWD: Mapping[str, float] = {
    "Bed": 3.9, "Cabinet": 0.4, "Cart": 2.4, "CoffeeTable": 3.5, "CounterTop": 6.0, "Desk": 5.0,
    "DiningTable": 7.5, "Drawer": 0.5, "Dresser": 3.8, "Fridge": 3.7, "GarbageCan": 0.7,
    "LaundryHamper": 0.2, "SideTable": 2.2, "SinkBasin": 2.0, "Sofa": 2.7, "StoveBurner": 0.7,
    "TVStand": 3.0, "Toaster": 0.1, "Toilet": 2.2,
}  # fmt: skip
# A target that stands where it shall go, but not yet treated.
_ALREADY_THERE = 0.3

# Chances of one, two, ... targets; two are at least needed where two are wanted.
_NUM_TARGETS = (0.35, 0.3, 0.2, 0.15)


@dataclass(frozen=True)
class Scenario:
    """A game before it is written down."""

    task_type: str
    room: Room
    target: str
    """Type of the object to bring or to look at."""
    destination: str
    """Type of the receptacle; empty where there is none."""
    items: tuple[Item, ...]
    """Everything that can be taken."""

    @property
    def targets(self) -> list[Item]:
        """The objects that will do."""
        return [item for item in self.items if item.type == self.target]

    @property
    def things(self) -> list[Item | Fixture]:
        """Everything but the receptacles."""
        lamps = [self.room.lamp] if self.room.lamp else []
        return [*lamps, *self.room.fixtures, *self.items]

    @property
    def lamp_type(self) -> str:
        """Of the lamp to use; empty where there is none."""
        if self.task_type != LIGHT:
            return ""
        assert self.room.lamp is not None, "rooms for this task have one"
        return self.room.lamp.type


def draw_scenario(
    task_type: str, room: Room, rng: random.Random, tables: Tables
) -> Scenario | None:
    """Draw a goal and put things in a room.

    Args:
        task_type: a key of :data:`~holderpo.alfworld.tasks.TASK_TYPES`.
        room: of a kind that the task is done in.
        rng: source of randomness.
        tables: of the installed alfworld.

    Returns:
        The game, whose goal does not hold yet; None if the room has nothing for the task.
    """
    goals = _possible_goals(task_type, room, tables)
    if not goals:
        return None
    # Every destination is as likely, as rare as objects for it may be.
    destination = rng.choice(sorted(goals))
    target = rng.choice(goals[destination])
    ids = Ids(rng)
    items = []
    numbers = range(2 if task_type == TWO else 1, room.size.most_targets + 1)
    for _ in range(rng.choices(numbers, _NUM_TARGETS[: len(numbers)])[0]):
        place = _draw_place(target, room, rng, tables, _reluctance(task_type, destination))
        assert place is not None, "a possible goal has a place for its target"
        items.append(Item(ids.draw(target), target, place))
    for kind in _draw_distractors(target, room, rng):
        if place := _draw_place(kind, room, rng, tables, {}):
            items.append(Item(ids.draw(kind), kind, place))
    return Scenario(task_type, room, target, destination, tuple(items))


def _possible_goals(task_type: str, room: Room, tables: Tables) -> dict[str, list[str]]:
    """Target types by type of destination, none of which holds from the start."""
    there = {place.type for place in room.receptacles}
    kinds = sorted({*_ALWAYS[room.kind].split(), *_SOMETIMES[room.kind].split()})
    places = {kind: {place for place in there if kind in tables.contents[place]} for kind in kinds}
    if task_type == LIGHT:
        found = [kind for kind in kinds if places[kind]]
        return {"": found} if found and room.lamp else {}
    tool, ability = TOOLS.get(task_type, ("", ""))
    if tool and tool not in there:
        return {}
    goals: dict[str, list[str]] = {}
    for kind in kinds:
        if ability and kind not in tables.abilities[ability]:
            continue
        for destination in sorted(places[kind] - {tool}):
            if places[kind] != {destination}:
                goals.setdefault(destination, []).append(kind)
    return goals


def _reluctance(task_type: str, destination: str) -> dict[str, float]:
    return {destination: _ALREADY_THERE if task_type in TOOLS else 0.0} if destination else {}


def _draw_place(
    kind: str, room: Room, rng: random.Random, tables: Tables, reluctance: Mapping[str, float]
) -> Receptacle | None:
    places = [place for place in room.receptacles if kind in tables.contents[place.type]]
    weights = [_CROWD.get(place.type, 1.0) * reluctance.get(place.type, 1.0) for place in places]
    return rng.choices(places, weights)[0] if places else None


def _draw_distractors(target: str, room: Room, rng: random.Random) -> list[str]:
    """Types of the other objects, the same one up to three times."""
    kinds = _ALWAYS[room.kind].split()
    kinds += [k for k in _SOMETIMES[room.kind].split() if rng.random() < _SOMETIMES_SHARE]
    kinds = [kind for kind in kinds if kind != target]
    sizes = room.size.kitchen_objects if room.kind == "Kitchen" else room.size.other_objects
    number = min(rng.randint(*sizes), _MOST_OF_A_TYPE * len(kinds))
    rng.shuffle(kinds)
    more = kinds * (_MOST_OF_A_TYPE - 1)
    rng.shuffle(more)
    return (kinds + more)[:number]
