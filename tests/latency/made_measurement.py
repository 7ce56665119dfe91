"""Measurements whose ratios are given: what a gate must say of them can be worked out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.latency.measuring.record import Block, Design, Launch, Measurement, ModelFile

REFERENCE_MS = 1000.0  # so long that rounding to whole nanoseconds changes a log ratio by 1e-9 at most
FINGERPRINT: Mapping[str, Any] = {"cpu": "made up", "instruction_sets": ["avx2"], "governor": None}


def made_measurement(
    log_ratios: NDArray[np.float64],
    *,
    throttled: frozenset[tuple[int, int]] = frozenset(),
    complete: bool = True,
    quads: int = 4,
    hashes: tuple[str, str] = ("a", "b"),
    fingerprints: Mapping[int, Mapping[str, Any]] | None = None,
) -> Measurement:
    """`log_ratios` (launches,) of `candidate` to `baseline`; `throttled` are (launch, quad) with a fault."""
    design = Design(launches=len(log_ratios), quads=quads, block_s=0.2, warmup_s=5.0, threads=1, spinning=False)
    names = ("baseline", "candidate")
    models = {name: ModelFile(f"{name}.onnx", sha256, 1) for name, sha256 in zip(names, hashes, strict=True)}
    blocks = []
    for launch, log_ratio in enumerate(log_ratios):
        ms = {"baseline": REFERENCE_MS, "candidate": REFERENCE_MS * np.exp(log_ratio)}
        for quad in range(quads):
            for place, name in enumerate(design.order(names, launch, quad)):
                faults = ("throttled: CPU",) if (launch, quad) in throttled and place == 0 else ()
                blocks.append(Block(launch, quad, place, name, 1, (round(ms[name] * 1e6),) * 3, faults=faults))
    workers = {name: {"warm_up": {"stable": True}} for name in names}
    launches = tuple(
        Launch(number, (fingerprints or {}).get(number, FINGERPRINT), workers) for number in range(len(log_ratios))
    )
    return Measurement("board", design, models, launches, tuple(blocks), complete, "2025-01-01T00:00:00+00:00")
