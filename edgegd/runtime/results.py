"""Results of any number as one JSON value, written down one by one, so that memory does not grow with a video."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO

_IN_MEMORY = 1 << 20  # characters; more go to a temporary file


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
