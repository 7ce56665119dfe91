"""Reading a file that may be longer than anybody can hold."""

from __future__ import annotations

from pathlib import Path

from edgegd.regular_files import require_regular

_PIECE = 1 << 20  # a read of n bytes takes n bytes of memory at once, however short the file is


def read_bounded(path: Path, limit: int) -> bytes | None:
    """A file's content, or None where it has more than `limit` bytes. Raises OSError, also for a pipe or a device."""
    require_regular(path)
    content = bytearray()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(min(_PIECE, limit + 1 - len(content))):
            content += piece
            if len(content) > limit:
                return None
    return bytes(content)
