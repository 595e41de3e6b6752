"""Prompts that are too long, and held-out sets that lose rows to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from holderpo.benchmarks.whole_sets import is_whole, metric_name
from recipe.holderpo.checks.data import HELD_OUT, TRAIN, Data, Split, batch_problems, batch_warnings
from recipe.holderpo.checks.prompt_lengths import PromptCounter, TemplateError, prompt_counter
from recipe.holderpo.checks.rows import has_own_loop
from recipe.holderpo.checks.tables import Table, in_rows


@dataclass(frozen=True)
class Limits:
    """What verl does with long prompts."""

    dropped_above: int | None
    """Tokens above which ``data.filter_overlong_prompts`` leaves a row out; None without it."""
    cut_above: int
    """Tokens above which the rollout cuts a prompt off at its beginning."""

    @property
    def lowest(self) -> int:
        """No shorter prompt is touched."""
        return min(self.cut_above, self.dropped_above or self.cut_above)


@dataclass
class _Lengths:
    """Of one split."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dropped: list[frozenset[int]] = field(default_factory=list)
    """Positions of the rows that are left out, of each table."""


def look_at_prompts(config: DictConfig, data: Data) -> tuple[list[str], list[str]]:
    """Count the prompts' tokens and say what becomes of long ones.

    Args:
        config: that is right otherwise.
        data: without problems.

    Returns:
        Problems, and warnings; without the tokenizer on this machine one warning says so.
    """
    try:
        counter = prompt_counter(config) if data.splits else ""
    except TemplateError as error:
        return [str(error)], []
    problems: list[str] = []
    warnings: list[str] = []
    if counter and isinstance(counter, str):
        warnings.append(
            f"data.max_prompt_length: {config.data.max_prompt_length}; prompts are not counted: "
            f"{counter}"
        )
    if config.data.truncation in ("right", "middle"):
        warnings.append(
            f"data.truncation has no effect: {config.data.truncation!r}, but verl's rollout cuts "
            "off the beginning of long prompts"
        )
    num_dropped = 0
    for name, split in data.splits.items():
        lengths = _lengths(config, split, counter if isinstance(counter, PromptCounter) else None)
        problems += lengths.problems
        warnings += lengths.warnings
        if name == TRAIN:
            num_dropped = sum(map(len, lengths.dropped))
        elif name == HELD_OUT and not lengths.problems:
            warnings += _names(split, lengths.dropped)
    if not problems:
        problems += batch_problems(config, data, num_dropped)
    warnings += batch_warnings(config, data, num_dropped)
    return problems, warnings


def _lengths(config: DictConfig, split: Split, counter: PromptCounter | None) -> _Lengths:
    lengths = _Lengths()
    limits, key = _limits(config), config.data.prompt_key
    for table, used in zip(split.tables, split.used, strict=True):
        dropped: frozenset[int] = frozenset()
        if counter is not None and used and _is_counted(config, table, limits):
            prompts = [table.rows[position][key] for position in used]
            try:
                counts = counter.count(prompts, limits.lowest)
            except TemplateError as error:
                lengths.problems.append(
                    f"{table.place}: the prompt of row {table.numbers[used[error.position]]} does "
                    f"not go into the chat template ({error}); mend the row or the template"
                )
            else:
                of_row = dict(zip(used, counts, strict=True))
                dropped = _judge(table, of_row, limits, lengths)
        lengths.dropped.append(dropped)
    return lengths


def _limits(config: DictConfig) -> Limits:
    longest: int = config.data.max_prompt_length
    cut_above = config.actor_rollout_ref.rollout.get("prompt_length")
    return Limits(
        dropped_above=longest if config.data.filter_overlong_prompts else None,
        cut_above=cut_above if isinstance(cut_above, int) else longest,
    )


def _is_counted(config: DictConfig, table: Table, limits: Limits) -> bool:
    """Whether the template alone makes the prompt: no images, no agent loop of the user's."""
    media = [config.data.get(key) for key in ("image_key", "video_key", "audio_key")]
    own_loop = has_own_loop(config, table) and limits.dropped_above is None
    return not own_loop and not any(key in table.features for key in media)


def _judge(
    table: Table, counts: Mapping[int, int], limits: Limits, lengths: _Lengths
) -> frozenset[int]:
    """Say what becomes of long prompts; returns the rows that are left out."""
    dropped, cut = [], []
    for position, count in counts.items():
        if limits.dropped_above is not None and count > limits.dropped_above:
            dropped.append(position)
        elif count > limits.cut_above:
            cut.append(position)
    for positions, limit, fate, fix in (
        (
            dropped,
            limits.dropped_above,
            "data.filter_overlong_prompts leaves them out",
            "raise data.max_prompt_length",
        ),
        (
            cut,
            limits.cut_above,
            "verl cuts off their beginning, whatever data.truncation says",
            "raise data.max_prompt_length, or set data.filter_overlong_prompts=true",
        ),
    ):
        if positions:
            rows = in_rows([table.numbers[each] for each in positions], len(counts))
            longest = max(counts[each] for each in positions)
            line = (
                f"{table.place}: more than {limit} prompt tokens (data.max_prompt_length) in "
                f"{rows}, at most {longest}; {fate}"
            )
            all_of_them = len(positions) == len(counts)
            where = lengths.problems if all_of_them else lengths.warnings
            where.append(f"{line}; {fix}" if all_of_them else f"{line} ({fix})")
    return frozenset(dropped)


def _names(split: Split, dropped: Sequence[frozenset[int]]) -> Iterator[str]:
    """Held-out sets whose metrics are not called by a benchmark's name, or that have none."""
    if not split.is_whole:
        return
    there: Counter[Any] = Counter()
    left: Counter[Any] = Counter()
    for table, used, gone in zip(split.tables, split.used, dropped, strict=True):
        names = [row.get("data_source") for row in table.rows]
        there.update(names)
        left.update(names[position] for position in used if position not in gone)
    for name in there:
        if not left[name]:
            yield f"{HELD_OUT}: none of the {there[name]} rows of {name} are used: no number for it"
        elif not is_whole(str(name), left[name]):
            called = metric_name(str(name), left[name])
            yield (
                f"{HELD_OUT}: {name} has {left[name]} problems here, not the benchmark's number; "
                f"metrics call it {called}"
            )
