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
from edgegd.pipeline.models import float_model, quantized_model, stored_plan
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Progress
from edgegd.quant.plan import QuantPlan
from edgegd.quant.rules import TABLES

VARIANTS = ("fp32", "ptq", "qat")
QUANTIZED = VARIANTS[1:]


def run_export(folder: RunFolder, progress: Progress) -> None:
    """Writes fp32.onnx, ptq.onnx and qat.onnx with one opset, shape and contract, and edge files of the last two."""
    plan = stored_plan(folder)
    passes = {}
    for done, variant in enumerate(VARIANTS):
        progress.update(done, len(VARIANTS), f"exporting {variant}")
        model = float_model(folder) if variant == "fp32" else quantized_model(folder, variant)
        graph = finished_graph(folder, model, model if variant == "fp32" else model.model, plan, variant)
        folder.write(f"{variant}.onnx", graph.SerializeToString())
        if variant in QUANTIZED:
            passes[variant] = _write_edge(folder, graph, f"{variant}.onnx")
    folder.write_json("passes.json", passes)


def _write_edge(folder: RunFolder, portable: onnx.ModelProto, name: str) -> list[dict[str, Any]]:
    edge, reports = build_edge(portable, name)
    folder.write(edge_file(name), edge.SerializeToString())
    return [dataclasses.asdict(report) for report in reports]


def edge_file(portable: str) -> str:
    """The name of the edge file that is made from a portable file of this name."""
    return portable.removesuffix(".onnx") + ".edge.onnx"


PORTABLE = tuple(f"{variant}.onnx" for variant in VARIANTS)
MODELS = (*PORTABLE, *(edge_file(f"{variant}.onnx") for variant in QUANTIZED))


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


def profile_file(variant: str, profile: str) -> str:
    """The name of a file exported for a profile that is not the recipe's."""
    return f"{variant}-{profile}.onnx"


def finished_graph(
    folder: RunFolder, model: torch.nn.Module, detector: Any, plan: QuantPlan, variant: str
) -> onnx.ModelProto:
    """The portable file of a run's model: `detector` is the deployed model inside `model`, which is it for fp32."""
    size = folder.recipe.model.size
    graph = build_graph(model, plan, size, folder.recipe.export.opset)
    origin = ("", "") if variant == "fp32" else (plan.sha256, plan.profile)
    set_metadata(graph, detector, contract_of(graph, detector, size, variant, *origin))
    return graph
