"""A round's episodes as metrics: each episode once, whatever number of rows it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from holderpo.alfworld.actions import ActionKind
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turns import Outcome
from recipe.holderpo.turn_rows import EPISODE_FIELD, TURN_FIELD


def episode_metrics(
    keys: Sequence[str],
    extra_fields: Sequence[Mapping[str, Any]],
    padding: Sequence[bool],
    *,
    num_started: int,
) -> dict[str, float]:
    """Success, return and length of a round's episodes, and how its turns were read.

    Args:
        keys: verl's, ``<prompt>_<episode>_<turn>``.
        extra_fields: verl's, of each row.
        padding: which rows are padding.
        num_started: episodes of the round, those without a row included.

    Returns:
        Values by name, those of a task type only if there was an episode of it. Success is that of
        the episodes that count: failed ones do with ``agent.failed_episodes: zero`` only.
    """
    episodes: dict[str, Mapping[str, Any]] = {}
    turns: list[Mapping[str, Any]] = []
    for key, fields, is_padding in zip(keys, extra_fields, padding, strict=True):
        if is_padding:
            continue
        episodes[key.rpartition("_")[0]] = fields[EPISODE_FIELD]
        if fields[EPISODE_FIELD]["num_turns"]:
            turns.append(fields[TURN_FIELD])
    listed = list(episodes.values())
    outcomes = Counter(one["outcome"] for one in listed)
    metrics: dict[str, float] = {
        "env/episode_failed_count": num_started - len(listed) + outcomes[Outcome.FAILED],
        "env/episode_restart_count": sum(one["num_restarts"] for one in listed),
    }
    if listed:
        lengths = [one["num_turns"] for one in listed]
        metrics |= {
            "episode/success_frac": _success(listed),
            "episode/return_mean": _mean([one["return"] for one in listed]),
            "episode/turns_mean": _mean(lengths),
            "episode/turns_max": max(lengths),
            "episode/step_limit_frac": outcomes[Outcome.STEP_LIMIT] / len(listed),
            "episode/length_frac": outcomes[Outcome.LENGTH] / len(listed),
        }
    for name in TASK_TYPES.values():
        of_type = [one for one in listed if one["task_type"] == name]
        if of_type:
            metrics[f"episode/success_frac_{name}"] = _success(of_type)
    kinds = Counter(turn["kind"] for turn in turns)
    if turns:
        for kind in (ActionKind.MALFORMED, ActionKind.INADMISSIBLE):
            metrics[f"episode/turn_{kind}_frac"] = kinds[kind] / len(turns)
    return metrics


def _success(episodes: Sequence[Mapping[str, Any]]) -> float:
    return _mean([one["outcome"] == Outcome.WON for one in episodes])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
