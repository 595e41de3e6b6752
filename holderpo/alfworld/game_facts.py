"""What a game's own texts say about it: the wording of its commands, and an early win."""

from __future__ import annotations

import re
from typing import Literal

Wording = Literal["put", "move"]

# The command that puts an object down, as the grammar of each generation of files has it.
_PUT_DOWN: dict[str, Wording] = {"put {o} in/on {r}": "put", "move {o} to {r}": "move"}
_PUT_TEMPLATE = re.compile(r'action\s+PutObject\s*\{\s*template\s*::\s*"([^"]*)"')

# What a task does to the object before it is put down, with the predicate of objects that allow it.
_TREATMENTS = {
    "pick_clean_then_place_in_recep": "cleanable",
    "pick_heat_then_place_in_recep": "heatable",
    "pick_cool_then_place_in_recep": "coolable",
}
_FACT = re.compile(r"\(\s*(\w+)\s+([^()?]+?)\s*\)")
_GOAL = re.compile(r"\(\s*:goal\b")

Facts = dict[str, set[tuple[str, ...]]]


def wording_of(grammar: str) -> Wording:
    """How a game wants an object put down: ``put O in/on R`` or ``move O to R``.

    Args:
        grammar: of the game file; decides, whichever version of alfworld plays it.

    Returns:
        ``put`` for files from before alfworld 0.4.0, ``move`` for those made since.

    Raises:
        ValueError: for a grammar with neither.
    """
    found = _PUT_TEMPLATE.search(grammar)
    if found is None:
        raise ValueError("its grammar has no action PutObject")
    if found[1] not in _PUT_DOWN:
        raise ValueError(f"its grammar puts objects down with {found[1]!r}, an unknown wording")
    return _PUT_DOWN[found[1]]


def facts_of(problem: str) -> Facts:
    """The facts that hold when a game starts.

    Args:
        problem: PDDL, as the game file holds it; case means nothing in it.

    Returns:
        Arguments by predicate, in lower case; the goal is left out.
    """
    facts: Facts = {}
    for name, arguments in _FACT.findall(_split_at_goal(problem)[0]):
        facts.setdefault(name, set()).add(tuple(arguments.split()))
    return facts


def wins_without_put(problem: str, task_type: str) -> bool:
    """Whether a game can be won by heating, cooling or cleaning, the object still in the hand.

    An object may stand in two receptacles at once, and taking it from one leaves it in the other.
    If that one is where the goal wants it, only the treatment is missing.

    Source: measured on the official games, which were won so.

    Args:
        problem: PDDL, as the game file holds it.
        task_type: a key of :data:`~holderpo.alfworld.tasks.TASK_TYPES`.

    Returns:
        True if one object of the wanted type starts in a receptacle of the wanted type and in
        another one. Always False for tasks without a treatment.

    Raises:
        ValueError: for a goal that does not name the two types.
    """
    if task_type not in _TREATMENTS:
        return False
    goal = _split_at_goal(problem)[1]
    wanted = re.search(r"\(\s*objecttype\s+\?\w+\s+(\w+)", goal)
    where = re.search(r"\(\s*receptacletype\s+\?\w+\s+(\w+)", goal)
    if wanted is None or where is None:
        raise ValueError("its goal names no type of object and receptacle")
    facts = facts_of(problem)
    able = {*facts.get("pickupable", ())} & {*facts.get(_TREATMENTS[task_type], ())}
    right = {receptacle for receptacle, kind in facts.get("receptacletype", ()) if kind == where[1]}
    places: dict[str, list[str]] = {}
    for placed, receptacle in facts.get("inreceptacle", ()):
        places.setdefault(placed, []).append(receptacle)
    return any(
        kind == wanted[1]
        and (item,) in able
        and len(places.get(item, ())) > 1
        and not right.isdisjoint(places[item])
        for item, kind in facts.get("objecttype", ())
    )


def _split_at_goal(problem: str) -> tuple[str, str]:
    problem = problem.lower()
    found = _GOAL.search(problem)
    if found is None:
        raise ValueError("its problem has no goal")
    return problem[: found.start()], problem[found.start() :]
