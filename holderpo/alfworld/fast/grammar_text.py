"""A game's texts: a grammar parsed once, and what it says about a state of the game."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from holderpo.alfworld.fast.fact_base import Binding, Condition, FactBase

Symbol = tuple[Any, ...]
"""A part of a text, by its first entry:

- ``("text", t)``: as it is.
- ``("rule", name)``: what the rule says.
- ``("eval", e)``: the value of a Python expression over things.
- ``("each", symbol, condition)``: the symbol for each way to meet the condition, or once.
- ``("list", each)``: the same, as an enumeration.
"""
Symbols = tuple[Symbol, ...]


@dataclass(frozen=True)
class Grammar:
    """What a grammar's text says."""

    actions: Mapping[str, tuple[Symbols, Symbols]]
    """Of each action the command and the answer to it."""
    rules: Mapping[str, tuple[tuple[str, Symbols], ...]]
    """Of each name the alternatives with their conditions; the first that holds counts."""
    conditions: Mapping[str, Condition]
    """Each condition by its text."""

    def to_json(self) -> list[Any]:
        """For the cache.

        Returns:
            Lists, texts and dictionaries.
        """
        return [dict(self.actions), dict(self.rules), dict(self.conditions)]

    @classmethod
    def from_json(cls, value: list[Any]) -> Grammar:
        """From the cache.

        Args:
            value: as ``to_json`` gave it.

        Returns:
            The same as before.
        """
        return cls(*({key: _tuples(each) for key, each in part.items()} for part in value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def read_grammar(text: str) -> Grammar:
    """Parse a grammar with textworld's parsers; some 0.1 s.

    Args:
        text: ``grammar`` of a game file.

    Returns:
        The same in plain data.

    Raises:
        ValueError: an expression uses what only textworld's own evaluation has.
        Exception: whatever the parsers raise about a broken grammar.
    """
    from textworld.envs.pddl.logic import GameLogic

    logic = GameLogic(domain="", grammar=text)
    conditions: dict[str, Condition] = {}
    rules = {}
    for name, alternatives in logic.grammar._rules.items():
        for rule in alternatives:
            if rule.condition:
                conditions[rule.condition] = _condition(rule.condition)
        rules[name] = tuple(
            (rule.condition, tuple(_plain(each, conditions) for each in rule.rhs))
            for rule in alternatives
        )
    actions = {
        name: (_parsed(action.template, conditions), _parsed(action.feedback_rule, conditions))
        for name, action in logic.actions.items()
    }
    return Grammar(actions, rules, conditions)


@functools.lru_cache(maxsize=1024)
def _symbols(text: str) -> Any:
    """A template parsed; the templates of all games are some hundred, but for the tasks."""
    from textworld.envs.pddl import textgen

    return tuple(textgen._parse_and_convert(text, rule_name="symbols"))


def _parsed(text: str, conditions: dict[str, Condition]) -> Symbols:
    return tuple(_plain(symbol, conditions) for symbol in _symbols(text))


def _plain(symbol: Any, conditions: dict[str, Condition]) -> Symbol:
    """One of textworld's symbols as plain data; its conditions are added to the others."""
    from textworld.envs.pddl import textgen

    match symbol:
        case textgen.TerminalSymbol():
            return ("text", str(symbol.symbol))
        case textgen.NonterminalSymbol():
            return ("rule", str(symbol.symbol))
        case textgen.EvalSymbol():
            _code(symbol.expression)
            return ("eval", symbol.expression)
        case textgen.ConditionalSymbol():
            given = symbol.given or ""
            if given:
                conditions[given] = _condition(given)
            return ("each", _plain(symbol.expression, conditions), given)
        case textgen.ListSymbol():
            return ("list", _plain(symbol.symbol, conditions))
    raise ValueError(f"unknown symbol in the grammar: {symbol!r}")


@functools.lru_cache(maxsize=1024)
def _condition(text: str) -> Condition:
    from textworld.logic import Rule

    rule = Rule.parse_conjunctive_query(text)
    return tuple(
        (each.name, tuple((placeholder.name, placeholder.type) for placeholder in each.parameters))
        for each in rule.preconditions
    )


@functools.lru_cache(maxsize=1024)
def _code(expression: str) -> CodeType:
    code = compile(expression, "<grammar>", "eval")
    inner = {"self", "context"} & set(code.co_names)
    if inner:
        raise ValueError(f"expression in the grammar uses {sorted(inner)}: {expression}")
    return code


class Writer:
    """Says what a grammar says about a state of the game.

    Attributes:
        read: predicates that were looked at since it was emptied.
    """

    def __init__(self, grammar: Grammar, things: Mapping[str, Any]) -> None:
        """Prepare for one game.

        Args:
            grammar: the game's.
            things: textworld's ``EntityInfo`` of each object.
        """
        from textworld.envs.pddl import textgen

        self._grammar = grammar
        self._things = things
        # What an expression sees beside the things, in textworld too.
        self._globals = vars(textgen)
        self.read: set[str] = set()

    def write(self, symbols: Symbols, facts: FactBase, binding: Binding) -> str:
        """The text.

        Args:
            symbols: its parts.
            facts: of the state.
            binding: things that the text is about.

        Returns:
            All parts in turn.

        Raises:
            LookupError: there is no such rule or thing.
        """
        parts: list[str] = []
        for symbol in symbols:
            self._write(symbol, facts, binding, parts)
        return "".join(parts)

    def _write(self, symbol: Symbol, facts: FactBase, binding: Binding, parts: list[str]) -> None:
        kind, content, *_ = symbol
        if kind == "text":
            parts.append(content)
        elif kind == "rule":
            for each in self._alternative(content, facts, binding):
                self._write(each, facts, binding, parts)
        elif kind == "eval":
            things = {name: self._things[bound] for (name, _), (bound, _) in binding.items()}
            parts.append(str(eval(_code(content), self._globals, things)))
        elif kind == "each":
            for wider in self._bindings(symbol, facts, binding):
                self._write(content, facts, wider, parts)
        else:
            self._enumerate(content, facts, binding, parts)

    def _enumerate(self, each: Symbol, facts: FactBase, binding: Binding, parts: list[str]) -> None:
        bindings = self._bindings(each, facts, binding)
        if not bindings:
            self._write(("rule", "list_empty"), facts, binding, parts)
        for place, wider in enumerate(bindings):
            if place:
                last = place == len(bindings) - 1
                name = "list_last_separator" if last else "list_separator"
                self._write(("rule", name), facts, binding, parts)
            self._write(each[1], facts, wider, parts)

    def _bindings(self, each: Symbol, facts: FactBase, binding: Binding) -> list[Binding]:
        return list(self._matches(each[2], facts, binding)) if each[2] else [binding]

    def _alternative(self, name: str, facts: FactBase, binding: Binding) -> Symbols:
        """The first alternative of a rule that holds."""
        for condition, symbols in self._grammar.rules[name]:
            if not condition or next(iter(self._matches(condition, facts, binding)), None):
                return symbols
        raise LookupError(f"no alternative of {name!r} holds")

    def _matches(self, condition: str, facts: FactBase, binding: Binding) -> Iterator[Binding]:
        predicates = self._grammar.conditions[condition]
        self.read.update(predicate for predicate, _ in predicates)
        return facts.matches(predicates, binding)
