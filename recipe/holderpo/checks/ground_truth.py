"""What the reward needs of a row: ``data_source`` and ``reward_model.ground_truth``."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from numbers import Real
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from recipe.holderpo.checks.rows import (
    faults_of,
    has_own_loop,
    kind_of,
    lines_of,
    missing_column,
    numbered,
)
from recipe.holderpo.checks.tables import Table, in_rows
from recipe.holderpo.sections import TRUNCATION_MANAGER

GROUND_TRUTH = "reward_model.ground_truth"
EXACT_MATCH, MATH = "pkg://holderpo.rewards.exact_match", "pkg://holderpo.rewards.math"
# What verl's own reward function knows, besides names that begin with aime.
VERL_SOURCES = (
    *("openai/gsm8k", "lighteval/MATH", "DigitalLearningGmbH/MATH-lighteval"),
    *("HuggingFaceH4/MATH-500", "math_dapo", "math", "math_dapo_reasoning"),
    *("numina_aops_forum", "numina_synthetic_math", "numina_amc_aime", "numina_synthetic_amc"),
    *("numina_cn_k12", "numina_olympiads", "codecontests", "apps", "codeforces", "taco"),
    *("hiyouga/geometry3k", "searchR1_nq", "searchR1_triviaqa", "searchR1_popqa"),
    *("searchR1_hotpotqa", "searchR1_2wikimultihopqa", "searchR1_musique", "searchR1_bamboogle"),
)


def answer_problems(config: DictConfig, table: Table) -> Iterator[str]:
    """Rows whose response could not be rewarded.

    Args:
        config: composed.
        table: one file of data.

    Yields:
        One line per kind of mistake: field, file, rows, fix.
    """
    if _reads_answers(config, table):
        yield from _sources(config, table)
        yield from _answers(config, table)


def answer_warnings(config: DictConfig, table: Table) -> Iterator[str]:
    """Rows that are odd and may be meant.

    Args:
        config: composed.
        table: that has passed :func:`answer_problems`.

    Yields:
        One line each.
    """
    if not _reads_answers(config, table):
        return
    empty = [n for n, row in numbered(table) if _answer_fault(_answer(row)) is not None]
    if empty:
        rows = in_rows(empty, len(table.rows))
        yield f"{table.place}: {GROUND_TRUTH} is empty in {rows}: there is no right response"


def _reads_answers(config: DictConfig, table: Table) -> bool:
    """Whether the reward comes from a reward manager that is known to read the row."""
    manager, reward = config.reward.reward_manager, config.reward
    own_manager = manager.source != "register" and manager.name != TRUNCATION_MANAGER
    by_model = reward.reward_model.enable and reward.custom_reward_function.path is None
    return not (own_manager or by_model or has_own_loop(config, table))


def _sources(config: DictConfig, table: Table) -> Iterator[str]:
    fix = "give the name of the data set; held-out metrics carry it, the reward function gets it"
    if "data_source" not in table.features:
        yield missing_column(table, "data_source", fix)
        return
    faults = faults_of(table, lambda row: _source_fault(row["data_source"]))
    yield from lines_of(table, faults, fix)
    if faults or config.reward.custom_reward_function.path is not None:
        return
    unknown = defaultdict(list)
    for number, row in numbered(table):
        name = str(row["data_source"])
        if name not in VERL_SOURCES and not name.startswith("aime"):
            unknown[name].append(number)
    for name, numbers in unknown.items():
        yield (
            f"{table.place}: data_source {name!r} in {in_rows(numbers, len(table.rows))} is "
            "unknown to verl's own reward function; give yours in "
            f"reward.custom_reward_function.path (for mathematics {MATH})"
        )


def _source_fault(source: Any) -> str | None:
    if source is None:
        return "data_source is null"
    if isinstance(source, bool) or not isinstance(source, str | int):
        return f"data_source is {kind_of(source)}, no name,"
    return "data_source is empty" if isinstance(source, str) and not source.strip() else None


def _answer(row: Mapping[str, Any]) -> Any:
    return row["reward_model"]["ground_truth"]


def _answers(config: DictConfig, table: Table) -> Iterator[str]:
    fix = 'give {"style": "rule", "ground_truth": <the right answer>}'
    if "reward_model" not in table.features:
        yield missing_column(table, "reward_model", fix)
        return
    faults = faults_of(table, lambda row: _reward_model_fault(row.get("reward_model")))
    yield from lines_of(table, faults, fix)
    if faults:
        return
    function = config.reward.custom_reward_function.path
    is_own = function not in (None, EXACT_MATCH, MATH)
    faults = faults_of(table, lambda row: _answer_fault(_answer(row)))
    if is_own and sum(map(len, faults.values())) == len(table.rows):
        # A function of the user's need not read it: answer_warnings says it.
        faults = {}
    if not is_own and _kept_on_purpose(table, faults):
        faults = {}
    fix = "give the right answer, or leave the row out: no response to it can be right"
    yield from lines_of(table, faults, fix)
    if faults:
        return
    if function in (EXACT_MATCH, MATH):
        allowed = "a text" if function == EXACT_MATCH else "a text, a number or a list of them"
        faults = faults_of(table, lambda row: _kind_fault(_answer(row), function))
        yield from lines_of(table, faults, f"{function} compares it with {allowed}")
    yield from _mixed_answers(table)


def _reward_model_fault(value: Any) -> str | None:
    if value is None:
        return "reward_model is null"
    if not isinstance(value, dict):
        return f"reward_model is {kind_of(value)}, no object,"
    return None if "ground_truth" in value else "reward_model has no ground_truth"


def _answer_fault(answer: Any) -> str | None:
    """What makes an answer none at all."""
    if answer is None:
        return f"{GROUND_TRUTH} is null"
    if isinstance(answer, str | list | dict) and not answer:
        return f"{GROUND_TRUTH} is empty"
    if isinstance(answer, str) and not answer.strip():
        return f"{GROUND_TRUTH} is blank"
    if isinstance(answer, float) and not math.isfinite(answer):
        return f"{GROUND_TRUTH} is {answer}"
    if isinstance(answer, list) and any(_answer_fault(one) is not None for one in answer):
        return f"{GROUND_TRUTH} is a list with an empty element"
    return None


def _kept_on_purpose(table: Table, faults: Mapping[str, list[int]]) -> bool:
    """Whether data_prep was told to keep the rows without an answer of this very training file."""
    if list(faults) != [f"{GROUND_TRUTH} is empty"] or table.field != "data.train_files":
        return False
    if len(faults[f"{GROUND_TRUTH} is empty"]) == len(table.rows):
        return False
    file = Path(table.path)
    try:
        entries = json.loads((file.parent / "manifest.json").read_text(encoding="utf-8"))["files"]
        (entry,) = [each for each in entries if each["file"] == file.name]
        kept = entry["checks"]["empty"]["action"] == "keep"
        return bool(kept and entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _kind_fault(answer: Any, function: str) -> str | None:
    """What the reward function could not compare with."""
    if isinstance(answer, date | datetime):
        # The JSON reader's doing, for every text that looks like one.
        return f"{GROUND_TRUTH} is read as a date"
    parts = answer if isinstance(answer, list) and function == MATH else [answer]
    for part in parts:
        is_number = isinstance(part, Real) and not isinstance(part, bool)
        if not isinstance(part, str) and not (is_number and function == MATH):
            return f"{GROUND_TRUTH} is {kind_of(answer)}" + (
                f" with {kind_of(part)}" if isinstance(answer, list) and function == MATH else ""
            )
    return None


def _mixed_answers(table: Table) -> Iterator[str]:
    """Of a JSON file verl's reader makes numbers of such a column's texts, where it can."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for number, row in numbered(table):
        if _answer(row) is not None:
            kinds[kind_of(_answer(row))].append(number)
    if len(kinds) > 1:
        (few, *_, many) = sorted(kinds, key=lambda kind: len(kinds[kind]))
        yield (
            f"{table.place}: {GROUND_TRUTH} is {few} in {in_rows(kinds[few], len(table.rows))} and "
            f"{many} in others; write one type in all rows"
        )
