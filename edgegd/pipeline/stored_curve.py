"""The file calibration-curve.json of a run folder, as `edgegd calibration` left it; without torch."""

from __future__ import annotations

from typing import Any

from edgegd.pipeline.artifacts import CALIBRATION_CURVE, DATA, PLAN, as_made
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stored import checkpoint_to_quantize

SCHEMA = 1


def stored_curve(folder: RunFolder) -> dict[str, Any] | None:
    """What was found last, None where nothing was, or from another model, plan or data set than the run has now."""
    if not folder.artifact(CALIBRATION_CURVE).exists():
        return None
    with as_made(folder, CALIBRATION_CURVE):
        result: dict[str, Any] = folder.read_json(CALIBRATION_CURVE)
        is_current = result["schema"] == SCHEMA and result["made_from"] == made_from(folder)
        return result if is_current else None


def made_from(folder: RunFolder) -> dict[str, str]:
    """The hashes of what a curve is made from."""
    artifacts = (DATA, PLAN, checkpoint_to_quantize(folder))
    return {str(one): sha256_of(folder.artifact(one)) for one in artifacts if folder.artifact(one).exists()}
