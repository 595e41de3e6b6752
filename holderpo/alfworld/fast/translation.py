"""A game's problem in the planner's form, made once."""

from __future__ import annotations

import base64
import ctypes
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from holderpo.alfworld.fast.fact_base import Arguments, Placeholder, Signature


@dataclass(frozen=True)
class Translation:
    """What follows from a domain and a problem alone."""

    sas: bytes
    """The planner's input, compressed by zlib; 0.1 MB where the text has 2 MB."""
    facts: Mapping[Signature, tuple[Arguments, ...]]
    """What is true at the beginning."""
    object_types: Mapping[str, str]
    """Of each object, by its name in the problem."""
    names: Mapping[str, str]
    """What each object is called in the texts."""
    types: tuple[tuple[str, tuple[str, ...]], ...]
    """Each type with those above it."""
    parameters: Mapping[str, tuple[Placeholder, ...]]
    """Of each action."""

    def to_json(self) -> dict[str, Any]:
        """For the cache.

        Returns:
            Lists, texts and dictionaries.
        """
        return {
            "sas": base64.b64encode(self.sas).decode(),
            "facts": [[name, types, group] for (name, types), group in self.facts.items()],
            "object_types": dict(self.object_types),
            "names": dict(self.names),
            "types": self.types,
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Translation:
        """From the cache.

        Args:
            value: as ``to_json`` gave it.

        Returns:
            The same as before.
        """
        # One object for each name, however often it occurs.
        shared: dict[str, str] = {}
        return cls(
            sas=base64.b64decode(value["sas"]),
            facts={
                (name, tuple(types)): tuple(
                    tuple(shared.setdefault(each, each) for each in arguments)
                    for arguments in group
                )
                for name, types, group in value["facts"]
            },
            object_types=value["object_types"],
            names=value["names"],
            types=tuple((name, tuple(above)) for name, above in value["types"]),
            parameters={
                action: tuple((name, type_) for name, type_ in parameters)
                for action, parameters in value["parameters"].items()
            },
        )


def translate(domain: str, problem: str, library: ctypes.CDLL) -> Translation:
    """Translate a problem with textworld's translator; a second or more.

    Args:
        domain: PDDL.
        problem: PDDL.
        library: the planner's; holds this problem afterwards.

    Returns:
        What textworld's ``PddlState`` computes at each load and reset.
    """
    import fast_downward

    task, text = fast_downward.pddl2sas(domain, problem)
    sas = text.encode("utf-8")
    library.load_sas(sas)
    object_types = {each.name: each.type_name for each in task.objects}
    facts: dict[Signature, dict[Arguments, None]] = {}
    for name, arguments in _stated(task.init):
        types = tuple(object_types[each] for each in arguments)
        facts.setdefault((name, types), {})[arguments] = None
    atoms = (fast_downward.Atom * library.get_state_size())()
    library.get_state(atoms)
    for atom in atoms:
        signature, arguments = read_atom(atom.name, object_types)
        if not signature[0].startswith("not_"):
            facts.setdefault(signature, {})[arguments] = None
    return Translation(
        sas=zlib.compress(sas),
        facts={signature: tuple(group) for signature, group in facts.items()},
        object_types=object_types,
        names=_names(each for group in facts.values() for fact in group for each in fact),
        types=tuple((each.name, tuple(each.supertype_names)) for each in task.types),
        parameters={
            action.name: tuple((each.name.strip("?"), each.type_name) for each in action.parameters)
            for action in task.actions
        },
    )


def read_atom(text: str, object_types: Mapping[str, str]) -> tuple[Signature, Arguments]:
    """The fact in one of the planner's atoms.

    Args:
        text: such as ``NegatedAtom opened(fridge_bar_1)``; a negated one has a name of its own.
        object_types: by name.

    Returns:
        Its signature and arguments.
    """
    kind, rest = text.split(" ", 1)
    name, listed = rest.split("(", 1)
    given = [each for each in listed[:-1].split(", ") if each]
    types = tuple(object_types[each] for each in given)
    # These two are written large in textworld, whatever the problem says.
    arguments = tuple(each.upper() if each.lower() in ("i", "p") else each for each in given)
    return ("not_" + name if kind == "NegatedAtom" else name, types), arguments


def _stated(initial: list[Any]) -> Iterator[tuple[str, Arguments]]:
    """The facts of a problem's own list that textworld takes over."""
    from fast_downward.translate.pddl import conditions, f_expression

    for each in initial:
        if isinstance(each, conditions.Atom) and each.predicate != "=":
            yield each.predicate, tuple(each.args)
        elif isinstance(each, f_expression.Assign) and each.fluent.symbol != "total-cost":
            name = str(each.expression.value)
            # Distances are no facts.
            if not name.isdigit():
                yield name, tuple(each.fluent.args)


class _Thing:
    """All that alfworld looks at when it names things."""

    def __init__(self, name: str) -> None:
        self.id = name


def _names(ids: Iterator[str]) -> dict[str, str]:
    """What things are called, as alfworld numbers them."""
    from alfworld.agents.utils.misc import Demangler

    things = {each: _Thing(each) for each in ids}
    demangler = Demangler(game_infos=things, shuffle=False)
    return {each: demangler.demangle_alfred_name(each) for each in things}
