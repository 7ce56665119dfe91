"""The stage `accuracy`: mAP of FP32, PTQ and QAT in onnxruntime, with intervals."""

from __future__ import annotations

import dataclasses

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, evaluate_onnx
from edgegd.pipeline.artifacts import ACCURACY, CONTROL_GRAPH, DATA, PORTABLE, Artifact
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import measured_truth
from edgegd.progress import Progress
from edgegd.verify.exact_session import load_exact
from edgegd.verify.proof import proof_here

_ACCURACY_THREADS = 2
_DIFFERENCES = (("qat", "ptq"), ("ptq", "fp32"), ("qat", "fp32"))  # of mAP, the first minus the second
_OF_CONTROL = (("qat", "control"), ("control", "fp32"))


def run_accuracy(folder: RunFolder, progress: Progress) -> None:
    """mAP of the files in onnxruntime's exact sessions (edgegd.verify.exact_session) on the images that report.

    accuracy.json holds for each file what AccuracyResult.to_dict says and its `intervals`, and the `differences` of the
    files and `bootstrap` as edgegd.accuracy.bootstrap's Comparison.to_dict says.
    """
    results = measured_variants(folder, progress)
    progress.update(0, 1, "intervals of mAP")
    pairs = (*_DIFFERENCES, *(_OF_CONTROL if "control" in results else ()))
    compared = compare({variant: result.matches for variant, result in results.items()}, pairs).to_dict()
    intervals = compared.pop("intervals")
    of_files = {variant: result.to_dict() | {"intervals": intervals[variant]} for variant, result in results.items()}
    proof = dataclasses.asdict(proof_here(folder.recipe.target.profile))
    folder.write_json(ACCURACY, of_files | compared | {"proof": proof})


def measured_variants(folder: RunFolder, progress: Progress) -> dict[str, AccuracyResult]:
    """mAP of fp32.onnx, ptq.onnx, qat.onnx and, where there is one, control.onnx by variant, with what intervals and
    differences are made from."""
    settings, truth = folder.recipe.accuracy, measured_truth(folder)

    def measured(variant: str, name: Artifact) -> AccuracyResult:
        path = folder.require(name)
        return evaluate_onnx(
            path,
            truth,
            conf=settings.conf,
            iou=settings.iou,
            max_det=settings.max_det,
            session=load_exact(path, threads=_ACCURACY_THREADS),
            progress=lambda done, total: progress.update(done, total, f"mAP of {variant}"),
        )

    files = PORTABLE | ({"control": CONTROL_GRAPH} if folder.recipe.train.control else {})
    return {variant: measured(variant, name) for variant, name in files.items()}


def _control(folder: RunFolder) -> tuple[Artifact, ...]:
    return (CONTROL_GRAPH,) if folder.recipe.train.control else ()


STAGE = Stage(
    "accuracy",
    "mAP in onnxruntime",
    (DATA, *PORTABLE.values()),
    (ACCURACY,),
    ("accuracy",),
    run_accuracy,
    reads_also=_control,
)
