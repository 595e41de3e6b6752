"""Writing verl's parquet rows with a manifest beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def verl_row(
    *,
    data_source: str,
    prompt: str,
    answer: str | list[str],
    split: str,
    index: int,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One row as verl's ``RLHFDataset`` and reward loop read it.

    Args:
        data_source: name of the data set; held-out metrics carry it.
        prompt: what the user asks, put through the model's chat template by verl.
        answer: ground truth handed to the reward function; of a list, any element is right.
        split: ``train``, ``heldout`` or ``test``.
        index: number of the row within its split or its source.
        extra: more for the row's ``extra_info``.

    Returns:
        The row.
    """
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"split": split, "index": index, **(extra or {})},
    }


def write_rows(
    path: Path, rows: Iterable[Mapping[str, Any]], *, schema: pa.Schema | None = None
) -> dict[str, Any]:
    """Write rows to ``path`` in one go: a reader never sees half a file.

    A file that would stay the same, byte for byte, is not touched.

    Args:
        path: parquet file; its folder is made.
        rows: from :func:`verl_row`.
        schema: column types; by default they are read off the rows.

    Returns:
        Manifest entry: file name, number of rows, sha256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    unfinished = path.with_suffix(".tmp")
    pq.write_table(table, unfinished)
    digest = file_sha256(unfinished)
    if digest == file_sha256(path):
        unfinished.unlink()
    else:
        os.replace(unfinished, path)
    return {"file": path.name, "rows": table.num_rows, "sha256": digest}


def file_sha256(path: Path) -> str | None:
    """Hexadecimal SHA-256 of a file's bytes; None where there is no file."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, entries: Iterable[Mapping[str, Any]], **about: Any) -> None:
    """Write ``manifest.json``: where the rows come from and what the files contain."""
    manifest = {**about, "files": list(entries)}
    path = folder / "manifest.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    os.replace(unfinished, path)
