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
    *, data_source: str, prompt: str, answer: str, split: str, index: int
) -> dict[str, Any]:
    """One row as verl's ``RLHFDataset`` and reward loop read it.

    Args:
        data_source: name of the data set; held-out metrics carry it.
        prompt: what the user asks, put through the model's chat template by verl.
        answer: ground truth handed to the reward function.
        split: ``train`` or ``heldout``.
        index: number of the row within its split.

    Returns:
        The row.
    """
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"split": split, "index": index},
    }


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Write rows to ``path`` in one go: a reader never sees half a file.

    Args:
        path: parquet file; its folder is made.
        rows: from :func:`verl_row`.

    Returns:
        Manifest entry: file name, number of rows, sha256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows))
    unfinished = path.with_suffix(".tmp")
    pq.write_table(table, unfinished)
    os.replace(unfinished, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "rows": table.num_rows, "sha256": digest}


def write_manifest(folder: Path, entries: Iterable[Mapping[str, Any]], **about: Any) -> None:
    """Write ``manifest.json``: where the rows come from and what the files contain."""
    manifest = {**about, "files": list(entries)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
