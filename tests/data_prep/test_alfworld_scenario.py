"""Rooms and what is put in them: always a task to do, never done already, of the official sizes."""

import random
from collections import Counter
from statistics import mean

import pytest

from data_prep.alfworld_problem import PROBLEM_FILE, Logic, write_game
from data_prep.alfworld_rooms import FIRST_SCENES, SIZES, build_room, kind_of
from data_prep.alfworld_scenario import LIGHT, TOOLS, TWO, draw_scenario
from data_prep.alfworld_tables import read_tables
from data_prep.alfworld_walkthrough import names_of, walkthrough
from holderpo.alfworld.game_facts import facts_of, wins_without_put
from holderpo.alfworld.tasks import TASK_TYPES
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


@pytest.fixture(scope="module")
def tables():
    return read_tables()


def scenarios(tables, size, task_types=TASK_TYPES, number=20):
    """Drawn in every kind of room that a task is done in."""
    for task_type in task_types:
        for kind in sorted(tables.rooms[task_type]):
            for index in range(number):
                room = build_room(FIRST_SCENES[kind] + index, SIZES[size], "0", tables)
                yield draw_scenario(task_type, room, random.Random(index), tables)


def possible(tables, size):
    """Those that there are; a tiny room may have nothing for a task, and another is drawn then."""
    return [scenario for scenario in scenarios(tables, size) if scenario is not None]


def test_only_a_tiny_room_may_have_nothing_for_a_task_of_its_kind(tables):
    for size in SIZES:
        drawn = list(scenarios(tables, size))
        least = 0.9 if size == "tiny" else 1.0
        assert len(possible(tables, size)) >= least * len(drawn), size


@pytest.mark.parametrize("size", SIZES)
def test_what_is_drawn_may_stand_where_it_does(tables, size):
    for scenario in possible(tables, size):
        assert 1 <= len(scenario.targets) <= SIZES[size].most_targets
        for item in scenario.items:
            assert item.type in tables.contents[item.receptacle.type]


@pytest.mark.parametrize("size", SIZES)
def test_no_goal_holds_from_the_start(tables, size):
    for scenario in possible(tables, size):
        places = Counter(item.receptacle.type for item in scenario.targets)
        if scenario.task_type == LIGHT:
            assert scenario.room.lamp.type == scenario.lamp_type
        elif scenario.task_type in TOOLS:
            # A target may be there, but nothing is treated.
            tool, ability = TOOLS[scenario.task_type]
            assert scenario.target in tables.abilities[ability]
            assert scenario.destination != tool
            assert tool in {place.type for place in scenario.room.receptacles}
        else:
            assert places[scenario.destination] == 0
        assert len(scenario.targets) >= (2 if scenario.task_type == TWO else 1)


def test_untreated_targets_stand_where_they_shall_go_now_and_then(tables):
    there = [
        any(item.receptacle.type == scenario.destination for item in scenario.targets)
        for scenario in scenarios(tables, "large", TOOLS)
    ]
    assert 0.05 < mean(there) < 0.5


def test_a_room_is_the_same_in_every_game_of_a_seed(tables):
    room = build_room(212, SIZES["medium"], "0", tables)
    assert build_room(212, SIZES["medium"], "0", tables) == room
    assert build_room(212, SIZES["medium"], "1", tables) != room
    assert build_room(213, SIZES["medium"], "0", tables).receptacles != room.receptacles
    assert room.start not in {place.location for place in room.receptacles}


def test_scenes_are_numbered_as_the_official_ones():
    kinds = [kind_of(scene) for scene in (1, 30, 201, 230, 301, 330, 401, 430)]
    assert kinds == [kind for kind in FIRST_SCENES for _ in range(2)]


@pytest.mark.parametrize(
    ("kinds", "receptacles", "sharing", "pickupable", "most_on_one"),
    [
        # Means of the official games, counted in valid_seen and valid_train.
        (("Kitchen",), 34, 3.7, 44, 12),
        (("LivingRoom", "Bedroom", "Bathroom"), 15, 1.0, 21, 6),
    ],
)
def test_large_rooms_are_as_the_official_ones(
    tables, kinds, receptacles, sharing, pickupable, most_on_one
):
    drawn = [
        scenario
        for scenario in scenarios(tables, "large", ["pick_and_place_simple"], number=30)
        if scenario.room.kind in kinds
    ]
    places = [scenario.room.receptacles for scenario in drawn]
    crowds = [Counter(item.receptacle.id for item in scenario.items) for scenario in drawn]
    assert mean(map(len, places)) == pytest.approx(receptacles, rel=0.15)
    shared = mean(len(p) - len({place.location for place in p}) for p in places)
    assert shared == pytest.approx(sharing, rel=0.5)
    assert mean(len(scenario.items) for scenario in drawn) == pytest.approx(pickupable, rel=0.15)
    assert mean(max(crowd.values()) for crowd in crowds) == pytest.approx(most_on_one, rel=0.3)
    assert 1.8 < mean(len(scenario.targets) for scenario in drawn) < 2.8
    closed = mean(all(i.receptacle.is_openable for i in scenario.targets) for scenario in drawn)
    assert 0 < closed < 0.2


def test_names_are_those_that_alfworld_gives(tables, monkeypatch, tmp_path):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    from alfworld.agents.utils.misc import Demangler

    for scenario in scenarios(tables, "large", number=2):
        names = names_of(scenario)
        infos = {name: type("Info", (), {"id": name.lower()}) for name in names}
        demangler = Demangler(game_infos=infos)
        assert names == {name: demangler.demangle_alfred_name(name.lower()) for name in names}


def test_the_problem_says_what_was_drawn(tables):
    logic = Logic(tables.domain, tables.grammar)
    for scenario in scenarios(tables, "medium", number=3):
        problem = write_game(scenario, logic, 0, 0, tables).files[PROBLEM_FILE]
        facts = facts_of(problem)
        lamps = [scenario.room.lamp] if scenario.room.lamp else []
        assert facts["inreceptacle"] == {
            (item.id.lower(), item.receptacle.id.lower()) for item in [*scenario.items, *lamps]
        }
        assert facts["pickupable"] == {(item.id.lower(),) for item in scenario.items}
        assert {kind for kind, _ in facts["cancontain"]} <= {
            f"{place.type.lower()}type" for place in scenario.room.receptacles
        }
        # All types are there, since the domain names some of them.
        for name in ("SinkBasinType", "MicrowaveType", "FridgeType", "KnifeType"):
            assert f"{name} - " in problem
        assert not wins_without_put(problem, scenario.task_type)


def test_no_command_leads_to_where_one_stands(tables):
    met = False
    for scenario in scenarios(tables, "large", number=12):
        locations = {names_of(scenario)[p.id]: p.location for p in scenario.room.receptacles}
        here = scenario.room.start
        for command in walkthrough(scenario, "move"):
            if command.startswith("go to "):
                there = locations[command.removeprefix("go to ")]
                assert there != here
                here = there
            elif command.startswith("take "):
                place = command.partition(" from ")[2]
                assert locations[place] == here
            elif " to " in command:
                met |= locations[command.partition(" to ")[2]] == here
    assert met
