"""What the preparation of a set says on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.checks import KINDS, Finding

# Findings of a kind that are printed; the manifest has all.
_MOST_PRINTED = 20
_DONE = {"drop": "dropped", "keep": "kept"}


def place(origin: Mapping[str, Any]) -> str:
    """Where rows come from, in short.

    Args:
        origin: the manifest's ``source``.
    """
    if origin["kind"] == "hub":
        config = f"/{origin['config']}" if origin["config"] else ""
        return f"hub {origin['id']}{config}/{origin['split']} at {origin['revision'][:12]}"
    files = origin["files"]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return files[0]["file"] + more


def print_summary(entry: Mapping[str, Any], findings: Sequence[Finding]) -> None:
    """Print where the rows come from and what the checks found.

    Args:
        entry: of the manifest.
        findings: of the checks.
    """
    print(f"  sha256 {entry['sha256'][:12]}, from {place(entry['source'])}; {_remark(entry)}")
    for kind, meaning in KINDS.items():
        check = entry["checks"][kind]
        if kind == "overlap" and entry["split"] == "train" and not check["held_out"]:
            print("  overlap: not checked, there is no --held-out")
        found = [finding for finding in findings if finding.kind == kind]
        if not found:
            continue
        rows = len({finding.row for finding in found})
        print(f"  {kind}: {rows} row{'s' * (rows > 1)} {_DONE[check['action']]} ({meaning})")
        for finding in found[:_MOST_PRINTED]:
            print(f"    {finding}")
        if len(found) > _MOST_PRINTED:
            print(f"    and {len(found) - _MOST_PRINTED} more, all in manifest.json")
    if entry["gold_suspect"]:
        print(
            f"  gold_suspect: {len(entry['gold_suspect'])} rows, whose published gold answers "
            "another question, kept as published and marked"
        )


def _remark(entry: Mapping[str, Any]) -> str:
    same = entry["same_as_reference"]
    if same:
        return "the same rows as the reference"
    if same is False:
        remark = "UNCHECKED: problems or answers differ from the reference"
    elif entry["max_rows"] is not None:
        remark = "UNCHECKED: the first rows only"
    else:
        remark = "UNCHECKED: there is no reference to compare with"
    if entry["source"]["kind"] == "hub" and not entry["source"]["checked"]:
        remark += "; this hub id was never tried by this project"
    return remark
