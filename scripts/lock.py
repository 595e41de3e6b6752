"""Renews the hashes in the lock files; pins, markers, order and comments stay as they are.

    .venv/bin/python scripts/lock.py
    .venv/bin/python scripts/lock.py --resolve-gpu

To move a package, change its version there first. The second command resolves the pins of
requirements-gpu.lock anew, from setup.py and for the newest versions. Hashes come from the index
that uv is set to. They cover the wheels for Linux on x86-64 and aarch64 under Python 3.11 and 3.12,
for GPUs on x86-64 under 3.12, and the source where one of these has no wheel. On a CPU torch has
none: TORCH_INDEX decides which build is installed.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

REPOSITORY = Path(__file__).parents[1]
CPU_LOCKS = [REPOSITORY / name for name in ("requirements.lock", "requirements-alfworld.lock")]
GPU_LOCK = REPOSITORY / "requirements-gpu.lock"
PIN = re.compile(r"(?P<name>[\w.-]+)==[\w.]+(?: ; (?P<marker>[^\\]*[^\\ ]))?")
NOT_HASHED = "torch"
# Built against the torch that is there, by a command of its own.
NOT_LOCKED = "flash-attn"
UV = [sys.executable, "-m", "uv", "pip", "compile", "--quiet"]


def _tags(minor: int, machine: str) -> set[Tag]:
    """Tags of the wheels that fit CPython 3.minor on a machine with any recent glibc."""
    names = [f"manylinux_2_{glibc}" for glibc in range(5, 50)]
    names += ["manylinux1", "manylinux2010", "manylinux2014", "linux"]
    platforms = [f"{name}_{machine}" for name in names]
    return {
        *cpython_tags((3, minor), platforms=platforms),
        *compatible_tags((3, minor), f"cp3{minor}", platforms),
    }


_Targets = Mapping[tuple[int, str], set[Tag]]
TARGETS: _Targets = {
    (minor, machine): _tags(minor, machine)
    for minor in (11, 12)
    for machine in ("x86_64", "aarch64")
}
GPU_TARGETS: _Targets = {(12, "x86_64"): TARGETS[12, "x86_64"]}


def needed_files(
    wheels: list[str],
    sdist: str | None,
    marker: str | None = None,
    machines: _Targets = TARGETS,
) -> list[str]:
    """Of a release's files those that the targets install, which are all or those of the marker.

    Raises:
        ValueError: a target has no wheel and the release no source.
    """
    targets = [
        tags
        for (minor, machine), tags in machines.items()
        if marker is None
        or Marker(marker).evaluate({"platform_machine": machine, "python_version": f"3.{minor}"})
    ]
    tags = {wheel: parse_wheel_filename(wheel)[3] for wheel in wheels}
    needed = [wheel for wheel in wheels if any(tags[wheel] & target for target in targets)]
    if all(any(tags[wheel] & target for wheel in needed) for target in targets):
        return needed
    if sdist is None:
        raise ValueError(f"no source, and wheels for some targets only: {', '.join(needed)}")
    return [*needed, sdist]


def _hashes(pins: list[re.Match], machines: _Targets) -> dict[str, list[str]]:
    """sha256 of the needed files of each pinned package, by its canonical name."""
    python = ["--python-version", f"3.{min(minor for minor, _ in machines)}"]
    listed = subprocess.run(
        [*UV, *python, "--no-deps", "--universal", "--format", "pylock.toml", "-"],
        input="\n".join(pin[0] for pin in pins),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    markers = {canonicalize_name(pin["name"]): pin["marker"] for pin in pins}
    hashes = {}
    for package in tomllib.loads(listed)["packages"]:
        name, sdist = package["name"], package.get("sdist")
        files = [*package.get("wheels", []), *([sdist] if sdist else [])]
        sha256 = {_file_name(file): file["hashes"]["sha256"] for file in files}
        source = _file_name(sdist) if sdist else None
        wheels = [file for file in sha256 if file != source]
        needed = needed_files(wheels, source, markers[name], machines)
        hashes[name] = sorted(sha256[file] for file in needed)
    return hashes


def _file_name(file: dict) -> str:
    return unquote(urlsplit(file["url"]).path.rsplit("/", 1)[-1])


def renew(lock: Path) -> None:
    """Writes one lock file anew."""
    is_gpu = lock == GPU_LOCK
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("    --hash")]
    pins = {line: PIN.match(line) for line in lines}
    hashed = {
        line: pin for line, pin in pins.items() if pin and (is_gpu or pin["name"] != NOT_HASHED)
    }
    hashes = _hashes(list(hashed.values()), GPU_TARGETS if is_gpu else TARGETS)
    for i, line in enumerate(lines):
        if pin := hashed.get(line):
            own = hashes[canonicalize_name(pin["name"])]
            lines[i] = " \\\n".join([pin[0], *(f"    --hash=sha256:{sha}" for sha in own)])
    lock.write_text("\n".join(lines) + "\n")


def resolve_gpu(options: Sequence[str] = ()) -> list[str]:
    """Everything that the extras for GPUs install, as uv resolves them.

    Args:
        options: more of uv's, for example constraints.

    Returns:
        ``name==version``, in order.

    Raises:
        CalledProcessError: if there is no such set, or no index.
        ValueError: for a line that is no pin of a version.
    """
    extras = ["--extra", "gpu", "--extra", "fsdp", str(REPOSITORY / "setup.py")]
    target = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28"]
    found = subprocess.run(
        [*UV, "--no-annotate", "--no-header", *target, *options, *extras],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    return pins_of(found)


def pins_of(listed: str) -> list[str]:
    """The lines of what uv lists.

    Raises:
        ValueError: for one that is no pin of a version, such as a folder or an address: it would be
            lost.
    """
    lines = [line for line in listed.splitlines() if line.strip()]
    if others := [line for line in lines if not PIN.fullmatch(line)]:
        raise ValueError(f"no pins: {', '.join(map(repr, others))}")
    return lines


def renew_gpu_pins() -> None:
    """Writes the pins for GPUs anew, without hashes; the comments on top stay."""
    comments = [line for line in GPU_LOCK.read_text().splitlines() if line.startswith("#")]
    pins = [line for line in resolve_gpu() if not line.startswith(f"{NOT_LOCKED}==")]
    GPU_LOCK.write_text("\n".join([*comments, *pins]) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolve-gpu", action="store_true", help="new versions for GPUs, first")
    if parser.parse_args().resolve_gpu:
        renew_gpu_pins()
    for lock in [*CPU_LOCKS, GPU_LOCK]:
        renew(lock)
