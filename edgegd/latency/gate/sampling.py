"""Sampling launches on a target until a question is answered; every sample is stored as it comes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from edgegd.latency.measuring.launch import deliver, run_launch
from edgegd.latency.measuring.record import Design, Measurement
from edgegd.latency.measuring.recording import Recording
from edgegd.latency.statistics.sequential_test import GateRule
from edgegd.targets.base import Target

Progress = Callable[[int, int], None]
"""Called after each launch as progress(launches that can be used, launches wanted)."""
Enough = Callable[[Measurement], str]
"""Asked after each launch: why nothing more need be measured, or an empty text."""


def sample(
    models: Mapping[str, Path],
    design: Design,
    target: Target,
    path: Path,
    *,
    enough: Enough = lambda measurement: "",
    progress: Progress = lambda done, total: None,
) -> Measurement:
    """Runs launches of `models` (name -> ONNX file; the first is the reference) on `target`, stored in `path`.

    It ends when `enough` says so, when `design.launches` launches can be used, or when so many had to be discarded that
    the measurement cannot become valid. Whatever ends it, what was measured stays in `path`, marked partial. Raises
    DeviceBusyError while another measurement runs on the target, otherwise as `run_launch`.
    """
    attempts = math.ceil(design.launches / (1 - GateRule.max_discarded)) + 1
    with target.lock():
        delivered = deliver(models, target)
        with Recording(path, target.name, design, delivered.files) as recording:
            for number in range(attempts):
                run_launch(delivered, design, number, recording.emit, require_stable=True)
                measurement = recording.measurement()
                usable = usable_launches(measurement)
                progress(usable, design.launches)
                reason = enough(measurement) or ("all launches were run" if usable >= design.launches else "")
                if reason:
                    break
            recording.finish(reason or "too many launches had to be discarded")
    return recording.measurement()


def usable_launches(measurement: Measurement) -> int:
    """How many launches have a ratio for every model."""
    return min(len(measurement.log_ratios(model)) for model in measurement.models)
