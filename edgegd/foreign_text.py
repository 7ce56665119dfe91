"""Text that others wrote (devices, YAML files, class names, file names) before a person sees it.

A terminal obeys escape sequences, a bidirectional override turns a line around, a newline forges a line of ours, and a
Markdown viewer obeys HTML. So what others wrote is shown by one of three functions: `printable` (lines stay lines),
`one_line` (within a line of ours), `cell` (within a table).
"""

from __future__ import annotations

import io
import unicodedata
from typing import TextIO

LONGEST_LINE = 1000
"""Characters of a foreign text in one line of ours; the rest is counted and left out."""

# Cc: control characters; Cf: bidirectional and invisible ones; Cs: half characters; Co, Cn: without a meaning; Zl, Zp:
# separators that are new lines to some viewers (Unicode Standard, table 4-4).
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKDOWN = str.maketrans(
    {
        "|": "\\|",
        "<": "&lt;",
        "&": "&amp;",
        "`": "&#96;",
        "\\": "&#92;",
        "@": "&#64;",
    }
)
_LINK = "]("
_FORGED = "    "


def printable(text: str) -> str:
    """The text with every character that is not shown as itself as an escape (`\\x1b`, `\\u202e`); newlines stay."""
    if text.isprintable():
        return text
    return "".join(char if char == "\n" or not _is_hidden(char) else _escaped(char) for char in text)


def one_line(text: object, limit: int = LONGEST_LINE) -> str:
    """As `printable`, newlines escaped as well, and cut after `limit` characters."""
    whole = str(text)
    line = printable(whole[:limit]).replace("\n", "\\n")
    return line if len(whole) <= limit else f"{line}... ({len(whole) - limit} more characters)"


def indented(text: str) -> str:
    """As `printable`, every line but the first set in, so that no line of it can be taken for a line of ours."""
    first, *others = printable(text).split("\n")
    return "\n".join([first, *(f"{_FORGED}{line}" for line in others)])


def cell(text: object, style: str = "simple") -> str:
    """A table's cell as `one_line` with blanks joined; for Markdown (`github`) without what would end the cell, begin a
    tag, a link or an image, or mention somebody. `style` is one of tabulate's formats."""
    line = one_line(" ".join(str(text).split()))
    return line.translate(_MARKDOWN).replace(_LINK, "]&#40;") if style == "github" else line


class PrintableStream(io.TextIOBase):
    """A text stream whose text goes through `printable`, and which shows what its encoding lacks as escapes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As of the stream behind it."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters that the encoding lacks are written."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Writes the text; the number of its characters."""
        shown = printable(text)
        self._stream.write(shown.encode(self.encoding, self.errors).decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """As of the stream behind it."""
        self._stream.flush()

    def isatty(self) -> bool:
        """As of the stream behind it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As of the stream behind it."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """It is."""
        return True


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN


def _escaped(char: str) -> str:
    code = ord(char)
    if char in "\t\r":
        return {"\t": "    ", "\r": "\\r"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
