"""What the refinement after calibration changed."""

from __future__ import annotations

from typing import Any

TITLE = "Refinement after calibration"


def text(report: dict[str, Any]) -> str:
    """One sentence."""
    found = report["refinement"]
    if not found:
        return "None (`quant.refine`): weights have their nearest codes, biases are the float model's."
    share = found["changed_codes"] / max(found["codes"], 1)
    return (
        f"On {found['images']} images, without labels: {100 * share:.1f} % of the weights' codes are not the "
        "nearest ones but those that change the sums least; biases changed by up to "
        f"{found['largest_bias_change']:.3g}."
    )
