"""The stage `export`: a run's models as ONNX files. The float graphs come from torch, all others from them."""

from __future__ import annotations

import dataclasses

import onnx
from torch import nn

from edgegd.export.float_graph import float_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.export.traced_graph import read_trace, write_trace
from edgegd.pipeline.artifacts import ADAPTED_GRAPH, MODEL_READS, MODELS, PASSES, PORTABLE, Artifact
from edgegd.pipeline.models import float_model, model_to_quantize
from edgegd.pipeline.onnx_files import write_quantized
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.pipeline.stored import adapted_reads, float_origin, graph_to_quantize, stored_plan, stored_state
from edgegd.progress import Progress
from edgegd.variants import QUANTIZED, VARIANTS


def run_export(folder: RunFolder, progress: Progress) -> None:
    """Writes fp32.onnx, ptq.onnx and qat.onnx with one opset, shape and contract, and edge files of the last two.

    Where the recipe swaps activations, adapted.onnx is the float graph of what is quantized; else fp32.onnx is.
    """
    progress.update(0, len(VARIANTS), "exporting fp32")
    graph = described_float_graph(folder, float_model(folder))
    folder.write(PORTABLE["fp32"], graph.SerializeToString())
    if adapted_reads(folder):
        graph = described_float_graph(folder, model_to_quantize(folder))
        folder.write(graph_to_quantize(folder), graph.SerializeToString())
    plan, passes = stored_plan(folder), {}
    for done, variant in enumerate(QUANTIZED, 1):
        progress.update(done, len(VARIANTS), f"exporting {variant}")
        state = stored_state(folder, variant, plan)
        passes[variant] = write_quantized(folder, graph, plan, state, variant, PORTABLE[variant])
    folder.write_json(PASSES, passes)


def described_float_graph(folder: RunFolder, model: nn.Module) -> onnx.ModelProto:
    """The float graph of one of the run's deployed models, with trace and contract."""
    size = folder.recipe.model.size
    graph = float_graph(model, size, folder.recipe.export.opset)
    write_trace(graph, dataclasses.replace(read_trace(graph), origin=float_origin(folder)))
    set_metadata(graph, model, contract_of(graph, model, size, "fp32", ""))
    return graph


def _adapted_graph(folder: RunFolder) -> tuple[Artifact, ...]:
    return (ADAPTED_GRAPH,) if adapted_reads(folder) else ()


STAGE = Stage(
    "export",
    "FP32, PTQ and QAT as ONNX files",
    MODEL_READS,
    (*MODELS, PASSES),
    ("model.imgsz", "model.end2end", "export", "quant.weight_scales"),
    run_export,
    reads_also=adapted_reads,
    makes_also=_adapted_graph,
)
