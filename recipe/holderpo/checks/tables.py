"""Tables of rows as verl reads them, or the reason why it could not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".json", ".jsonl")
# Of a larger table a sample is looked at.
MOST_ROWS = 100_000
MIXED = "values of several types"
# verl's reader takes a path with one of these for a pattern.
_PATTERN = frozenset("*?[")
_LARGEST_BLOCK = 2**31 - 1
_NOT_JSON = (ValueError, RecursionError)

# A type as verl's reader tells types apart: a name, (a kind of list, its elements), or fields.
Feature = str | tuple[str, Any] | dict[str, Any]


class TableError(ValueError):
    """What is wrong with a file and how to fix it, in one line without the file's name."""


@dataclass(frozen=True)
class Table:
    """One file."""

    field: str
    """Of the configuration."""
    path: str
    """As in the configuration."""
    num_rows: int
    """Of the whole file."""
    features: Mapping[str, Feature]
    """Type of each column."""
    numbers: Sequence[int]
    """Of the rows that are looked at, from 0."""
    rows: Sequence[Mapping[str, Any]]
    """These rows; of the columns only those that something reads."""

    @property
    def place(self) -> str:
        """Beginning of every message about it."""
        return f"{self.field}: {self.path}"

    @property
    def is_whole(self) -> bool:
        """Whether all rows are looked at."""
        return len(self.rows) == self.num_rows


def in_rows(numbers: Sequence[int], total: int, listed: int = 5) -> str:
    """Which rows of how many, for a message.

    Args:
        numbers: of the rows, from 0.
        total: rows that were looked at.
        listed: how many are named.

    Returns:
        ``row 3 of 64``, ``12 of 64 rows (0, 2, 3, 5, 9, ...)`` or ``all 64 rows (0, 1, ...)``.
    """
    if len(numbers) == 1:
        return f"row {numbers[0]} of {total}"
    named = ", ".join(map(str, numbers[:listed])) + (", ..." if numbers[listed:] else "")
    count = f"all {total}" if len(numbers) == total else f"{len(numbers)} of {total}"
    return f"{count} rows ({named})"


def read_table(field: str, path: str, columns: Sequence[str]) -> Table:
    """Read a file of rows.

    Args:
        field: of the configuration.
        path: of an existing file.
        columns: that are wanted; ``a.b`` is the field b of a, where a has fields. Those that are
            not there are left out.

    Returns:
        The table.

    Raises:
        TableError: if verl could not read it.
    """
    file = Path(path)
    _check_path(path, file)
    try:
        if file.suffix == ".parquet":
            return _read_parquet(field, path, columns)
        return _read_json(field, path, columns)
    except UnicodeDecodeError as error:
        raise TableError(f"holds text that is not UTF-8 ({error.reason}); write it anew") from error
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"is not readable as {file.suffix[1:]} ({_first_line(error)}); write it anew"
        ) from error


def _check_path(path: str, file: Path) -> None:
    if path.startswith("~"):
        raise TableError(f"verl does not replace ~; give {file.expanduser()}")
    if found := sorted(_PATTERN & set(path)):
        raise TableError(f"verl takes {found[0]} for a pattern of names; rename the file or folder")
    if file.is_dir():
        raise TableError(f"is a folder; give the file, or a list of files ({', '.join(SUFFIXES)})")
    if file.suffix not in SUFFIXES:
        raise TableError(f"ends with {file.suffix!r}; verl reads {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise TableError("is no ordinary file; give one")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")


