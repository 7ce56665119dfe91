"""What makes a whole measurement unfit for any statement: the device changed, or samples are no durations."""

from __future__ import annotations

import numpy as np

from edgegd.device.fingerprint import differences
from edgegd.latency.measuring.record import Measurement


def unsound(measurement: Measurement) -> str:
    """Why nothing may be concluded from a measurement, as a sentence; empty where nothing speaks against it."""
    for launch in measurement.launches[1:]:
        unlike = differences(measurement.launches[0].fingerprint, launch.fingerprint)
        if unlike:
            return (
                f"The device was another one in launch {launch.launch} than in the first "
                f"({'; '.join(unlike)}), so its launches cannot be compared."
            )
    for block in measurement.blocks:
        durations = np.array(block.durations_ns, dtype=np.float64)
        if not durations.size or not np.isfinite(durations).all() or durations.min() <= 0:
            return (
                f"Launch {block.launch}, quad {block.quad}, model {block.model} has samples that are no durations: "
                "not a number, not above 0, or none at all."
            )
    return ""
