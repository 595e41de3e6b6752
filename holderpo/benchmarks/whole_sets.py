"""Whether rows are a whole benchmark, and what a part of one is called.

A number of some of a benchmark's problems must not be taken for the benchmark's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holderpo.benchmarks.panels import SETS


def is_whole(name: str, num_problems: int) -> bool:
    """Whether a set of that name has as many problems as the benchmark; any other set is whole."""
    return SETS.get(name, num_problems) == num_problems


def metric_name(name: str, num_problems: int) -> str:
    """What metrics call a set.

    Args:
        name: of the set.
        num_problems: that are scored.

    Returns:
        The name; of a benchmark with another number of problems ``math500_4_of_500``.
    """
    if is_whole(name, num_problems):
        return name
    return f"{name}_{num_problems}_of_{SETS[name]}"


def title(name: str, num_problems: int) -> str:
    """What a table calls a set: the name, or ``math500 (4 of 500)``."""
    if is_whole(name, num_problems):
        return name
    return f"{name} ({num_problems} of {SETS[name]})"


def metric_names(problems: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """What metrics call each set of a validation.

    Args:
        problems: set and identity of each problem, in any order and as often as it is answered.

    Returns:
        From the sets' names.
    """
    identities: dict[str, set[str]] = {}
    for name, identity in problems:
        identities.setdefault(name, set()).add(identity)
    return {name: metric_name(name, len(found)) for name, found in identities.items()}
