"""The stages from the fine-tuned model to the report: export, verify, accuracy, latency, report."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegd.accuracy.evaluate import AccuracyResult, evaluate_onnx
from edgegd.export.census import require_planned, take_census
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.export.parity import Tolerance, measure_parity, require_parity
from edgegd.latency.fingerprint import fingerprint
from edgegd.latency.measure import measure
from edgegd.pipeline.models import float_model, quantized_model, stored_dataset, stored_plan, validation_truth
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Progress, Stage, sources_hash
from edgegd.recipe.schema import Recipe
from edgegd.report.build import build_report
from edgegd.report.markdown import to_markdown
from edgegd.targets.local import LocalTarget

VARIANTS = ("fp32", "ptq", "qat")
MODELS = tuple(f"{variant}.onnx" for variant in VARIANTS)
_PARITY_IMAGES = 8  # enough for a hundred boxes; a wrong export shows on the first


def run_export(folder: RunFolder, progress: Progress) -> None:
    """Writes fp32.onnx, ptq.onnx and qat.onnx with one opset, shape and contract."""
    plan, imgsz = stored_plan(folder), folder.recipe.model.imgsz
    for done, variant in enumerate(VARIANTS):
        progress.update(done, len(VARIANTS), f"exporting {variant}")
        model = float_model(folder) if variant == "fp32" else quantized_model(folder, variant)
        graph = build_graph(model, plan, imgsz, folder.recipe.export.opset)
        detector: Any = model if variant == "fp32" else model.model
        contract = contract_of(graph, detector, imgsz, variant, "" if variant == "fp32" else plan.sha256)
        set_metadata(graph, detector, contract)
        folder.write(f"{variant}.onnx", graph.SerializeToString())


def run_verify(folder: RunFolder, progress: Progress) -> None:
    """Census of both quantized files, parity of all three with torch on real images, and the canary."""
    plan = stored_plan(folder)
    images = stored_dataset(folder).val_images[:_PARITY_IMAGES]
    result: dict[str, Any] = {"tolerance": dataclasses.asdict(Tolerance()), "census": {}, "parity": {}}
    for done, variant in enumerate(VARIANTS):
        progress.update(done, len(VARIANTS), f"verifying {variant}")
        path = folder.require(f"{variant}.onnx", "export")
        if variant != "fp32":
            census = take_census(path, plan)
            require_planned(census, plan, path.name)
            result["census"][variant] = dataclasses.asdict(census)
        model = float_model(folder) if variant == "fp32" else quantized_model(folder, variant)
        parity = measure_parity(model, path, images)
        require_parity(parity, path.name)
        result["parity"][variant] = dataclasses.asdict(parity)
    folder.write_json("verify.json", result)


def run_accuracy(folder: RunFolder, progress: Progress) -> None:
    """mAP of the three files in onnxruntime on the validation images."""
    settings, truth = folder.recipe.accuracy, validation_truth(folder)

    def measured(variant: str) -> AccuracyResult:
        return evaluate_onnx(
            folder.require(f"{variant}.onnx", "export"), truth, conf=settings.conf, iou=settings.iou,
            max_det=settings.max_det,
            progress=lambda done, total: progress.update(done, total, f"mAP of {variant}"),
        )  # fmt: skip

    result = {variant: dataclasses.asdict(measured(variant)) for variant in VARIANTS}
    folder.write_json("accuracy.json", result)


def run_latency(folder: RunFolder, progress: Progress) -> None:
    """Paired latency of the three files in fresh worker processes."""
    models = {variant: folder.require(f"{variant}.onnx", "export") for variant in VARIANTS}
    result = measure(models, folder.recipe.latency, LocalTarget(),
                     progress=lambda block, done, total: progress.update(done, total, "measuring latency"))
    folder.write_json("latency.json", result.to_json())


def run_report(folder: RunFolder, progress: Progress) -> None:
    """Puts everything into report.json and report.md."""
    stages = {name: folder.read_json(f"{name}.json")
              for name in ("data", "calibration", "descent", "verify", "accuracy", "latency")}  # fmt: skip
    report = build_report(folder.recipe, folder.owner(), stages)
    folder.write_json("report.json", report)
    folder.write("report.md", to_markdown(report).encode())


def _report_sources(folder: RunFolder) -> str:
    return sources_hash(only="report")  # which the code version of the other stages leaves out


EXPORT = Stage("export", "FP32, PTQ and QAT as ONNX files",
               {"float.pt": "float", "plan.json": "ptq", "ptq.safetensors": "ptq", "qat.safetensors": "qat"},
               MODELS, ("model.imgsz", "model.end2end", "export"), run_export)  # fmt: skip
VERIFY = Stage("verify", "census, parity and canary",
               {"data.json": "data", "plan.json": "ptq", "float.pt": "float", "ptq.safetensors": "ptq",
                "qat.safetensors": "qat"} | dict.fromkeys(MODELS, "export"),
               ("verify.json",), ("model.imgsz", "model.end2end"), run_verify)  # fmt: skip
ACCURACY = Stage("accuracy", "mAP in onnxruntime", {"data.json": "data"} | dict.fromkeys(MODELS, "export"),
                 ("accuracy.json",), ("accuracy",), run_accuracy)  # fmt: skip
LATENCY = Stage("latency", "paired latency on the target", dict.fromkeys(MODELS, "export"),
                ("latency.json",), ("latency", "target.host"), run_latency,
                lambda folder: fingerprint()["cpu"])  # fmt: skip
REPORT = Stage("report", "report.json and report.md",
               {"data.json": "data", "calibration.json": "ptq", "descent.json": "qat", "verify.json": "verify",
                "accuracy.json": "accuracy", "latency.json": "latency"},
               ("report.json", "report.md"), tuple(field.name for field in dataclasses.fields(Recipe)), run_report,
               _report_sources)  # fmt: skip
