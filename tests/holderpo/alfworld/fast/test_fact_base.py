"""Bindings are those of textworld, in its order."""

import random

from holderpo.alfworld.fast.fact_base import FactBase
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld

# Each type with those above it.
TYPES = {"thing": [], "place": ["thing"], "tool": ["thing"], "knife": ["tool"]}
OBJECTS = {"p1": "place", "p2": "place", "t1": "tool", "k1": "knife", "k2": "knife", "x": "thing"}
CONDITIONS = (
    "at(a:tool, b:place)",
    "at(a:thing, b:thing)",
    "at(a:knife, b:place) & sharp(a:knife)",
    "at(a:tool, b:place) & at(c:tool, b:place)",
    "at(a:thing, b:place) & at(c:thing, b:place) & sharp(c:thing)",
    "at(a:thing, a:thing)",
    "near(a:thing, b:thing, c:thing) & sharp(c:thing)",
    "nowhere(a:thing)",
)


def test_bindings_and_their_order_are_those_of_textworld():
    from textworld.logic import (
        GameLogic,
        Proposition,
        Rule,
        State,
        Type,
        Variable,
    )

    logic = GameLogic()
    for name, above in TYPES.items():
        logic.types.add(Type(name, above))

    def subtypes(signature):
        wanted = [logic.types.get(each) for each in signature[1]]
        return [
            (signature[0], tuple(each.name for each in chosen))
            for chosen in logic.types.multi_subtypes(wanted)
        ]

    draws = random.Random(0)
    num_bindings = 0
    for _ in range(60):
        state = State(logic)
        facts = FactBase({}, subtypes)
        for _ in range(draws.randrange(25)):
            name, arity = draws.choice([("at", 2), ("sharp", 1), ("near", 3)])
            arguments = tuple(draws.choices(list(OBJECTS), k=arity))
            types = tuple(OBJECTS[each] for each in arguments)
            proposition = Proposition(name, list(map(Variable, arguments, types)))
            keep = draws.random() < 0.8
            (state.add_fact if keep or not state.is_fact(proposition) else state.remove_fact)(
                proposition
            )
            (facts.add if state.is_fact(proposition) else facts.remove)((name, types), arguments)
        for text in CONDITIONS:
            rule = Rule.parse_conjunctive_query(text)
            given = {}
            if draws.random() < 0.5:
                placeholder = draws.choice(rule.placeholders)
                name = draws.choice(list(OBJECTS))
                given = {
                    placeholder: Variable(name, draws.choice([OBJECTS[name], placeholder.type]))
                }
            expected = [
                {(key.name, key.type): (value.name, value.type) for key, value in found.items()}
                for found in state.all_assignments(rule, given)
            ]
            condition = tuple(
                (each.name, tuple((one.name, one.type) for one in each.parameters))
                for each in rule.preconditions
            )
            binding = {(key.name, key.type): (one.name, one.type) for key, one in given.items()}
            assert list(facts.matches(condition, binding)) == expected
            num_bindings += len(expected)
    assert num_bindings > 200


def test_facts_come_and_go_in_order():
    facts = FactBase({("at", ("tool",)): [("t2",), ("t1",)]}, lambda signature: [signature])
    facts.add(("at", ("tool",)), ("t0",))
    facts.remove(("at", ("tool",)), ("t2",))
    facts.remove(("gone", ()), ())
    facts.add(("new", ()), ())
    assert list(facts) == [
        (("at", ("tool",)), ("t1",)),
        (("at", ("tool",)), ("t0",)),
        (("new", ()), ()),
    ]


def test_the_facts_of_a_beginning_are_not_changed():
    groups = {("at", ("tool",)): (("t1",),)}
    facts = FactBase(groups, lambda signature: [signature])
    facts.remove(("at", ("tool",)), ("t1",))
    assert list(facts) == []
    assert list(FactBase(groups, list)) == [(("at", ("tool",)), ("t1",))]


def test_a_thing_bound_as_another_type_fits_no_fact():
    # As in textworld, where a variable of another type is another variable.
    facts = FactBase({("at", ("knife",)): (("k1",),)}, lambda _: [("at", ("knife",))])
    condition = (("at", (("a", "tool"),)),)
    assert list(facts.matches(condition, {("a", "tool"): ("k1", "knife")}))
    assert not list(facts.matches(condition, {("a", "tool"): ("k1", "tool")}))
