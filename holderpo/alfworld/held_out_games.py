"""Names and numbers of success in held-out games, of all of a set and by task type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

PANEL = "alfworld_"
"""What the name of a set of held-out games begins with."""


def panel_name(split: str, num_used: int, num_games: int) -> str:
    """What metrics call a set of games.

    Args:
        split: of the games.
        num_used: games that are played.
        num_games: that the split has.

    Returns:
        ``alfworld_valid_seen``; of a part of it ``alfworld_valid_seen_12_of_140``.
    """
    part = "" if num_used == num_games else f"_{num_used}_of_{num_games}"
    return f"{PANEL}{split}{part}"


def source_name(panel: str, task_type: str) -> str:
    """What metrics call the games of one task type of a set."""
    return f"{panel}/{task_type}"


def success_metrics(
    accuracies: Mapping[str, float], problems: Iterable[tuple[str, str]]
) -> dict[str, float]:
    """Success in all games of each set, from that of its task types.

    Args:
        accuracies: fraction of episodes that were won, by :func:`source_name`; a source of which
            every episode failed may be missing.
        problems: source and identity of each game.

    Returns:
        ``val/<set>/success``: the mean over games, each as often as it is played, those whose
        episode failed counted as lost. Nothing for sources that are no games.
    """
    won: dict[str, float] = defaultdict(float)
    played: dict[str, int] = defaultdict(int)
    for source, _ in problems:
        panel, slash, _ = source.partition("/")
        if slash and panel.startswith(PANEL):
            won[panel] += accuracies.get(source, 0.0)
            played[panel] += 1
    return {f"val/{panel}/success": won[panel] / played[panel] for panel in played}
