"""The stream that commands print to: what cannot be written is an error of ours, and nothing after it is tried."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO

from edgegd.cli.unforeseen import documented
from edgegd.errors import EdgegdError
from edgegd.foreign_text import PrintableStream


class OutputStream(PrintableStream):
    """As PrintableStream; a full disk raises NoSpaceError, a reader that has ended OutputClosedError.

    click would end with exit code 1 for the second, and Python, which tries at its end to write what is left in the
    buffer, with 120 for both. So the stream leads nowhere from then on.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._error: EdgegdError | None = None

    def write(self, text: str) -> int:
        """Writes the text; the number of its characters."""
        self._require_sound()
        try:
            return super().write(text)
        except OSError as error:
            raise self._broken(error) from error

    def flush(self) -> None:
        """As of the stream behind it."""
        self._require_sound()
        try:
            super().flush()
        except OSError as error:
            raise self._broken(error) from error

    @property
    def is_broken(self) -> bool:
        """Whether something could not be written."""
        return self._error is not None

    def _require_sound(self) -> None:
        """Raises the first error again: click tries a stream with an empty text, and takes no notice of an error."""
        if self._error is not None:
            raise self._error

    def _broken(self, error: OSError) -> EdgegdError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        self._error = documented(error)
        return self._error
