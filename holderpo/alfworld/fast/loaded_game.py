"""What is known about a game whoever plays it, shared by all environments of a process."""

from __future__ import annotations

import ctypes
import functools
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holderpo.alfworld.fast.disk_cache import DiskCache
from holderpo.alfworld.fast.fact_base import Arguments, FactBase, Signature
from holderpo.alfworld.fast.grammar_text import Grammar, Writer, read_grammar
from holderpo.alfworld.fast.known_sources import SOURCES, VERSIONS
from holderpo.alfworld.fast.translation import Translation, translate

# Games kept in memory, the least recently used given up first. A process plays few at a time, the
# members of a group all the same; a game takes some 0.5 MB, one given up is read again from disk.
MOST_GAMES = 64


class LoadedGame:
    """A game's translation, texts and things, and what was derived from them so far.

    Attributes:
        translation: of its problem.
        grammar: of its texts.
    """

    def __init__(self, translation: Translation, grammar: Grammar) -> None:
        """Name the things.

        Args:
            translation: of its problem.
            grammar: of its texts.
        """
        from textworld.generator.game import EntityInfo
        from textworld.logic import Type, TypeHierarchy

        self.translation = translation
        self.grammar = grammar
        self._things = {}
        for name, called in translation.names.items():
            thing = EntityInfo(name, translation.object_types.get(name))
            thing.name, thing.definite, thing.indefinite = called, "the", "a"
            self._things[name] = thing
        self._types = TypeHierarchy()
        for name, above in translation.types:
            # One declared twice counts once.
            if name not in self._types._types:
                self._types.add(Type(name, above))
        self._subtypes: dict[Signature, list[Signature]] = {}
        self._writer = Writer(grammar, self._things)
        self._commands: dict[str, str] = {}
        self._changing: set[str] = set()
        self._propositions: dict[tuple[Signature, Arguments], Any] = {}

    def first_facts(self) -> FactBase:
        """What is true at the beginning.

        Returns:
            Facts of one's own.
        """
        return FactBase(self.translation.facts, self._signatures)

    def intro(self, facts: FactBase) -> str:
        """The first text.

        Args:
            facts: of the state.

        Returns:
            The room and the task.
        """
        return self._writer.write((("rule", "intro"),), facts, {})

    def answer(self, operator: str, facts: FactBase) -> str:
        """The text after an action.

        Args:
            operator: the planner's name of it, with its arguments.
            facts: of the state after it.

        Returns:
            What the game says.
        """
        name, binding = self._binding(operator)
        return self._writer.write(self.grammar.actions[name][1], facts, binding)

    def command(self, operator: str, facts: FactBase) -> str:
        """The command for an action.

        It is written again only if it tells of facts that change in this game.

        Args:
            operator: the planner's name of it, with its arguments.
            facts: of the state.

        Returns:
            Such as ``open fridge 1``.
        """
        known = self._commands.get(operator)
        if known is not None:
            return known
        self._writer.read.clear()
        name, binding = self._binding(operator)
        command = self._writer.write(self.grammar.actions[name][0], facts, binding)
        if "{" in command or "}" in command:
            # Placeholders that are left name things.
            command = command.format(**self.translation.names)
        if self._changing.isdisjoint(self._writer.read):
            self._commands[operator] = command
        return command

    def changed(self, signature: Signature) -> None:
        """Note that a predicate's facts change in this game: from now on commands may.

        Args:
            signature: of the fact that came or went.
        """
        if signature[0] not in self._changing:
            self._changing.add(signature[0])
            self._commands.clear()

    def propositions(self, facts: FactBase) -> list[Any]:
        """The facts as textworld gives them to those who ask.

        Args:
            facts: of the state.

        Returns:
            Its ``Proposition`` of each, things called as in the texts.
        """
        known = self._propositions
        return [known.get(fact) or self._proposition(*fact) for fact in facts]

    def _proposition(self, signature: Signature, arguments: Arguments) -> Any:
        from textworld.logic import Proposition, Variable

        variables = [
            Variable(self._things[each].name or each, type_)
            for each, type_ in zip(arguments, signature[1], strict=True)
        ]
        # Past the class that would keep every fact of every game for ever.
        made = type.__call__(Proposition, signature[0], variables)
        self._propositions[signature, arguments] = made
        return made

    def _binding(self, operator: str) -> tuple[str, dict[Any, Any]]:
        name, *arguments = operator.split()
        parameters = self.translation.parameters[name]
        unknown = [each for each in arguments if each not in self._things]
        if unknown:
            raise KeyError(unknown[0])
        binding = {
            parameter: (argument, parameter[1])
            for parameter, argument in zip(parameters, arguments, strict=False)
        }
        return name, binding

    def _signatures(self, signature: Signature) -> list[Signature]:
        known = self._subtypes.get(signature)
        if known is None:
            name, types = signature
            wanted = [self._types.get(each) for each in types]
            combinations = self._types.multi_subtypes(wanted)
            known = [(name, tuple(each.name for each in chosen)) for chosen in combinations]
            self._subtypes[signature] = known
        return known


class GameMemory:
    """The games of a process, the last ones in memory, all on disk."""

    def __init__(self, disk: DiskCache) -> None:
        """Start empty.

        Args:
            disk: for translations and grammars.
        """
        self._disk = disk
        self._games: OrderedDict[tuple[str, ...], LoadedGame] = OrderedDict()

    def get(self, data: Mapping[str, str], library: ctypes.CDLL) -> LoadedGame:
        """A game, from memory, from disk, or translated.

        Args:
            data: content of its file.
            library: of a planner, for the translation.

        Returns:
            The game, the same object for the same texts.
        """
        key = (data["pddl_domain"], data["pddl_problem"], data["grammar"])
        game = self._games.get(key)
        if game is None:
            grammar = self._grammar(data["grammar"])
            game = LoadedGame(self._translation(key[0], key[1], library), grammar)
            self._games[key] = game
            if len(self._games) > MOST_GAMES:
                self._games.popitem(last=False)
        self._games.move_to_end(key)
        return game

    def has_translation(self, data: Mapping[str, str]) -> bool:
        """Whether a game is on disk, so that no process need translate it.

        Args:
            data: content of its file.
        """
        return self._disk.read("game", data["pddl_domain"], data["pddl_problem"]) is not None

    def _grammar(self, text: str) -> Grammar:
        kept = self._disk.read("grammar", text)
        if kept is not None:
            return Grammar.from_json(kept)
        grammar = read_grammar(text)
        self._disk.write(grammar.to_json(), "grammar", text)
        return grammar

    def _translation(self, domain: str, problem: str, library: ctypes.CDLL) -> Translation:
        kept = self._disk.read("game", domain, problem)
        if kept is not None:
            return Translation.from_json(kept)
        translation = translate(domain, problem, library)
        self._disk.write(translation.to_json(), "game", domain, problem)
        return translation


@functools.lru_cache(maxsize=4)
def game_memory(cache_folder: Path | None) -> GameMemory:
    """The memory that all environments of this process share.

    Args:
        cache_folder: on disk, or ``None``.

    Returns:
        The same for the same folder.
    """
    return GameMemory(DiskCache(cache_folder, f"{VERSIONS} {SOURCES}"))
