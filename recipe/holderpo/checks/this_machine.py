"""The machine that this process runs on, as far as a run's settings depend on it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from recipe.holderpo.checks.importing import why_not_importable

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Machine:
    """What there is."""

    num_cpus: int
    """CPUs that this process may use."""
    num_gpus: int
    """GPUs that it sees."""
    has_flash_attention: bool = True
    """Whether flash-attn is installed."""
    flash_attention_error: str | None = None
    """Why it cannot be imported although it is installed; None where it can."""

    @property
    def flash_attention(self) -> str:
        """What there is of it, in words."""
        if self.flash_attention_error is not None:
            return "a flash-attn that cannot be imported"
        return "flash-attn" if self.has_flash_attention else "no flash-attn"


def machine_here() -> Machine:
    """The machine that this process runs on."""
    has_flash, error = look_for_flash_attention()
    return Machine(usable_cpus(), visible_gpus(), has_flash, error)


def usable_cpus(quota_file: Path = _CPU_QUOTA) -> int:
    """CPUs that the scheduler, and a container's quota, leave this process.

    Ray by itself would count those of the machine or of the quota, also where the scheduler leaves
    fewer: so it is told a number.

    Args:
        quota_file: microseconds of CPU time and of the period they are for, or ``max``, as Linux
            writes them for a control group; absent outside a container.

    Returns:
        At least 1.
    """
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, math.ceil(int(quota) / int(period))))


def visible_gpus() -> int:
    """GPUs that torch, and so verl and vLLM, would see."""
    import torch

    return torch.cuda.device_count()


def why_torch_may_see_none() -> str:
    """Why there may be no GPU for torch where nvidia-smi shows one: it says so only when asked."""
    import torch

    cuda = torch.version.cuda
    if cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    return (
        f"where nvidia-smi shows them, its driver may be too old for torch's CUDA {cuda}: CUDA 13 "
        "takes one of the 580 series or newer"
    )


def look_for_flash_attention() -> tuple[bool, str | None]:
    """Whether flash-attn is installed, and if so, why it cannot be imported; None if it can.

    The distribution is asked for, as transformers does: flash-attn-4 brings a package of the same
    name. Only an import tells whether it works: a build for another torch ends in an unknown
    symbol.
    """
    if not has_distribution("flash-attn"):
        return False, None
    return True, why_not_importable("flash_attn.flash_attn_interface")


def has_distribution(name: str) -> bool:
    """Whether something is installed under a name of the package index."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
