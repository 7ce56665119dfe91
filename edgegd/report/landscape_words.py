"""What a landscape says, in plain sentences made of its numbers."""

from __future__ import annotations

import math
from typing import Any

from edgegd.report.words import percent


def sentence_of(found: dict[str, Any]) -> str:
    """A few sentences on descent-landscape.json: how far down it went, how much of the way is seen, how rough it is."""
    return " ".join(text for text in (_fall(found), _random(found), _seen(found), _rough(found)) if text)


def _fall(found: dict[str, Any]) -> str:
    points, images = found["points"], found["images"]
    if found["best_epoch"] == 0:
        return "No epoch was better than the calibrated model, so best and start are one point."
    losses = [points[name]["losses"]["quantized"] for name in ("start", "best")]
    if None in losses:
        return "The loss of the best or of the calibrated model is not finite on this batch."
    floats = [points[name]["losses"]["float"] for name in ("start", "best")]
    beside = "" if None in floats else f" (without rounding {floats[0]:.3f} and {floats[1]:.3f})"
    verb = "falls" if losses[1] < losses[0] else "rises" if losses[1] > losses[0] else "stays"
    return (
        f"From the calibrated model to the best epoch, {found['best_epoch']} of {found['epochs']}, the loss of "
        f"{images} training images {verb} from {losses[0]:.3f} to {losses[1]:.3f} under fake quantization{beside}."
    )


def _random(found: dict[str, Any]) -> str:
    drawn = sum(1 for axis in found["axes"] if not axis["towards"])
    if not drawn:
        return ""
    which = "The second direction is" if drawn == 1 else "Both directions are"
    return f"{which} random, with every filter's norm (Li et al. 2018): the descent itself gives no other."


def _seen(found: dict[str, Any]) -> str:
    way = found["path"]
    if not way:
        return "No record of the path is in this folder, so none is drawn."
    shares = [share for share in way["weights"]["share"] if share is not None and math.isfinite(share)]
    if not shares:
        return "The weights never left their start."
    return (
        f"Of the weights' squared distance from the start, the plane holds {percent(sum(shares) / len(shares))} % in "
        f"the mean of the steps and {percent(min(shares))} % at the least; the rest leads out of the picture."
    )


def _rough(found: dict[str, Any]) -> str:
    cut = found["cut"]
    rough = cut["roughness"]
    if None in rough.values() or not rough["float"]:
        return ""
    times = float(f"{rough['quantized'] / rough['float']:.2g}")
    return (
        f"Along step {cut['step']}, rounding takes the loss off a smooth curve by {rough['quantized']:.2g} from place "
        f"to place, {times:,g} times as far as without it."
    )
