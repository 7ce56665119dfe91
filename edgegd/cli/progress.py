"""Progress on stderr: one line that is rewritten on a terminal; elsewhere only the notes."""

from __future__ import annotations

import shutil
import sys
import time

import click

from edgegd.foreign_text import one_line, printable

_REDRAW_S = 0.1
_WIDTH = 24
_CLEAR = "\r\x1b[K"


class TerminalProgress:
    """A pipeline Progress that draws a bar on a terminal and prints notes everywhere.

    Use it in a `with` statement: the bar is gone before anything else is printed, an error's message too.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn, self._last = False, 0.0

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._clear()

    def update(self, done: int, total: int, text: str) -> None:
        """Redraws the line, at most ten times a second."""
        now = time.monotonic()
        if not self._terminal or (now - self._last < _REDRAW_S and done < total):
            return
        self._last, self._drawn = now, True
        filled = _WIDTH * done // max(total, 1)
        line = f"{'#' * filled}{'.' * (_WIDTH - filled)} {done}/{total} {one_line(text)}"
        # A line that wraps could not be rewritten.
        click.echo(_CLEAR + line[: shutil.get_terminal_size().columns - 1], nl=False, err=True)

    def note(self, text: str) -> None:
        """Prints a line, over the bar if there is one."""
        self._clear()
        click.echo(printable(text), err=True)

    def _clear(self) -> None:
        if self._drawn:
            click.echo(_CLEAR, nl=False, err=True)
            self._drawn = False
