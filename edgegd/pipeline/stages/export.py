"""The stage `export`: a run's models as ONNX files, for the recipe's profile and for others from one checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx
import torch

from edgegd.export.edge import build_edge
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.export.profile import for_profile, requantizes
from edgegd.pipeline.artifacts import FLOAT_MODEL, MODELS, PASSES, PLAN, PORTABLE, PTQ_STATE, QAT_STATE
from edgegd.pipeline.models import adapted_reads, float_model, quantized_model, stored_plan
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import QuantPlan
from edgegd.progress import Progress
from edgegd.variants import QUANTIZED, VARIANTS, edge_file, profile_file


def run_export(folder: RunFolder, progress: Progress) -> None:
    """Writes fp32.onnx, ptq.onnx and qat.onnx with one opset, shape and contract, and edge files of the last two."""
    plan = stored_plan(folder)
    passes = {}
    for done, variant in enumerate(VARIANTS):
        progress.update(done, len(VARIANTS), f"exporting {variant}")
        model = float_model(folder) if variant == "fp32" else quantized_model(folder, variant)
        graph = finished_graph(folder, model, model if variant == "fp32" else model.model, plan, variant)
        folder.write(PORTABLE[variant], graph.SerializeToString())
        if variant in QUANTIZED:
            passes[variant] = _write_edge(folder, graph, PORTABLE[variant])
    folder.write_json(PASSES, passes)


def _write_edge(folder: RunFolder, portable: onnx.ModelProto, name: str) -> list[dict[str, Any]]:
    edge, reports = build_edge(portable, name)
    folder.write(edge_file(name), edge.SerializeToString())
    return [dataclasses.asdict(report) for report in reports]


def export_profile(folder: RunFolder, progress: Progress, profile: str) -> None:
    """Writes ptq-PROFILE.onnx and qat-PROFILE.onnx from the weights and ranges of the run."""
    trained_for = folder.recipe.target.profile
    if requantizes(trained_for, profile):
        weight = TABLES[profile].weight
        progress.note(
            f"weights requantized to {weight.bits} bits (-{weight.qmax}..{weight.qmax}) for {profile}: the model was "
            f"trained for {trained_for}; set target.profile to {profile} to train it with these weights"
        )
    for done, variant in enumerate(QUANTIZED):
        progress.update(done, len(QUANTIZED), f"exporting {variant} for {profile}")
        model = for_profile(quantized_model(folder, variant), profile)
        graph = finished_graph(folder, model, model.model, model.plan, variant)
        folder.write(profile_file(variant, profile), graph.SerializeToString())
        _write_edge(folder, graph, profile_file(variant, profile))


def finished_graph(
    folder: RunFolder, model: torch.nn.Module, detector: Any, plan: QuantPlan, variant: str
) -> onnx.ModelProto:
    """The portable file of a run's model: `detector` is the deployed model inside `model`, which is it for fp32."""
    size = folder.recipe.model.size
    graph = build_graph(model, plan, size, folder.recipe.export.opset)
    origin = ("", "") if variant == "fp32" else (plan.sha256, plan.profile)
    set_metadata(graph, detector, contract_of(graph, detector, size, variant, *origin))
    return graph


MODEL_READS = (FLOAT_MODEL, PLAN, PTQ_STATE, QAT_STATE)
"""What a stage reads that puts all models of a run together, beside adapted_reads."""

STAGE = Stage(
    "export",
    "FP32, PTQ and QAT as ONNX files",
    MODEL_READS,
    (*MODELS, PASSES),
    ("model.imgsz", "model.end2end", "export", "quant.weight_scales"),
    run_export,
    reads_also=adapted_reads,
)
