"""Which model of a run is the one to ship."""

from __future__ import annotations

from edgegd.errors import MissingArtifactError
from edgegd.pipeline.artifacts import ACCURACY, DESCENT, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.report.ship import ship


def variant_to_ship(folder: RunFolder) -> str:
    """`ptq` or `qat`, as the report says; `qat` where the mAP of the run's present files was not measured."""
    try:
        for artifact in (ACCURACY, DESCENT):
            require_current(folder, artifact)
    except MissingArtifactError:
        return "qat"
    with as_made(folder, ACCURACY, DESCENT):
        return str(ship(folder.read_json(ACCURACY), folder.read_json(DESCENT))["model"])
