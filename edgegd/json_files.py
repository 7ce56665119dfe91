"""JSON files: written in one form, and read within limits.

One that is too long, or nested too deeply, is a problem and not an exit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgegd.atomic_files import write_atomically
from edgegd.bounded_read import read_bounded
from edgegd.limits import JSON_BYTES
from edgegd.regular_files import require_regular


class JsonProblem(ValueError):
    """What is wrong with a JSON file."""


def load_json(text: str | bytes, refuse: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text; `refuse` is called with NaN and infinities. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise JsonProblem("JSON is nested too deeply") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file of at most JSON_BYTES. Raises ValueError, and OSError."""
    content = read_bounded(path, JSON_BYTES)
    if content is None:
        raise JsonProblem(f"more than {JSON_BYTES >> 20} MiB of JSON")
    return load_json(content)


def json_bytes(value: Any) -> bytes:
    """The bytes of a JSON file: indented by one blank, with a line's end."""
    return (json.dumps(value, indent=1) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Stores a value as a JSON file, atomically."""
    write_atomically(path, json_bytes(value))


def read_lines(path: Path, limit: int) -> Iterator[tuple[str, bool]]:
    """The lines of a UTF-8 file of at most `limit` bytes, each with whether it has an end.

    Raises JsonProblem, and OSError.
    """
    require_regular(path)
    size = path.stat().st_size
    if size > limit:
        raise JsonProblem(f"{size >> 20} MiB, more than {limit >> 20} MiB")
    with path.open("rb") as file:
        left = limit
        while line := file.readline(min(left, size) + 1):
            left -= len(line)
            if left < 0:
                raise JsonProblem(f"more than {limit >> 20} MiB")
            try:
                yield line.decode().rstrip("\r\n"), line.endswith(b"\n")
            except UnicodeDecodeError as error:
                raise JsonProblem(f"no UTF-8: {error.reason}") from error
