"""The one way to a table: of every cell, whoever wrote it, only text is left (`edgegd.foreign_text.cell`).

A class name, a tensor of an ONNX file, a device's fault: a table does not ask which of its texts others wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from edgegd.foreign_text import cell


def table(
    rows: Sequence[Sequence[object]],
    headers: Sequence[object],
    style: str = "simple",
    align: Sequence[str] | None = None,
) -> str:
    """Rows of cells below headers. `style` is one of tabulate's formats; `align` is left or right, one per column, and
    all left where it is not given. Nothing is read as a number: a class named 1e3 keeps its name.
    """
    texts = [[cell(one, style) for one in row] for row in rows]
    named = [cell(one, style) for one in headers]
    # tabulate wants no alignment of columns where there is no row.
    return tabulate(texts, named, tablefmt=style, disable_numparse=True, colalign=align if rows else None)
