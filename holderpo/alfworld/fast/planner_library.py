"""The planner's library, without its debug symbols, one private copy for each environment."""

from __future__ import annotations

import ctypes
import struct
import tempfile
import types
from pathlib import Path

# Of an ELF file for 64 bits, little end first: magic number, class, byte order.
_ELF64 = b"\x7fELF\x02\x01"
_LOAD = 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def load_library() -> ctypes.CDLL:
    """A copy of the library that no other environment shares; its state is global within a copy.

    The file is gone as soon as it is loaded, so a temporary folder never fills.

    Returns:
        The library, its functions declared by ``fast_downward``.
    """
    from fast_downward import interface

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "libdownward.so"
        path.write_bytes(stripped(Path(interface.DOWNWARD_LIB_PATH)))
        # The same function, looking for the library elsewhere.
        names = {**vars(interface), "DOWNWARD_LIB_PATH": str(path)}
        library: ctypes.CDLL = types.FunctionType(interface.load_lib.__code__, names)()
    return library


def stripped(path: Path) -> bytes:
    """A library's content as far as a loader needs it: up to the end of its last segment.

    Args:
        path: of the library.

    Returns:
        Of an ELF file for 64 bits, the segments, without sections, which hold the debug symbols;
        any other file as it is.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
        if not start.startswith(_ELF64) or len(start) < _HEADER.size:
            return start + file.read()
        header = list(_HEADER.unpack(start))
        offset, size, count = header[5], header[9], header[10]
        file.seek(offset)
        table = file.read(size * count)
        end = offset + len(table)
        for place in range(count):
            kind, _, begin, _, _, length, _, _ = _SEGMENT.unpack_from(table, place * size)
            if kind == _LOAD:
                end = max(end, begin + length)
        file.seek(0)
        content = bytearray(file.read(end))
    # No sections: where they begin, how many they are, and which holds their names.
    header[6] = header[12] = header[13] = 0
    _HEADER.pack_into(content, 0, *header)
    return bytes(content)
