"""What is true in a game, and which things fit a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

Arguments = tuple[str, ...]
Signature = tuple[str, tuple[str, ...]]
"""A predicate and the types of its arguments."""
Groups = Mapping[Signature, Iterable[Arguments]]
Placeholder = tuple[str, str]
"""Its name and type."""
Thing = tuple[str, str]
"""An object's name and type."""
Condition = tuple[tuple[str, tuple[Placeholder, ...]], ...]
"""Predicates that must all hold, with their placeholders."""
Binding = dict[Placeholder, Thing]


class FactBase:
    """Facts by predicate and types, in the order in which they came to be."""

    def __init__(self, groups: Groups, subtypes: Callable[[Signature], list[Signature]]) -> None:
        """Take over the facts of a game's beginning.

        Args:
            groups: facts by signature.
            subtypes: the signatures that a predicate with such types also stands for, itself first.
        """
        self._groups = {key: dict.fromkeys(group) for key, group in groups.items()}
        self._subtypes = subtypes

    def __iter__(self) -> Iterator[tuple[Signature, Arguments]]:
        """All facts."""
        for signature, group in self._groups.items():
            for arguments in group:
                yield signature, arguments

    def add(self, signature: Signature, arguments: Arguments) -> None:
        """Make it true.

        Args:
            signature: predicate and types.
            arguments: names of objects.
        """
        self._groups.setdefault(signature, {})[arguments] = None

    def remove(self, signature: Signature, arguments: Arguments) -> None:
        """Make it untrue, if it is true.

        Args:
            signature: predicate and types.
            arguments: names of objects.
        """
        self._groups.get(signature, {}).pop(arguments, None)

    def matches(self, condition: Condition, binding: Binding) -> Iterator[Binding]:
        """All ways to bind a condition's placeholders, no two of them to one thing.

        Args:
            condition: what must hold.
            binding: what is bound already.

        Yields:
            Complete bindings, that given included; in the order of the facts' sorted arguments, as
            textworld's ``State.all_assignments`` gives them.
        """
        if not condition:
            yield dict(binding)
            return
        (predicate, placeholders), rest = condition[0], condition[1:]
        for signature in self._subtypes((predicate, tuple(type_ for _, type_ in placeholders))):
            for arguments in self._fitting(signature, placeholders, binding):
                things = zip(arguments, signature[1], strict=True)
                wider = _bind(placeholders, things, binding)
                if wider is not None:
                    yield from self.matches(rest, wider)

    def _fitting(
        self, signature: Signature, placeholders: tuple[Placeholder, ...], binding: Binding
    ) -> list[Arguments]:
        """Facts that agree with what is bound, sorted."""
        group = self._groups.get(signature)
        if not group:
            return []
        fixed = []
        for place, (placeholder, type_) in enumerate(zip(placeholders, signature[1], strict=True)):
            thing = binding.get(placeholder)
            if thing is None:
                continue
            if thing[1] != type_:
                return []
            fixed.append((place, thing[0]))
        if len(fixed) == len(placeholders):
            arguments = tuple(name for _, name in fixed)
            return [arguments] if arguments in group else []
        return sorted(
            arguments
            for arguments in group
            if all(arguments[place] == name for place, name in fixed)
        )


def _bind(
    placeholders: tuple[Placeholder, ...], things: Iterable[Thing], binding: Binding
) -> Binding | None:
    """The binding with a fact's things added; none if one of them is taken."""
    wider = dict(binding)
    for placeholder, thing in zip(placeholders, things, strict=True):
        bound = wider.get(placeholder)
        if bound is None:
            if thing in wider.values():
                return None
            wider[placeholder] = thing
        elif bound != thing:
            return None
    return wider
