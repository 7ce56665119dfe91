"""What the refinement after calibration changed."""

from __future__ import annotations

from typing import Any

from edgegd.report.blocks import Block, Code, Paragraph

TITLE = "Refinement after calibration"
READS = ("refinement",)


def blocks(report: dict[str, Any]) -> list[Block]:
    """One sentence."""
    found = report["refinement"]
    if not found:
        rest = "): weights have their nearest codes, biases are the float model's."
        return [Paragraph("None (", Code("quant.refine"), rest)]
    share = found["changed_codes"] / max(found["codes"], 1)
    return [
        Paragraph(
            f"On {found['images']} images, without labels: {100 * share:.1f} % of the weights' codes are not the "
            "nearest ones but those that change the sums least; biases changed by up to "
            f"{found['largest_bias_change']:.3g}."
        )
    ]
