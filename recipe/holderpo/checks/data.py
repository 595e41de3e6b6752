"""The data are looked at: files, rows, prompts and how many of them training and validation get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.batches import takes_prompts_one_by_one
from recipe.holderpo.checks.ground_truth import answer_problems, answer_warnings
from recipe.holderpo.checks.rows import columns_read, row_problems
from recipe.holderpo.checks.tables import (
    MOST_ROWS,
    Table,
    TableError,
    conflicts,
    read_table,
)
from recipe.holderpo.checks.templates import template_problems, template_warnings

TRAIN, HELD_OUT = "data.train_files", "data.val_files"
_LARGEST_SAMPLE = {TRAIN: "data.train_max_samples", HELD_OUT: "data.val_max_samples"}


@dataclass(frozen=True)
class Split:
    """The files of training, or of validation, and which of their rows verl takes."""

    tables: Sequence[Table]
    """In the order in which verl puts them together."""
    used: Sequence[Sequence[int]]
    """Of each table, the positions of the rows that verl takes, as far as they are looked at."""
    num_used: int
    """Rows that verl takes, before it leaves out long prompts."""

    @property
    def is_whole(self) -> bool:
        """Whether every row that verl takes is looked at."""
        return sum(map(len, self.used)) == self.num_used


@dataclass
class Data:
    """What was found."""

    splits: dict[str, Split] = field(default_factory=dict)
    """By field of the configuration; only those whose files could all be read."""
    problems: list[str] = field(default_factory=list)
    """Each ``field: value; fix``."""
    warnings: list[str] = field(default_factory=list)
    """What is odd and may be meant."""


def data_files(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Field and path of each file of data."""
    for name in (TRAIN, HELD_OUT):
        value = OmegaConf.select(config, name)
        for path in value if OmegaConf.is_list(value) else [value]:
            yield name, str(path)


def look_at_data(config: DictConfig) -> Data:
    """Read the data and judge their rows.

    Files that do not exist are left to others, as are those that only a class of the user's reads.

    Args:
        config: composed.

    Returns:
        What was found.
    """
    data = Data()
    own_class = OmegaConf.select(config, "data.custom_cls.path")
    if own_class is not None:
        data.warnings.append(
            f"data.custom_cls.path: {own_class} reads the data; they are not looked at"
        )
        return data
    files = list(data_files(config))
    tables = [table for name, path in files if (table := _read(config, name, path, data))]
    for name in (TRAIN, HELD_OUT):
        paths = [path for each, path in files if each == name]
        own = [table for table in tables if table.field == name]
        if not paths:
            data.problems.append(f"{name}: []; give a file")
        data.problems += conflicts(own)
        if paths and len(own) == len(paths):
            data.splits[name] = _split(config, name, own)
    for table in tables:
        found = [*row_problems(config, table), *answer_problems(config, table)]
        data.problems += found
        if not found:
            data.warnings += answer_warnings(config, table)
    data.problems += [*template_problems(config, tables), *batch_problems(config, data)]
    data.warnings += [*template_warnings(tables), *_repeated(files)]
    return data


def _read(config: DictConfig, name: str, path: str, data: Data) -> Table | None:
    if "://" in path:
        data.warnings.append(f"{name}: {path} is not on this machine; its rows are not looked at")
        return None
    if not Path(path).expanduser().exists():
        return None
    try:
        table = read_table(name, path, columns_read(config))
    except TableError as error:
        data.problems.append(f"{name}: {path}: {error}")
        return None
    if table.num_rows == 0:
        data.problems.append(f"{name}: {path}: has no rows; prepare it ({config.prepared_by})")
        return None
    if not table.is_whole:
        data.warnings.append(
            f"{name}: {path}: {len(table.rows)} of {table.num_rows} rows are looked at, the first "
            f"of each row group (at most {MOST_ROWS})"
        )
    return table


def _split(config: DictConfig, name: str, tables: Sequence[Table]) -> Split:
    total = sum(table.num_rows for table in tables)
    wanted = OmegaConf.select(config, _LARGEST_SAMPLE[name])
    if not isinstance(wanted, int) or not 0 < wanted < total:
        everything = [range(len(table.rows)) for table in tables]
        return Split(tables, everything, total)
    chosen = set(_sample(config, wanted, total))
    used, start = [], 0
    for table in tables:
        numbers = enumerate(table.numbers)
        used.append([position for position, number in numbers if start + number in chosen])
        start += table.num_rows
    return Split(tables, used, wanted)


def _sample(config: DictConfig, wanted: int, total: int) -> Sequence[int]:
    """The rows that verl's ``RLHFDataset`` draws; without a seed, any."""
    if not config.data.get("shuffle"):
        return range(wanted)
    seed = config.data.get("seed")
    drawn: list[int] = np.random.default_rng(seed).choice(total, wanted, replace=False).tolist()
    return drawn


def _repeated(files: Sequence[tuple[str, str]]) -> Iterator[str]:
    places = [(name, str(Path(path).expanduser().resolve())) for name, path in files]
    for (name, path), count in Counter(places).items():
        if count > 1:
            yield f"{name}: {path} is named {count} times; its rows count as often"
        if name == HELD_OUT and (TRAIN, path) in places:
            yield f"{name}: {path} is trained on too: its accuracy is not that of held-out data"


def batch_problems(config: DictConfig, data: Data, num_dropped: int = 0) -> Iterator[str]:
    """Too few rows for one round: verl takes full batches only, and would stop without one.

    Args:
        config: composed.
        data: that was looked at.
        num_dropped: rows of training that are left out for their length.

    Yields:
        At most one line.
    """
    if TRAIN not in data.splits:
        return
    name, wanted = _loader_batch(config)
    left = data.splits[TRAIN].num_used - num_dropped
    if isinstance(wanted, int) and left < wanted:
        without = f" ({num_dropped} with long prompts left out)" if num_dropped else ""
        yield (
            f"{name}: {wanted}, but {TRAIN} has {left} rows to train on{without}; give at most "
            "that, or more rows"
        )


def batch_warnings(config: DictConfig, data: Data, num_dropped: int = 0) -> Iterator[str]:
    """Rows that come twice in a round, or never.

    Args:
        config: checked.
        data: that was looked at.
        num_dropped: rows of training that are left out for their length.

    Yields:
        One line each.
    """
    if TRAIN not in data.splits:
        return
    left = data.splits[TRAIN].num_used - num_dropped
    size, (_, at_once) = config.data.train_batch_size, _loader_batch(config)
    if left < size:
        yield (
            f"data.train_batch_size: {size}, but {TRAIN} has {left} rows: prompts come more than "
            "once in a round"
        )
    unused = left % at_once
    if unused and not config.data.shuffle and config.trainer.total_training_steps * size > left:
        yield (
            f"data.shuffle: false; the last {unused} of {left} rows are never trained on, as verl "
            f"takes {at_once} at a time"
        )


def _loader_batch(config: DictConfig) -> tuple[str, int]:
    """The rows that verl fetches at a time, and the setting that says so."""
    if takes_prompts_one_by_one(config):
        return "data.gen_batch_size", 1
    for name in ("data.gen_batch_size", "data.train_batch_size"):
        if value := OmegaConf.select(config, name):
            break
    return name, value
