"""Rows of local files: JSON Lines, JSON, parquet, and Arrow as ``datasets`` saves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# A row, and where it stands: ``rows.jsonl, line 3``.
LocatedRow = tuple[str, dict[str, Any]]

SUFFIXES = (".jsonl", ".json", ".parquet", ".arrow")
# Besides broken JSON: numbers of thousands of digits, and brackets as deep.
_NOT_JSON = (ValueError, RecursionError)


def read_rows(path: Path) -> Iterator[LocatedRow]:
    """Read the rows of one file.

    Args:
        path: a file with one of ``SUFFIXES``; JSON holds a list of objects, or one per line.

    Yields:
        Where the row stands, for messages, and the row.

    Raises:
        ValueError: for another suffix, and for what is no row, naming file and line.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: give a file that ends with one of {', '.join(SUFFIXES)}")
    if path.suffix in (".jsonl", ".json"):
        text = _text(path)
        rows = _json_list(path, text) if text.lstrip().startswith("[") else _json_lines(path, text)
    else:
        rows = _table_rows(path)
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {type(row).__name__} instead of an object with fields")
        yield where, row


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # Some programs begin a file with a byte order mark.
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason})") from error


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Only line feeds end a line: JSON strings may hold other line separators.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield where, json.loads(line)
        except _NOT_JSON as error:
            raise ValueError(f"{where}: not JSON ({error})") from error


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error})") from error
    except _NOT_JSON as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", row


def _table_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
    except (pa.ArrowException, OSError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: not readable as {path.suffix[1:]} ({why})") from error
    number = 0
    for batch in table.to_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}, row {number}", row


def find_files(source: Path, *, names: Sequence[str], split: str) -> list[Path]:
    """Find a data set's files.

    In a folder these are, in this order: what is called one of ``names`` (a file without its
    suffix, or a folder, which is searched in turn), a folder called like the split, the shards
    ``train-*`` or ``test-*`` of the split, and, in a folder that is itself called like the set or
    the split, the only file there is.

    Args:
        source: a file, or a folder.
        names: what the set's file or folder may be called, best first.
        split: ``train`` or ``test``.

    Returns:
        Files, in the order of their names.

    Raises:
        ValueError: where there is nothing, or more than one candidate, listing what is there.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ValueError(f"{source}: no such file or folder")
    entries = sorted(source.iterdir())
    files = [entry for entry in entries if entry.is_file() and entry.suffix in SUFFIXES]
    for name in (*names, split):
        named = [file for file in files if file.stem == name]
        if len(named) == 1:
            return named
        if len(named) > 1:
            raise ValueError(f"{source}: {_listed(named)} are candidates; give one as the source")
        if (source / name).is_dir():
            return find_files(source / name, names=names, split=split)
    shards = [file for file in files if file.stem.startswith(f"{split}-")]
    if shards and len({file.suffix for file in shards}) == 1:
        return shards
    # What ``datasets`` saves to disk.
    saved = [file for file in files if file.stem.startswith("data-") and file.suffix == ".arrow"]
    if saved:
        return saved
    data_files = [file for file in files if file.stem not in ("dataset_info", "state")]
    if len(data_files) == 1 and source.name in (*names, split):
        return data_files
    raise ValueError(
        f"{source}: no file called {' or '.join(names)} ({', '.join(SUFFIXES)}); there is "
        f"{_listed(entries) or 'nothing'}. Give the file itself as the source"
    )


def _listed(paths: Sequence[Path], most: int = 12) -> str:
    names = [path.name for path in paths[:most]]
    return ", ".join(names) + (f" and {len(paths) - most} more" if len(paths) > most else "")
