"""What the float model sees in an image as a whole: the means of the maps that enter its detection head.

No torch is needed: the exported float graph knows where its head is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgegd.addresses import module_of, owner_of
from edgegd.errors import MetadataError
from edgegd.export.insert.addressed_graph import nodes_by_address, results
from edgegd.export.traced_graph import read_trace
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_graph, stored_plan
from edgegd.plan.quant_plan import QuantPlan
from edgegd.runtime.contract import INPUT_NAME, ModelContract
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess


def neck_features(folder: RunFolder, images: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Of one image after the other (F,) float32: the mean of each channel of each map that enters the head.

    Raises MetadataError where the graph does not say where its head is, and UnreadableImageError.
    """
    graph = stored_graph(folder)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    preprocessing = ModelContract.from_metadata(metadata).preprocessing
    exposed, names = with_neck_outputs(graph, stored_plan(folder))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for image in images:
        maps = session.run(names, {INPUT_NAME: preprocess(read_for(image, preprocessing), preprocessing)[0]})
        yield np.concatenate([value.mean(axis=(2, 3))[0] for value in maps if value.ndim == 4])


def with_neck_outputs(graph: onnx.ModelProto, plan: QuantPlan) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with the maps that enter its head as outputs, and their names."""
    head = read_trace(graph).head.path
    model = ir.from_proto(graph)
    nodes = nodes_by_address(model.graph, plan)
    names: list[str] = []
    for op in plan.ops:
        if not _is_inside(op.address, head):
            continue
        for address in map(owner_of, op.inputs):
            if _is_inside(address, head) or address not in nodes:
                continue
            for value in results(nodes[address]):
                if value.name and value.name not in names:
                    names.append(value.name)
                    if not value.is_graph_output():
                        model.graph.outputs.append(value)
    if not names:
        raise MetadataError(
            "No map that enters the detection head was found in the float graph.",
            expected=f"operations outside {head or 'the head'} that it reads",
            found="none",
            mend="write the graph again: `edgegd export --force RUN_DIR`",
        )
    return ir.to_proto(model), names


def _is_inside(address: str, head: str) -> bool:
    module = module_of(address)
    return module == head or module.startswith(f"{head}.")
