"""What each pass of the edge file is worth on this machine: the file against the same file without that pass."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

from edgegd.export.edge import PASS_NAMES, build_edge, left_out_with
from edgegd.export.load_onnx import load_onnx
from edgegd.latency.measuring.measure import measure
from edgegd.pipeline.artifacts import EDGE, PASSES, PORTABLE, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.progress import Progress
from edgegd.targets.local import LocalTarget

_COMPLETE = "complete"


def pass_gains(folder: RunFolder, progress: Progress, variant: str = "qat") -> list[dict[str, Any]]:
    """Every pass with what it rewrote and refused, and its gain, measured as the recipe's `latency` section says.

    `without_ms` is the median without the pass, and without what needs it; `gain`, `gain_low`, `gain_high` the time
    without over the time with it and its 95 % interval. A pass that rewrote nothing has gain None.
    """
    portable = load_onnx(folder.require(PORTABLE[variant]))
    with as_made(folder, PASSES):
        reports = folder.read_json(PASSES)[variant]
        worked = [report["name"] for report in reports if report["applied"]]
    with tempfile.TemporaryDirectory() as temporary:
        files = {_COMPLETE: folder.require(EDGE[variant])}
        for name in [name for name in PASS_NAMES if name in worked]:
            files[name] = Path(temporary) / f"{name}.onnx"
            onnx.save(build_edge(portable, PORTABLE[variant], without=left_out_with(name))[0], files[name])
        result = measure(
            files,
            folder.recipe.latency,
            LocalTarget(),
            progress=lambda block, done, total: progress.update(done, total, "measuring passes"),
        )
    measured = result.to_json()["models"]
    return [report | _gain(measured, report["name"]) for report in reports]


def _gain(measured: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in measured:
        return {"without_ms": None, "gain": None, "gain_low": None, "gain_high": None}
    of_pass = measured[name]
    return {
        "without_ms": of_pass["median_ms"],
        "gain": 1 / of_pass["speedup"],
        "gain_low": 1 / of_pass["speedup_high"],
        "gain_high": 1 / of_pass["speedup_low"],
    }
