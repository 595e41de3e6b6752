"""The versions this recipe is written for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

SUPPORTED_VERL = "0.9.1"


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
    installed = installed_version("verl")
    if installed != SUPPORTED_VERL:
        raise UnsupportedVersionError(
            f"verl: {installed or 'not installed'}; this recipe supports verl {SUPPORTED_VERL} "
            f"only (fix: pip install verl=={SUPPORTED_VERL})"
        )
