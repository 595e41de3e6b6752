"""Rows that verl's data set or its rollouts would stumble over: prompts, ``extra_info``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from numbers import Real
from typing import Any

from omegaconf import DictConfig

from recipe.holderpo.checks.tables import Table, in_rows

# verl's, and the one of recipe.holderpo.plugin: their prompt is the row's, and their reward comes
# from the reward manager. A file of the user's names more.
AGENT_LOOPS = ("single_turn_agent", "tool_agent", "single_turn_any_tokenizer", "alfworld")
_LOOP_FILE = "actor_rollout_ref.rollout.agent.agent_loop_config_path"
_FIX_PROMPT = 'give a list of messages, [{"role": "user", "content": "..."}]'


def columns_read(config: DictConfig) -> list[str]:
    """The columns whose content is looked at."""
    return [
        config.data.prompt_key,
        "data_source",
        "reward_model.ground_truth",
        "extra_info.template",
        "agent_name",
    ]


def has_own_loop(config: DictConfig, table: Table) -> bool:
    """Whether responses come from an agent loop of the user's, which may need other columns."""
    loops = {config.actor_rollout_ref.rollout.agent.default_agent_loop}
    if "agent_name" in table.features:
        loops = {row["agent_name"] for row in table.rows}
    return not loops <= set(AGENT_LOOPS)


def row_problems(config: DictConfig, table: Table) -> Iterator[str]:
    """Rows that cannot be right.

    Args:
        config: composed.
        table: one file of data.

    Yields:
        One line per kind of mistake: field, file, rows, fix.
    """
    yield from _prompts(config.data.prompt_key, table)
    yield from _others(config, table)


def numbered(table: Table) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows that are looked at, each with its number."""
    return zip(table.numbers, table.rows, strict=True)


def faults_of(
    table: Table, fault_of: Callable[[Mapping[str, Any]], str | None]
) -> dict[str, list[int]]:
    """Sort the rows that are wrong by what is wrong.

    Args:
        table: of the rows.
        fault_of: says of a row what is wrong with it; None is nothing.

    Returns:
        Numbers of the rows with each fault.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in numbered(table):
        fault = fault_of(row)
        if fault is not None:
            found[fault].append(number)
    return found


def lines_of(table: Table, faults: Mapping[str, list[int]], fix: str) -> Iterator[str]:
    """One line for each fault: field, file, fault, rows, fix."""
    for fault, numbers in faults.items():
        yield f"{table.place}: {fault} in {in_rows(numbers, len(table.rows))}; {fix}"


def missing_column(table: Table, column: str, fix: str) -> str:
    """The line that says so."""
    present = ", ".join(table.features) or "none"
    return f"{table.place}: no column {column!r}; its columns are {present}; {fix}"


def _prompts(key: str, table: Table) -> Iterator[str]:
    if key not in table.features:
        yield missing_column(table, key, "write it, or name the right one in data.prompt_key")
        return
    yield from lines_of(
        table, faults_of(table, lambda row: _prompt_fault(key, row[key])), _FIX_PROMPT
    )


def _prompt_fault(key: str, prompt: Any) -> str | None:
    if prompt is None:
        return f"{key} is null"
    if isinstance(prompt, str):
        return f"{key} is a text, not a list of messages,"
    if not isinstance(prompt, list):
        return f"{key} is {kind_of(prompt)}, not a list of messages,"
    if not prompt:
        return f"{key} has no messages"
    for message in prompt:
        if not isinstance(message, dict):
            return f"{key} has a message that is {kind_of(message)}, no object,"
        fault = _message_fault(message, alone=len(prompt) == 1)
        if fault is not None:
            return f"{key} has a message {fault}"
    return None


def _message_fault(message: Mapping[str, Any], *, alone: bool) -> str | None:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role.strip():
        return "without role"
    if content is None:
        # As an assistant's call of a tool.
        return None if message.get("tool_calls") else "without content"
    if not isinstance(content, str | list):
        return f"whose content is {kind_of(content)}"
    # An empty system message takes the place of a template's own.
    if not (content.strip() if isinstance(content, str) else content):
        return "with empty content" if alone or role != "system" else None
    return None


def kind_of(value: Any) -> str:
    """A value's type in words."""
    kinds: tuple[tuple[Any, str], ...] = (
        (type(None), "null"),
        (bool, "true or false"),
        (str, "a text"),
        (Real, "a number"),
        (dict, "an object"),
        (list, "a list"),
        ((date, datetime), "a date"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _others(config: DictConfig, table: Table) -> Iterator[str]:
    faults = faults_of(table, lambda row: _extra_info_fault(row.get("extra_info")))
    yield from lines_of(table, faults, "give objects, or leave the column out")
    if "agent_name" in table.features:
        named = config.actor_rollout_ref.rollout.agent.agent_loop_config_path is not None
        faults = faults_of(table, lambda row: _loop_fault(row["agent_name"], named))
        fix = f"give one of {', '.join(AGENT_LOOPS)}, name the file of yours in {_LOOP_FILE}, or "
        yield from lines_of(table, faults, fix + "leave the column out")


def _loop_fault(name: Any, has_own: bool) -> str | None:
    if not name:
        return "agent_name is empty"
    return None if has_own or name in AGENT_LOOPS else f"agent_name is {name!r}, no agent loop,"


def _extra_info_fault(value: Any) -> str | None:
    is_object = value is None or isinstance(value, dict)
    return None if is_object else f"extra_info is {kind_of(value)}, no object,"
