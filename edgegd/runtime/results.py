"""Results of any number as one JSON value, written down one by one, so that memory does not grow with a video."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from edgegd.atomic_files import explaining_full_disk

_IN_MEMORY = 1 << 20  # characters; more go to a temporary file


class JsonLines:
    """A new file with a JSON value per line, each of which is there as soon as it was added, whole.

    Use it in a `with` statement. FileExistsError where there is a file (or a link) of this name.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = path.parent
        self._file = path.open("xb", buffering=0)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, value: Any) -> None:
        """Adds a value; NoSpaceError where the disk is full."""
        line = json.dumps(value).encode() + b"\n"
        with explaining_full_disk(self._folder):
            if self._file.write(line) != len(line):  # a full disk takes a part and says so the next time
                self._file.write(line[-1:])


class JsonList:
    """A list that grows; `parts` is its JSON text in pieces, as json.dumps would write the whole."""

    def __init__(self) -> None:
        self._file: TextIO = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii")  # type: ignore[assignment]  # noqa: SIM115
        self._separator = "["

    def append(self, value: Any) -> None:
        """Adds a value."""
        self._file.write(self._separator + json.dumps(value))
        self._separator = ", "

    def parts(self) -> Iterator[str]:
        """The JSON text, piece by piece; the list is closed afterwards."""
        if self._separator == "[":
            yield "["
        self._file.seek(0)
        while piece := self._file.read(_IN_MEMORY):
            yield piece
        yield "]"
        self._file.close()
