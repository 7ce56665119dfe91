"""The file operating-point.json of a run folder: at which score threshold to use a model, beside FP32 at its own.

It is made from what stage `accuracy` kept (edgegd.pipeline.measured); no model runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgegd.accuracy.found_boxes import IOU, FoundBoxes, found_boxes
from edgegd.accuracy.object_sizes import maps_by_size
from edgegd.accuracy.operating_point import (
    Weights,
    best_f1,
    curve_of,
    difference_intervals,
    draw_weights,
    free_response,
    keeping_precision,
    keeping_recall,
    rates_at,
    score_shift,
)
from edgegd.atomic_files import write_atomically
from edgegd.errors import RecipeError
from edgegd.pipeline.artifacts import DETECTIONS, EDGE, OPERATING_POINT, as_made
from edgegd.pipeline.measured import require_measured_score, stored_measured
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.report.operating_point import operating_sentence
from edgegd.runtime.recommended import METADATA_KEY, metadata_text

REFERENCE = "fp32"
_SCHEMA = 1


def operating_point(folder: RunFolder, variant: str = "", conf: float = 0.25) -> dict[str, Any]:
    """Finds the operating points of a run's model (ptq or qat; empty: the one to ship), and stores them.

    `conf` is the score threshold at which FP32 is used, and from which precision and recall are to be kept. Raises
    MissingArtifactError where the run's mAP is not of its present files, and RecipeError for a `conf` below which no
    detections were kept.
    """
    measured, variant = stored_measured(folder), variant or variant_to_ship(folder)
    require_measured_score(measured, conf)
    both = {
        name: found_boxes(measured.detections[name], measured.truth, measured.max_det) for name in (REFERENCE, variant)
    }
    weights = draw_weights(len(measured.truth.image_paths))
    reference, model = both[REFERENCE], both[variant]
    classes = [_class("", None, model, reference, conf, measured.conf, weights)]
    for class_id, name in enumerate(measured.truth.names):
        if (reference.box_of == class_id).any():
            of_class = (model.of_class(class_id), reference.of_class(class_id))
            classes.append(_class(name, class_id, *of_class, conf, measured.conf, weights))
    result: dict[str, Any] = {
        "schema": _SCHEMA,
        "title": "Operating point",
        "detections": sha256_of(folder.artifact(DETECTIONS)),
        "model": variant,
        "reference": REFERENCE,
        "conf": conf,
        "iou": IOU,
        "images": len(measured.truth.image_paths),
        "classes": classes,
        "free_response": {
            name: free_response(found, curve_of(found, measured.conf), weights) for name, found in both.items()
        },
        "sizes": maps_by_size(measured, variant, REFERENCE),
        "input_size": list(measured.input_sizes[variant]),
    }
    result["sentence"] = operating_sentence(result)
    folder.write_json(OPERATING_POINT, result)
    return result


def embed(folder: RunFolder, result: dict[str, Any], keeping: str, out: Path) -> None:
    """Writes a copy of the model's edge file with its thresholds in the metadata (edgegd.runtime.recommended).

    `keeping` is precision, recall (FP32's at its threshold) or f1. Raises RecipeError where no threshold keeps it.
    """
    import onnx

    from edgegd.export.load_onnx import load_onnx

    thresholds = {
        one["name"]: one["keeping"][keeping]["threshold"] if one["keeping"][keeping] else None
        for one in result["classes"]
    }
    overall = thresholds.pop("")
    if overall is None:
        raise RecipeError(
            f"No threshold of {result['model']} keeps the {keeping} of {result['reference']}.",
            mend="choose another --keep, or another --conf",
        )
    model = load_onnx(folder.require(EDGE[result["model"]]))
    keys = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**keys, METADATA_KEY: metadata_text(keeping, overall, thresholds)})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, model.SerializeToString())


def stored_operating_point(folder: RunFolder) -> dict[str, Any] | None:
    """What was found last, None where nothing was, or from other detections than the run has now."""
    if not folder.artifact(OPERATING_POINT).exists() or not folder.artifact(DETECTIONS).exists():
        return None
    with as_made(folder, OPERATING_POINT):
        result: dict[str, Any] = folder.read_json(OPERATING_POINT)
        if result["schema"] != _SCHEMA or result["detections"] != sha256_of(folder.artifact(DETECTIONS)):
            return None
        return result


def _class(
    name: str,
    class_id: int | None,
    model: FoundBoxes,
    reference: FoundBoxes,
    conf: float,
    least_score: float,
    weights: Weights,
) -> dict[str, Any]:
    """One class, or (an empty name) all of them together."""
    curve, of_reference = curve_of(model, least_score), rates_at(reference, conf, weights)
    kept = {
        "precision": keeping_precision(curve, of_reference.precision),
        "recall": keeping_recall(curve, of_reference.recall),
        "f1": best_f1(curve),
    }
    reference_f1 = best_f1(curve_of(reference, least_score))
    return {
        "name": name,
        "class_id": class_id,
        "boxes": len(reference.box_of),
        "at": {"reference": of_reference.to_dict(), "model": rates_at(model, conf, weights).to_dict()},
        "difference_intervals": difference_intervals(model, reference, (conf, conf), weights),
        "keeping": {
            key: None if threshold is None else rates_at(model, threshold, weights).to_dict()
            for key, threshold in kept.items()
        },
        "reference_f1": None if reference_f1 is None else rates_at(reference, reference_f1, weights).to_dict(),
        "shift": score_shift(model, reference),
    }
