"""Writing a run's quantized ONNX files from its float graph, plan, weights and ranges; torch is not needed."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx

from edgegd.export.edge import build_edge
from edgegd.export.file_keys import describe_as_quantized
from edgegd.export.insert.other_profile import in_profile, requantizes
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_graph, stored_plan, stored_state
from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState
from edgegd.progress import Progress
from edgegd.variants import QUANTIZED, edge_file, profile_file


def write_quantized(
    folder: RunFolder, float_graph: onnx.ModelProto, plan: QuantPlan, state: QuantizedState, variant: str, name: str
) -> list[dict[str, Any]]:
    """Writes the portable file `name` and its edge file; returns what every pass of the edge file did.

    Raises as quantized_graph.
    """
    portable = quantized_graph(float_graph, plan, state)
    describe_as_quantized(portable, float_graph, variant, plan)
    folder.write(name, portable.SerializeToString())
    edge, reports = build_edge(portable, name)
    folder.write(edge_file(name), edge.SerializeToString())
    return [dataclasses.asdict(report) for report in reports]


def export_profile(folder: RunFolder, progress: Progress, profile: str) -> None:
    """Writes ptq-PROFILE.onnx and qat-PROFILE.onnx, and their edge files, from the weights and ranges of the run."""
    trained_for = folder.recipe.target.profile
    if requantizes(trained_for, profile):
        weight = TABLES[profile].weight
        progress.note(
            f"weights requantized to {weight.bits} bits (-{weight.qmax}..{weight.qmax}) for {profile}: the model was "
            f"trained for {trained_for}; set target.profile to {profile} to train it with these weights"
        )
    float_graph, plan = stored_graph(folder), stored_plan(folder)
    for done, variant in enumerate(QUANTIZED):
        progress.update(done, len(QUANTIZED), f"exporting {variant} for {profile}")
        suited = in_profile(plan, stored_state(folder, variant, plan), profile)
        write_quantized(folder, float_graph, *suited, variant, profile_file(variant, profile))
