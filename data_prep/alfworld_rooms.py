"""Rooms for generated games: what stands in them and where; one and the same for all their games.

How often a piece of furniture occurs and how many there are follows a count over the 340 official
games of valid_seen and valid_train.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from data_prep.alfworld_tables import Tables


@dataclass(frozen=True)
class Furniture:
    """A kind of receptacle in a kind of room."""

    type: str
    share: float
    """Of the rooms that have any."""
    fewest: int = 1
    most: int = 1


@dataclass(frozen=True)
class Size:
    """How large rooms are."""

    furniture: float
    """Number of receptacles, official rooms being 1."""
    kitchen_objects: tuple[int, int]
    """Fewest and most objects besides the targets; an official kitchen has some 44."""
    other_objects: tuple[int, int]
    """Of the other rooms; an official one has some 21."""
    fixtures: tuple[int, int]
    """Objects that cannot be taken."""
    most_targets: int = 4
    """Objects that will do for the goal."""
    spare_share: float = 1.0
    """Of the kinds of furniture that no task needs, how many are there, official rooms being 1."""


SIZES: Mapping[str, Size] = {
    "tiny": Size(0.05, (2, 3), (2, 3), (0, 0), most_targets=2, spare_share=0.45),
    "small": Size(0.15, (3, 5), (3, 5), (0, 2), most_targets=2),
    "medium": Size(0.5, (10, 14), (8, 12), (2, 5)),
    "large": Size(1.0, (34, 44), (15, 24), (6, 12)),
}

# First numbers of the scenes; a kind has thirty.
FIRST_SCENES: Mapping[str, int] = {"Kitchen": 1, "LivingRoom": 201, "Bedroom": 301, "Bathroom": 401}
SCENES_PER_KIND = 30

FURNITURE: Mapping[str, tuple[Furniture, ...]] = {
    "Kitchen": (
        Furniture("Cabinet", 1.0, 7, 21),
        Furniture("CoffeeMachine", 1.0),
        Furniture("CounterTop", 1.0, 1, 4),
        Furniture("DiningTable", 0.6, 1, 2),
        Furniture("Drawer", 0.95, 2, 11),
        Furniture("Fridge", 1.0),
        Furniture("GarbageCan", 1.0),
        Furniture("Microwave", 1.0),
        Furniture("Shelf", 0.2, 3, 4),
        Furniture("SideTable", 0.1, 1, 2),
        Furniture("SinkBasin", 1.0),
        Furniture("StoveBurner", 1.0, 4, 4),
        Furniture("Toaster", 1.0),
    ),
    "LivingRoom": (
        Furniture("ArmChair", 1.0, 1, 2),
        Furniture("Cabinet", 0.13, 1, 6),
        Furniture("CoffeeTable", 0.7, 1, 2),
        Furniture("DiningTable", 0.5),
        Furniture("Drawer", 0.7, 2, 11),
        Furniture("Dresser", 0.33),
        Furniture("GarbageCan", 1.0),
        Furniture("Ottoman", 0.18, 1, 2),
        Furniture("Shelf", 0.4, 3, 10),
        Furniture("SideTable", 1.0, 1, 4),
        Furniture("Sofa", 1.0, 1, 2),
        Furniture("TVStand", 0.4),
    ),
    "Bedroom": (
        Furniture("ArmChair", 0.25, 1, 2),
        Furniture("Bed", 1.0, 1, 2),
        Furniture("Cabinet", 0.17, 1, 3),
        Furniture("Desk", 1.0, 1, 2),
        Furniture("Drawer", 1.0, 2, 11),
        Furniture("Dresser", 0.5, 1, 2),
        Furniture("GarbageCan", 1.0),
        Furniture("LaundryHamper", 0.23),
        Furniture("Safe", 0.26),
        Furniture("Shelf", 0.55, 2, 7),
        Furniture("SideTable", 0.67, 1, 3),
    ),
    "Bathroom": (
        Furniture("BathtubBasin", 0.6),
        Furniture("Cabinet", 0.5, 2, 7),
        Furniture("Cart", 0.1, 1, 2),
        Furniture("CounterTop", 0.8),
        Furniture("Drawer", 0.4, 2, 8),
        Furniture("Dresser", 0.06),
        Furniture("GarbageCan", 1.0),
        Furniture("HandTowelHolder", 1.0, 1, 2),
        Furniture("Shelf", 0.25, 2, 3),
        Furniture("SideTable", 0.06),
        Furniture("SinkBasin", 1.0, 1, 2),
        Furniture("Toilet", 1.0),
        Furniture("ToiletPaperHanger", 1.0),
        Furniture("TowelHolder", 1.0, 1, 2),
    ),
}

FIXTURES: Mapping[str, tuple[str, ...]] = {
    "Kitchen": ("Chair", "HousePlant", "LightSwitch", "StoveKnob", "StoveKnob", "Window"),
    "LivingRoom": ("Chair", "HousePlant", "LightSwitch", "Painting", "Television", "Window"),
    "Bedroom": ("Blinds", "Chair", "LightSwitch", "Mirror", "Painting", "Poster", "Window"),
    "Bathroom": ("LightSwitch", "Mirror", "ShowerDoor", "ShowerGlass", "Window"),
}

# Lamps, and what they stand on.
LAMPS: Mapping[str, tuple[str, ...]] = {
    "LivingRoom": ("DeskLamp", "FloorLamp"),
    "Bedroom": ("DeskLamp",),
}
_LAMP_STANDS = ("Desk", "SideTable")
# What tasks are done with.
_TOOLS = ("Fridge", "Microwave", "SinkBasin", *_LAMP_STANDS)

# Where two receptacles can be reached from one place.
_NEIGHBOURS = ("Cabinet", "Drawer", "Shelf", "StoveBurner", "CounterTop", "SideTable")
_SHARED = 0.15


@dataclass(frozen=True)
class Receptacle:
    """Something to put things in or on, that stays where it is."""

    id: str
    type: str
    location: str
    """Where one stands to reach it; others may share it."""
    is_openable: bool


@dataclass(frozen=True)
class Item:
    """An object in or on a receptacle."""

    id: str
    type: str
    receptacle: Receptacle

    @property
    def location(self) -> str:
        """Where one stands to reach it."""
        return self.receptacle.location


@dataclass(frozen=True)
class Fixture:
    """An object that cannot be taken, beside a place to stand."""

    id: str
    type: str
    location: str


@dataclass(frozen=True)
class Room:
    """A room without the things that games put in it."""

    scene: int
    kind: str
    size: Size
    receptacles: tuple[Receptacle, ...]
    fixtures: tuple[Fixture, ...]
    lamp: Item | None
    """Cannot be taken either."""
    start: str
    """A place without a receptacle."""


class Ids:
    """Ids as the official games have them, each given once.

    The engine numbers things by their sorted ids; these hold coordinates, in metres.
    """

    def __init__(self, rng: random.Random) -> None:
        """Draw from a source of randomness; what is drawn follows from the order of calls."""
        self._rng = rng
        self._given: set[str] = set()

    def draw(self, type_name: str) -> str:
        """A new id of a thing.

        Args:
            type_name: basins are named after what they are in, as the engine wants it.

        Returns:
            ``Mug|-01.20|+00.91|+02.05``, written as PDDL can hold it.
        """
        owner = type_name.removesuffix("Basin")
        basin = "" if owner == type_name else f"|{type_name}"
        while True:
            x, z = (self._rng.randint(-599, 599) / 100 for _ in range(2))
            y = self._rng.randint(0, 199) / 100
            text = f"{owner}|{x:+06.2f}|{y:+06.2f}|{z:+06.2f}{basin}"
            if text not in self._given:
                self._given.add(text)
                return mangled(text)

    def draw_location(self) -> str:
        """A new place to stand: steps along both sides, a quarter turn, the angle of the eyes."""
        while True:
            x, z = (self._rng.randint(-24, 24) for _ in range(2))
            if (place := f"loc|{x}|{z}") not in self._given:
                self._given.add(place)
                turn, horizon = self._rng.randrange(4), self._rng.choice((0, 30, 45, 60))
                return mangled(f"{place}|{turn}|{horizon}")


def mangled(text: str) -> str:
    """An id as PDDL can hold it.

    Args:
        text: with ``|``, ``+``, ``-`` and ``.``.

    Returns:
        The same with words instead of signs.
    """
    for sign, word in (("|", "_bar_"), ("+", "_plus_"), ("-", "_minus_"), (".", "_dot_")):
        text = text.replace(sign, word)
    return text


def kind_of(scene: int) -> str:
    """Which kind of room a scene is.

    Args:
        scene: its number.

    Returns:
        A key of ``FIRST_SCENES``.
    """
    return max((first, kind) for kind, first in FIRST_SCENES.items() if first <= scene)[1]


def build_room(scene: int, size: Size, seed: str, tables: Tables) -> Room:
    """Furnish a room.

    Args:
        scene: its number, which says the kind of room.
        size: how large.
        seed: of the rooms; the same one gives the same room.
        tables: of the installed alfworld.

    Returns:
        The room.
    """
    kind = kind_of(scene)
    rng = random.Random(f"{seed}, room {scene}")
    ids = Ids(rng)
    start = ids.draw_location()
    receptacles: list[Receptacle] = []
    for furniture in FURNITURE[kind]:
        spare_share = 1.0 if furniture.type in _TOOLS else size.spare_share
        if rng.random() >= furniture.share * spare_share:
            continue
        number = rng.randint(furniture.fewest, furniture.most)
        for index in range(max(1, round(number * size.furniture))):
            location = ids.draw_location()
            if index and furniture.type in _NEIGHBOURS and rng.random() < _SHARED:
                location = receptacles[-1].location
            receptacles.append(
                Receptacle(
                    id=ids.draw(furniture.type),
                    type=furniture.type,
                    location=location,
                    is_openable=furniture.type in tables.openable,
                )
            )
    lamp = None
    if kind in LAMPS:
        stand = rng.choice([place for place in receptacles if place.type in _LAMP_STANDS])
        lamp_type = rng.choice(LAMPS[kind])
        lamp = Item(ids.draw(lamp_type), lamp_type, stand)
    fixtures = []
    for _ in range(rng.randint(*size.fixtures)):
        fixture = rng.choice(FIXTURES[kind])
        fixtures.append(Fixture(ids.draw(fixture), fixture, ids.draw_location()))
    return Room(scene, kind, size, tuple(receptacles), tuple(fixtures), lamp, start)
