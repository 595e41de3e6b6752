"""Memory of this machine and of its GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_MIB = 2**20
_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
_SECONDS = 20


def gpu_memory_here(count: int) -> int | None:
    """Memory of the smallest GPU that a run would use.

    The driver is asked by another process: torch would initialise CUDA in this one, which starts
    others.

    Args:
        count: GPUs of this machine that are to be used, the first ones of CUDA_VISIBLE_DEVICES.

    Returns:
        Bytes; None where there are none, or it cannot be told.
    """
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_SECONDS, check=True)
        sizes = [line.split(", ") for line in told.stdout.splitlines() if line.strip()]
        found = [(index, uuid, int(size) * _MIB) for index, uuid, size in sizes]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return min(_visible(found)[:count], default=None)


def _visible(found: list[tuple[str, str, int]]) -> list[int]:
    """Sizes in the order of CUDA_VISIBLE_DEVICES, which ends at the first that is not there."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [size for _, _, size in found]
    sizes: list[int] = []
    for name in (one.strip() for one in chosen.split(",")):
        # A number, or the beginning of a name.
        matching = [
            size
            for index, uuid, size in found
            if name == index or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if len(matching) != 1:
            break
        sizes += matching
    return sizes


def own_memory() -> int:
    """Bytes of main memory that this process and its children may use."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(Path("/"))])


def _limits(root: Path) -> Iterator[int]:
    """Limits of the control groups that this process is in, of version 2 and of version 1.

    Args:
        root: of the file system.

    Yields:
        Bytes.
    """
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in (*lines, "0::/", "0:memory:/"):
        number, controllers, own = line.split(":", 2)
        if (number, controllers) == ("0", ""):
            yield from _limits_above(groups, own, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_above(groups / "memory", own, "memory.limit_in_bytes")


def _limits_above(top: Path, own: str, name: str) -> Iterator[int]:
    """Of a group and all that it is in; a container may see its own as the topmost."""
    group = top / own.strip("/")
    for folder in (group, *group.parents):
        try:
            text = (folder / name).read_text(encoding="utf-8").strip()
        except OSError:
            text = ""
        # "max" is none.
        if text.isdecimal():
            yield int(text)
        if folder == top:
            return
