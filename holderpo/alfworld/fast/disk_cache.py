"""Small results on disk, shared by processes that come and go; a bad file is only slow."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import stat
import warnings
import zlib
from pathlib import Path
from typing import Any

# Part of every name: raise it when what is stored means something else.
FORMAT = 1


class DiskCache:
    """JSON values in a folder that belongs to the user alone.

    A file that is truncated, changed, another user's or no file at all counts as absent and is
    written again. Nothing read here is run as code.
    """

    def __init__(self, folder: Path | None, versions: str) -> None:
        """Make the folder, for its owner only; where that is impossible, warn and do without.

        Args:
            folder: ``None`` keeps nothing.
            versions: of everything that the values depend on.
        """
        self._folder: Path | None = None
        self._can_write = True
        self._versions = versions
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            _warn(folder, f"cannot be made ({error.strerror})")
            return
        if not _is_own(status) or not stat.S_ISDIR(status.st_mode):
            _warn(folder, "is another user's or may be written by others")
            return
        self._folder = folder

    def read(self, kind: str, *key: str) -> Any:
        """A value written before.

        Args:
            kind: of value; part of the file's name.
            key: texts that the value follows from.

        Returns:
            The value, or ``None``.
        """
        if self._folder is None:
            return None
        try:
            # No link is followed.
            descriptor = os.open(self._path(kind, key), os.O_RDONLY | os.O_NOFOLLOW)
            with open(descriptor, encoding="ascii") as file:
                if not _is_own(os.fstat(descriptor)):
                    return None
                checksum, _, body = file.read().partition("\n")
            if hashlib.sha256(body.encode()).hexdigest() != checksum:
                return None
            return json.loads(zlib.decompress(base64.b64decode(body)))
        except (OSError, ValueError, zlib.error):
            return None

    def write(self, value: Any, kind: str, *key: str) -> None:
        """Keep a value; other processes see the whole of it or nothing.

        Args:
            value: anything that JSON holds.
            kind: of value; part of the file's name.
            key: texts that the value follows from.
        """
        if self._folder is None or not self._can_write:
            return
        body = base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()
        text = f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
        path = self._path(kind, key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            # It may have been deleted meanwhile.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(unfinished, path)
        except OSError as error:
            self._can_write = False
            _warn(self._folder, f"cannot be written ({error.strerror})")
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _path(self, kind: str, key: tuple[str, ...]) -> Path:
        assert self._folder is not None
        named = json.dumps([FORMAT, self._versions, *key])
        return self._folder / f"{kind}-{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def _is_own(status: os.stat_result) -> bool:
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not writable_by_others


def _warn(folder: Path, what: str) -> None:
    warnings.warn(
        f"cache_folder: {folder} {what}; games are translated anew in each process. "
        "Give a folder of your own",
        RuntimeWarning,
        stacklevel=4,
    )
