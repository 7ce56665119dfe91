"""Where long work says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work reports to; the command line shows it on stderr."""

    def update(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps of what `text` names."""

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""


class Silent:
    """A Progress that shows nothing."""

    def update(self, done: int, total: int, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
