"""Rows of the public hub, at a commit that is known afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from data_prep.files import LocatedRow
from data_prep.math_set import Hub


def hub_revision(hub: Hub) -> str:
    """The commit that a data set is at (needs the internet).

    Args:
        hub: the data set; its own revision may be a branch, a tag or a commit.

    Returns:
        Commit hash.

    Raises:
        ValueError: if the hub does not answer or does not have it.
    """
    import huggingface_hub

    try:
        found = huggingface_hub.dataset_info(hub.id, revision=hub.revision).sha
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise ValueError(_unavailable(hub, error)) from error
    if found is None:
        raise ValueError(_unavailable(hub, "it names no commit"))
    return found


def read_hub(hub: Hub, revision: str) -> Iterator[LocatedRow]:
    """Read one split of a data set (needs the internet).

    Args:
        hub: the data set.
        revision: commit.

    Yields:
        Where the row stands, and the row.

    Raises:
        ValueError: if it cannot be loaded.
    """
    import datasets

    try:
        rows: Any = datasets.load_dataset(hub.id, hub.config, split=hub.split, revision=revision)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise ValueError(_unavailable(hub, error)) from error
    for number, row in enumerate(rows, start=1):
        yield f"{hub.id}, {hub.split}, row {number}", dict(row)


def _unavailable(hub: Hub, reason: object) -> str:
    reason = " ".join(str(reason).split())[:200]
    return f"{hub.id} cannot be read from the hub ({reason}); give the rows with --source"
