"""`--imgsz`: the size of a network's input, as a recipe's model.imgsz writes it."""

from __future__ import annotations

import re
from typing import Any

import click

from edgegd.limits import SIDE_PX
from edgegd.network_size import NetworkSize

SMALLEST = 32


class ImageSize(click.ParamType):
    """One number, or height and width: `640`, `384,640`, `[384, 640]`, `384x640`; gives (height, width)."""

    name = "H|[H, W]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NetworkSize:
        """(height, width) in pixels; click's usage error (exit code 2) for any other text."""
        sides = re.fullmatch(r"\[?\s*(\d{1,6})(?:\s*[,x ]\s*(\d{1,6}))?\s*\]?", str(value))
        if sides is None:
            self.fail(f"{value!r} is no size: 640, or height and width such as 384,640.", param, ctx)
        height, width = int(sides[1]), int(sides[2] or sides[1])
        if not all(SMALLEST <= side <= SIDE_PX for side in (height, width)):
            self.fail(f"{value!r}: each side has {SMALLEST} to {SIDE_PX} pixels.", param, ctx)
        return height, width
