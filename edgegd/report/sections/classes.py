"""mAP of every class."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Table
from edgegd.report.words import TITLES, percent
from edgegd.variants import VARIANTS

TITLE = "mAP50-95 by class"
READS = ("accuracy",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """A line per class."""
    rows = [
        [name, *(percent(report["accuracy"][variant]["per_class"][name]["map50_95"]) for variant in VARIANTS)]
        for name in report["accuracy"]["fp32"]["per_class"]
    ]
    return [Table(["class", *TITLES.values()], rows)]
