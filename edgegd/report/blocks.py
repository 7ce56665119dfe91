"""What a report is made of: paragraphs, lists, tables and pictures as data, written once and shown in three forms.

`as_text` shows them in the terminal and in Markdown, `edgegd.report.page` in HTML. Blocks hold texts as they are,
whoever wrote them: each form makes plain text of them in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgegd.foreign_text import cell
from edgegd.report.picture import Picture
from edgegd.report.table import table

Block: TypeAlias = "Paragraph | Bullets | Subheading | Table | Picture | Drawing"


@dataclass(frozen=True)
class Code:
    """A name to be typed: a key of a recipe, a file."""

    text: str


@dataclass(frozen=True)
class Strong:
    """What must not be overlooked."""

    text: str


Span: TypeAlias = "str | Code | Strong"


class Paragraph:
    """Sentences, of which parts may be Code or Strong."""

    def __init__(self, *spans: Span) -> None:
        self.spans = spans


@dataclass(frozen=True)
class Bullets:
    """Sentences, each for itself."""

    items: Sequence[str]


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells below headers; `align` is left or right, one per column, and all left where it is not given."""

    headers: Sequence[object]
    rows: Sequence[Sequence[object]]
    align: Sequence[str] | None = None


@dataclass(frozen=True)
class Drawing:
    """A picture that a command left in the run folder as SVG, with its title and what it shows."""

    name: str
    title: str
    sentence: str
    svg: str = ""


def as_text(blocks: Sequence[Block], style: str = "simple") -> str:
    """Blocks below each other; `style` is `simple` for the terminal or `github` for Markdown, as tabulate calls them.

    Pictures are left out; what a Drawing shows is a sentence.
    """
    return "\n\n".join(_block(block, style) for block in blocks if not isinstance(block, Picture))


def _block(block: Block, style: str) -> str:
    is_markdown = style == "github"
    if isinstance(block, Paragraph):
        return "".join(_span(span, style) for span in block.spans)
    if isinstance(block, Bullets):
        return "\n".join(f"{'- ' if is_markdown else ''}{cell(item, style)}" for item in block.items)
    if isinstance(block, Subheading):
        return f"{'### ' if is_markdown else ''}{cell(block.text, style)}"
    if isinstance(block, Table):
        return table(block.rows, block.headers, style, block.align)
    if isinstance(block, Drawing):
        return f"{cell(block.title, style)}: {cell(block.sentence, style)}"
    raise TypeError(f"{type(block).__name__} is no text")


def _span(span: Span, style: str) -> str:
    text = span if isinstance(span, str) else span.text
    before, after = ("", " ")[text[:1].isspace()], ("", " ")[text[-1:].isspace() and bool(text.strip())]
    shown = f"{before}{cell(text, style)}{after}"
    if style != "github" or isinstance(span, str):
        return shown
    return f"`{shown}`" if isinstance(span, Code) else f"**{shown}**"
