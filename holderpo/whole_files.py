"""Small files that are there as a whole or not at all, whenever a process or a machine stops."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file in one go: until it is on the disk, the earlier one stays.

    Args:
        path: of the file; its folder is there.
        text: its new content.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
