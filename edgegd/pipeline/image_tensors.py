"""The tensors of a run's INT8 file that were worst on single images; onnxruntime runs the file and the float graph."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgegd.pipeline.artifacts import CALIBRATION, PLAN, PORTABLE, STATES, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.pipeline.stored import graph_to_quantize, stored_graph, stored_plan, stored_state
from edgegd.progress import Progress
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess
from edgegd.verify.opened import OnnxFile
from edgegd.verify.own_errors import OwnErrors, TensorError, damage_rank, median_errors, unquantized_parameters

SHOWN = 8
"""Tensors of an image that are listed."""
_FIRST = 3


class InnerTensors:
    """A run's INT8 file, opened with its inner tensors. Raises MissingArtifactError where it is not as it was made."""

    def __init__(self, folder: RunFolder, variant: str) -> None:
        for artifact in (graph_to_quantize(folder), PORTABLE[variant], PLAN, STATES[variant], CALIBRATION):
            require_current(folder, artifact)
        graph, plan, file = stored_graph(folder), stored_plan(folder), OnnxFile(folder.artifact(PORTABLE[variant]))
        state = stored_state(folder, variant, plan)
        self._preprocessing = file.portable_contract.preprocessing
        self._opened = OwnErrors(
            graph, plan, unquantized_parameters(graph, plan, state, trained=variant == "qat"), file
        )
        self._calibrated = _calibrated(folder)

    def look(self, worst: Sequence[Path], ordinary: Sequence[Path], progress: Progress) -> dict[str, Any]:
        """What `ranked` says of these image files; UnreadableImageError for one that cannot be decoded."""
        errors: dict[Path, dict[str, TensorError]] = {}
        for path in (*worst, *ordinary):
            progress.update(len(errors), len(worst) + len(ordinary), "looking into tensors")
            image = read_for(path, self._preprocessing)
            errors[path] = self._opened.of_image(preprocess(image, self._preprocessing)[0])
        return ranked(errors, worst, self._calibrated)


def ranked(
    errors: Mapping[Path, Mapping[str, TensorError]], worst: Sequence[Path], calibrated: Mapping[str, float]
) -> dict[str, Any]:
    """The worst tensors of each of the worst images, and of all of them together, ready for `json.dumps`.

    `errors` are those of all images that were looked at: their medians are typical of a tensor. `calibrated` is what
    calibration measured of a tensor's range, in dB.
    """
    typical = median_errors(
        {address: [of[address] for of in errors.values()] for address in next(iter(errors.values()))}
    )
    ranks = {
        path: sorted(errors[path], key=lambda address: damage_rank(errors[path][address], typical[address]))
        for path in worst
    }
    middle = round(statistics.median(of.own_sqnr_db for of in typical.values()), 2)
    of_images = [
        {
            "image": str(path),
            "tensors": [
                _row(address, errors[path][address], typical[address], calibrated) for address in ranks[path][:SHOWN]
            ],
        }
        for path in worst
    ]
    means = {
        address: statistics.fmean(damage_rank(errors[path][address], typical[address]) for path in worst)
        for address in typical
    }
    together = [
        {
            "address": address,
            "own_sqnr_db": round(statistics.median(errors[path][address].own_sqnr_db for path in worst), 2),
            "typical_own_sqnr_db": round(typical[address].own_sqnr_db, 2),
            "sqnr_db": round(statistics.median(errors[path][address].sqnr_db for path in worst), 2),
            "calibrated_sqnr_db": calibrated.get(address),
            "clipped": statistics.median(errors[path][address].clipped for path in worst),
            "images": sum(address in ranks[path][:_FIRST] for path in worst),
        }
        for address in sorted(means, key=means.__getitem__)[:SHOWN]
    ]
    return {"worst": of_images, "tensors": together, "typical_images": len(errors), "median_own_sqnr_db": middle}


def _row(address: str, error: TensorError, typical: TensorError, calibrated: Mapping[str, float]) -> dict[str, Any]:
    return {
        "address": address,
        "own_sqnr_db": error.own_sqnr_db,
        "typical_own_sqnr_db": round(typical.own_sqnr_db, 2),
        "sqnr_db": error.sqnr_db,
        "typical_sqnr_db": round(typical.sqnr_db, 2),
        "calibrated_sqnr_db": calibrated.get(address),
        "clipped": error.clipped,
        "typical_clipped": typical.clipped,
    }


def _calibrated(folder: RunFolder) -> dict[str, float]:
    """What calibration says of every tensor: the ratio under its range, as its reader sees it, in dB."""
    with as_made(folder, CALIBRATION):
        ranges = folder.read_json(CALIBRATION)["ranges"]
        return {address: float(ratio) for of in ranges.values() for address, ratio in of["tensors"].items()}
