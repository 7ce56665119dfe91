"""The keys by which an exported file describes itself, written without torch: Ultralytics' and edgegd's contract."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx

from edgegd import __version__
from edgegd.export.traced_graph import TRACE_KEY
from edgegd.plan.quant_plan import QuantPlan
from edgegd.runtime.contract import ModelContract

_HEAD = "head"


def keys_of(graph: onnx.ModelProto) -> dict[str, str]:
    """The metadata of a file."""
    return {entry.key: entry.value for entry in graph.metadata_props}


def write_keys(graph: onnx.ModelProto, contract: ModelContract, head: str) -> None:
    """Writes both sets of keys in place of others; a float graph keeps its trace.

    `head` is the class of the detection head. Ultralytics reads str() of each of its own keys (engine/exporter.py).
    """
    ultralytics_keys: dict[str, Any] = {
        "description": f"edgegd {contract.variant} detector",
        "author": "edgegd",
        "version": contract.versions["ultralytics"],
        "license": "AGPL-3.0",
        "stride": contract.stride,
        "task": "detect",
        _HEAD: head,
        "batch": 1,
        "imgsz": list(contract.preprocessing.imgsz),
        "names": dict(enumerate(contract.names)),
        "args": {"batch": 1, "dynamic": False, "nms": False},
        "channels": contract.preprocessing.image_channels,
        "end2end": contract.output.kind == "end2end",
    }
    trace = {key: value for key, value in keys_of(graph).items() if key == TRACE_KEY}
    keys = {key: str(value) for key, value in ultralytics_keys.items()} | contract.to_metadata() | trace
    onnx.helper.set_model_props(graph, keys)
    graph.producer_name, graph.producer_version = "edgegd", __version__


def describe_as_quantized(graph: onnx.ModelProto, float_graph: onnx.ModelProto, variant: str, plan: QuantPlan) -> None:
    """Gives a quantized graph the keys of the float graph that it was made from, with its own variant and plan.

    Raises MetadataError where the float graph has no contract.
    """
    keys = keys_of(float_graph)
    contract = dataclasses.replace(
        ModelContract.from_metadata(keys), variant=variant, plan_sha256=plan.sha256, profile=plan.profile
    )
    write_keys(graph, contract, keys.get(_HEAD, ""))
