"""The stages from the fine-tuned model to the report: export, verify, accuracy, latency, report."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, evaluate_onnx
from edgegd.export.exact_session import load_exact
from edgegd.export.proof import proof_here
from edgegd.latency.fingerprint import fingerprint
from edgegd.pipeline.artifacts import as_made
from edgegd.pipeline.export import MODELS, PORTABLE, VARIANTS, run_export
from edgegd.pipeline.latency import run_latency
from edgegd.pipeline.models import adapted_reads, validation_truth
from edgegd.pipeline.profiles import verified_profiles
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Progress, Stage, sources_hash
from edgegd.pipeline.verify import run_verify
from edgegd.recipe.schema import Recipe
from edgegd.report.build import build_report
from edgegd.report.markdown import to_markdown

_ACCURACY_THREADS = 2
_DIFFERENCES = (("qat", "ptq"), ("ptq", "fp32"), ("qat", "fp32"))  # of mAP, the first minus the second
_REPORTED = ("data", "calibration", "descent", "verify", "accuracy", "latency")


def run_accuracy(folder: RunFolder, progress: Progress) -> None:
    """mAP of the three files in onnxruntime's exact sessions (edgegd.export.exact_session) on the validation images.

    accuracy.json holds for each file what AccuracyResult.to_dict says and its `intervals`, and the `differences` of the
    files and `bootstrap` as edgegd.accuracy.bootstrap's Comparison.to_dict says.
    """
    settings, truth = folder.recipe.accuracy, validation_truth(folder)

    def measured(variant: str) -> AccuracyResult:
        path = folder.require(f"{variant}.onnx", "export")
        return evaluate_onnx(
            path,
            truth,
            conf=settings.conf,
            iou=settings.iou,
            max_det=settings.max_det,
            session=load_exact(path, threads=_ACCURACY_THREADS),
            progress=lambda done, total: progress.update(done, total, f"mAP of {variant}"),
        )

    results = {variant: measured(variant) for variant in VARIANTS}
    progress.update(0, 1, "intervals of mAP")
    compared = compare({variant: result.matches for variant, result in results.items()}, _DIFFERENCES).to_dict()
    intervals = compared.pop("intervals")
    of_files = {variant: result.to_dict() | {"intervals": intervals[variant]} for variant, result in results.items()}
    proof = dataclasses.asdict(proof_here(folder.recipe.target.profile))
    folder.write_json("accuracy.json", of_files | compared | {"proof": proof})


def run_report(folder: RunFolder, progress: Progress) -> None:
    """Puts everything into report.json and report.md."""
    with as_made(folder, *(f"{name}.json" for name in _REPORTED)):
        _write_report(folder)


def _write_report(folder: RunFolder) -> None:
    stages = {name: folder.read_json(f"{name}.json") for name in _REPORTED}
    stages["profiles"] = {profile: folder.read_json(f"verify-{profile}.json") for profile in verified_profiles(folder)}
    if _swap_reads(folder):
        stages["swap"] = {
            "choice": folder.read_json("activation.json"),
            "adaptation": folder.read_json("adaptation.json"),
        }
    report = build_report(folder.recipe, folder.owner(), stages, folder.target.to_json())
    folder.write_json("report.json", report)
    folder.write("report.md", to_markdown(report).encode())


def _swap_reads(folder: RunFolder) -> dict[str, str]:
    return adapted_reads(folder) and {"activation.json": "activation", "adaptation.json": "adapt"}


def _report_sources(folder: RunFolder) -> Any:
    # The report's own sources, which the code version of the other stages leaves out, and what it shows where it is.
    return {
        "sources": sources_hash(only="report"),
        "profiles": verified_profiles(folder),
        "target": folder.target.to_json(),
    }


EXPORT = Stage(
    "export",
    "FP32, PTQ and QAT as ONNX files",
    {"float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq", "qat.safetensors": "qat"},
    (*MODELS, "passes.json"),
    ("model.imgsz", "model.end2end", "export", "quant.weight_scales"),
    run_export,
    reads_also=adapted_reads,
)
VERIFY = Stage(
    "verify",
    "census, parity and canary",
    {"data.json": "data", "plan.json": "ptq", "float.pt": "float", "ptq.safetensors": "ptq", "qat.safetensors": "qat"}
    | dict.fromkeys(MODELS, "export"),
    ("verify.json",),
    ("model.imgsz", "model.end2end", "quant.weight_scales", "target.profile"),
    run_verify,
    lambda folder: fingerprint()["cpu"],
    adapted_reads,
)
ACCURACY = Stage(
    "accuracy",
    "mAP in onnxruntime",
    {"data.json": "data"} | dict.fromkeys(PORTABLE, "export"),
    ("accuracy.json",),
    ("accuracy",),
    run_accuracy,
)
LATENCY = Stage(
    "latency",
    "paired latency on the target",
    dict.fromkeys(MODELS, "export"),
    ("latency.json",),
    ("latency", "target.host"),
    run_latency,
    lambda folder: fingerprint()["cpu"],
)
REPORT = Stage(
    "report",
    "report.json and report.md",
    {
        "data.json": "data",
        "calibration.json": "ptq",
        "descent.json": "qat",
        "verify.json": "verify",
        "accuracy.json": "accuracy",
        "latency.json": "latency",
    },
    ("report.json", "report.md"),
    tuple(field.name for field in dataclasses.fields(Recipe)),
    run_report,
    _report_sources,
    _swap_reads,
)
