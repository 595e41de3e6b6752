"""What a game's texts say: wording, facts, and wins without the last action."""

import pytest

from holderpo.alfworld.game_facts import facts_of, wins_without_put, wording_of
from tests.holderpo.alfworld.game_folders import GRAMMARS, PROBLEM

HEAT = "pick_heat_then_place_in_recep"


@pytest.mark.parametrize("wording", ["put", "move"])
def test_the_grammar_decides_the_wording(wording):
    assert wording_of(GRAMMARS[wording]) == wording
    # The goal sentence says put in both, and other actions may be worded otherwise.
    more = 'task: "put a mug in shelf"; action PutObjectInReceptacleObject { template :: "put x" }'
    assert wording_of(more + GRAMMARS[wording]) == wording


def test_an_unknown_wording_is_refused():
    with pytest.raises(ValueError, match=r"'lay \{o\} upon \{r\}', an unknown wording"):
        wording_of(GRAMMARS["put"].replace("put {o} in/on {r}", "lay {o} upon {r}"))
    with pytest.raises(ValueError, match="no action PutObject"):
        wording_of("action Look { }")


def test_facts_are_those_before_the_goal_whatever_their_case_and_spacing():
    facts = facts_of(
        "(:INIT (inReceptacle Mug\n  SHELF) ( opened box )) (:goal (inReceptacle a b))"
    )
    assert facts == {"inreceptacle": {("mug", "shelf")}, "opened": {("box",)}}
    with pytest.raises(ValueError, match="no goal"):
        facts_of("(:init (opened box))")


@pytest.mark.parametrize(
    ("places", "early"),
    [
        (["Shelf_bar_1"], False),
        (["Desk_bar_1"], False),
        (["Desk_bar_1", "Shelf_bar_1"], True),
        (["Shelf_bar_1", "Shelf_bar_2"], True),
    ],
)
def test_a_target_in_two_places_can_be_won_without_put(places, early):
    facts = "\n".join(f"(inReceptacle Mug_bar_1 {place})" for place in places)
    problem = PROBLEM.format(facts=facts)
    assert wins_without_put(problem, HEAT) == early
    assert not wins_without_put(problem, "pick_and_place_simple")
    assert not wins_without_put(problem.replace("(pickupable Mug_bar_1)", ""), HEAT)
    assert not wins_without_put(problem.replace("(heatable Mug_bar_1)", ""), HEAT)
    assert not wins_without_put(problem.replace("_1 MugType", "_1 CupType"), HEAT)
    assert not wins_without_put(problem, "pick_cool_then_place_in_recep")


def test_two_places_of_another_type_are_no_early_win():
    facts = "(inReceptacle Mug_bar_1 Desk_bar_1) (inReceptacle Mug_bar_1 Desk_bar_2)"
    assert not wins_without_put(PROBLEM.format(facts=facts), HEAT)


def test_a_goal_without_types_is_refused():
    with pytest.raises(ValueError, match="names no type"):
        wins_without_put("(:init) (:goal (isHot mug))", HEAT)
