"""What the borders between integer and float parts cost on the target, fitted to the nodes of a profiled file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from edgegd.plan.profiles import INTEGER
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.timing import Profile

_BARRIER = "Max"  # of one operand: edgegd.export.insert.barriers


@dataclass(frozen=True)
class Line:
    """A price in ms: `fixed` plus `per_million` for every million elements."""

    fixed: float
    per_million: float

    def __call__(self, elements: int) -> float:
        return self.fixed + self.per_million * elements / 1e6

    @staticmethod
    def through(samples: Sequence[tuple[int, float]]) -> Line:
        """The least-squares line of (elements, ms) without negative coefficients; zero without samples."""
        if not samples:
            return Line(0.0, 0.0)
        elements, times = np.array(samples, dtype=np.float64).T
        (fixed, slope), _ = nnls(np.stack((np.ones_like(elements), elements / 1e6), axis=1), times)
        return Line(float(fixed), float(slope))


@dataclass(frozen=True)
class BorderPrices:
    """Prices of one border by the elements of its tensor.

    `layout_per_million` is what QuantizeLinear and DequantizeLinear bring with them: integer convolutions want channels
    last, float ones channels in blocks, and between them stand Transpose, ReorderInput and ReorderOutput.
    """

    quantize_line: Line
    dequantize_line: Line
    layout_per_million: float
    barrier: Line

    def scaled(self, factor: float) -> BorderPrices:
        """All prices times one factor."""
        lines = (
            Line(line.fixed * factor, line.per_million * factor)
            for line in (self.quantize_line, self.dequantize_line, self.barrier)
        )
        quantize, dequantize, barrier = lines
        return BorderPrices(quantize, dequantize, self.layout_per_million * factor, barrier)

    def quantize(self, elements: int) -> float:
        """ms of making codes of a float tensor."""
        return self.quantize_line(elements) + self.layout_per_million * elements / 1e6

    def dequantize(self, elements: int) -> float:
        """ms of making a float tensor of codes."""
        return self.dequantize_line(elements) + self.layout_per_million * elements / 1e6


def probe_patterns(plan: QuantPlan) -> tuple[str, ...]:
    """Addresses to keep float so that a file has many borders of all sizes: every second integer convolution."""
    return tuple(op.address for op in plan.convolutions(INTEGER)[::2])


def border_prices(probe: Profile, others: Sequence[Profile]) -> BorderPrices:
    """The prices in a file with many borders; `others` are the same model all integer and all float.

    Changes of layout count as far as the probe spends more on them than the mean of the others does.
    """
    borders = probe.borders()
    samples = {kind: [(b.elements, b.ms) for b in borders if b.kind == kind] for kind in ("quantize", "dequantize")}
    crossed = sum(elements for pairs in samples.values() for elements, _ in pairs)
    usual = sum(map(_layout_ms, others)) / len(others)
    layout = max(0.0, _layout_ms(probe) - usual) / crossed * 1e6 if crossed else 0.0
    barriers = [(int(np.prod(node.outputs[0][1:])), node.ms) for node in probe.nodes if node.op_type == _BARRIER]
    return BorderPrices(
        Line.through(samples["quantize"]), Line.through(samples["dequantize"]), layout, Line.through(barriers)
    )


def _layout_ms(profile: Profile) -> float:
    return sum(border.ms for border in profile.borders() if border.kind == "layout")
