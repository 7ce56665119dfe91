"""Progress on stderr: one line that is rewritten on a terminal; elsewhere only the notes."""

from __future__ import annotations

import sys
import time

import click

_REDRAW_S = 0.1
_WIDTH = 24


class TerminalProgress:
    """A pipeline Progress that draws a bar on a terminal and prints notes everywhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn, self._last = False, 0.0

    def update(self, done: int, total: int, text: str) -> None:
        """Redraws the line, at most ten times a second."""
        now = time.monotonic()
        if not self._terminal or (now - self._last < _REDRAW_S and done < total):
            return
        self._last, self._drawn = now, True
        filled = _WIDTH * done // max(total, 1)
        click.echo(f"\r\x1b[K{'#' * filled}{'.' * (_WIDTH - filled)} {done}/{total} {text}", nl=False, err=True)

    def note(self, text: str) -> None:
        """Prints a line, over the bar if there is one."""
        if self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._drawn = False
        click.echo(text, err=True)
