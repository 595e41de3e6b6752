"""A router for one vLLM server that needs no process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class LocalRouter:
    """Chooses the only vLLM server, with the calling form of verl's load-balancer actor."""

    def __init__(self, server_id: str, server: Any) -> None:
        """Remember the server."""
        self._server = (server_id, server)

    @property
    def acquire_server(self) -> _Immediate:
        """The server's id and handle."""
        return _Immediate(self._server)

    @property
    def release_server(self) -> _Immediate:
        """Nothing to count."""
        return _Immediate(None)

    @property
    def require_acquire_fields(self) -> _Immediate:
        """No field of the request matters."""
        return _Immediate([])

    require_release_fields = require_acquire_fields


class _Immediate:
    """``.remote(...)`` that already has its answer."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def remote(self, *_: Any, **__: Any) -> _Immediate:
        return self

    def __await__(self) -> Generator[None, None, Any]:
        return self._value
        yield  # makes this a generator, which is what awaiting needs