def _read_parquet(field: str, path: str, columns: Sequence[str]) -> Table:
    with pq.ParquetFile(path) as content:
        schema, num_rows = content.schema_arrow, content.metadata.num_rows
        features = _features(schema)
        leaves = list(_leaves(columns, features))
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        start, groups = 0, content.num_row_groups
        share = MOST_ROWS if num_rows <= MOST_ROWS else max(MOST_ROWS // groups, 1)
        for group in range(groups):
            size = content.metadata.row_group(group).num_rows
            # Of a large file the first rows of each group.
            left = min(share, size)
            for batch in content.iter_batches(
                left or 1, row_groups=[group], columns=leaves, use_threads=False
            ):
                part = batch.slice(0, left)
                numbers += range(start + min(share, size) - left, start + min(share, size))[
                    : len(part)
                ]
                rows += part.to_pylist() if leaves else [{} for _ in range(len(part))]
                left -= len(part)
                if left <= 0:
                    break
            start += size
    return Table(field, path, num_rows, features, numbers, rows)


def _features(schema: pa.Schema) -> dict[str, Feature]:
    twice = sorted(name for name in set(schema.names) if schema.names.count(name) > 1)
    if twice:
        raise TableError(f"has two columns called {twice[0]!r}; rename one")
    return {column.name: feature(column.type) for column in schema}


def _leaves(columns: Sequence[str], features: Mapping[str, Feature]) -> Iterator[str]:
    for name in columns:
        column, _, inner = name.partition(".")
        present = features.get(name)
        if present is not None:
            yield name
        elif inner and column in features:
            fields = features[column]
            if not isinstance(fields, dict):
                yield column
            else:
                # Of objects without it any field: it tells an object from none.
                yield name if inner in fields else f"{column}.{next(iter(fields))}"


def _read_json(field: str, path: str, columns: Sequence[str]) -> Table:
    content = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    content.decode()
    if content.startswith(b"["):
        content = _lines_of_list(content)
    if not content.strip():
        return Table(field, path, 0, {}, (), ())
    options = pj.ReadOptions(use_threads=False, block_size=min(len(content) + 1, _LARGEST_BLOCK))
    try:
        # Arrow's reader crashes on a row that is null where no object came before.
        if not content.lstrip().startswith(b"{"):
            raise pa.ArrowInvalid("no object")
        table = pj.read_json(pa.BufferReader(content), read_options=options)
    except pa.ArrowInvalid:
        # A broken line, or a column of several types: verl's reader takes the second.
        found = list(_parsed_lines(content))
        names = dict.fromkeys(name for row in found for name in row)
        features = {name: _feature_of([row.get(name) for row in found]) for name in names}
        wanted = {name.partition(".")[0] for name in columns} & set(names)
        rows = [{name: row.get(name) for name in wanted} for row in found[:MOST_ROWS]]
        return Table(field, path, len(found), features, range(len(rows)), rows)
    features = _features(table.schema)
    wanted = {name.partition(".")[0] for name in columns} & set(features)
    rows = table.select(sorted(wanted)).slice(0, MOST_ROWS).to_pylist()
    if not wanted:
        rows = [{} for _ in range(min(table.num_rows, MOST_ROWS))]
    return Table(field, path, table.num_rows, features, range(len(rows)), rows)


def _lines_of_list(content: bytes) -> bytes:
    try:
        rows = json.loads(content)
    except _NOT_JSON as error:
        raise TableError(f"is no JSON ({_first_line(error)}); write it anew") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TableError(f"row {number} is no object with columns; write one for each row")
    return "\n".join(map(json.dumps, rows)).encode()


def _parsed_lines(content: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except _NOT_JSON as error:
            raise TableError(f"line {number} is no JSON ({_first_line(error)}); mend it") from error
        if not isinstance(row, dict):
            raise TableError(f"line {number} is no object with columns; mend it")
        yield row


def _feature_of(values: Sequence[Any]) -> Feature:
    try:
        return feature(pa.array(values).type)
    except (pa.ArrowException, OverflowError):
        return MIXED


def feature(arrow: pa.DataType) -> Feature:
    """A column's type as verl's reader sees it.

    Args:
        arrow: of the file.

    Returns:
        Equal for types that it puts together.
    """
    if pa.types.is_struct(arrow):
        return {field.name: feature(field.type) for field in arrow}
    if pa.types.is_dictionary(arrow):
        return feature(arrow.value_type)
    for name in ("list", "large_list", "fixed_size_list"):
        if getattr(pa.types, f"is_{name}")(arrow):
            return name, feature(arrow.value_type)
    return str(arrow)


def conflicts(tables: Sequence[Table]) -> Iterator[str]:
    """Columns whose types keep verl from putting the files of one field together.

    **Source**: ``datasets.concatenate_datasets``, which verl calls: columns may be missing or
    empty, but shared ones need one type, and an empty one must not come before one with fields.

    Args:
        tables: of one field, in their order.

    Yields:
        One line per column and file: field, file, types, fix.
    """
    merged: dict[str, Feature] = {}
    for table in tables:
        for name, before, here in _merge(merged, table.features):
            yield (
                f"{table.place}: column {name} holds {describe(here)}, in the files before it "
                f"{describe(before)}, and verl cannot put them together; write all with one schema"
            )


def _merge(
    merged: dict[str, Any], later: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Feature, Feature]]:
    for name, here in later.items():
        before = merged.get(name)
        if before is None:
            merged[name] = dict(here) if isinstance(here, dict) else here
        elif isinstance(before, dict) and isinstance(here, dict):
            yield from _merge(before, here, f"{above}{name}.")
        elif _is_null(before) and not isinstance(here, dict):
            merged[name] = here
        elif before != here and not _is_null(here):
            yield f"{above}{name}", before, here


def _is_null(kind: Feature) -> bool:
    return kind == "null" or (isinstance(kind, tuple) and _is_null(kind[1]))


def describe(kind: Feature) -> str:
    """A type in words."""
    if isinstance(kind, dict):
        return f"objects with {', '.join(kind)}"
    if isinstance(kind, tuple):
        kind_of_list = kind[0].replace("_", " ").replace("list", "lists")
        return f"{kind_of_list} of {describe(kind[1])}"
    return {"null": "nothing", "string": "text", "large_string": "large_string text"}.get(
        kind, kind
    )
