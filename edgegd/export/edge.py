"""The edge file: the portable file rewritten, bit for bit the same, to onnxruntime's own operators and uint8 images."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateInitializersPass

from edgegd.export.passes import PASSES, PassReport
from edgegd.export.passes.base import MICROSOFT, Refusal, constant
from edgegd.runtime.contract import ModelContract, Preprocessing

_OPSET = 18  # the first in which Split has num_outputs, as integer-kernels writes it
PASS_NAMES = tuple(kind.name for kind in PASSES)


def build_edge(
    portable: onnx.ModelProto,
    name: str,
    *,
    without: Collection[str] = (),
    channels: int | None = None,
    slower_too: bool = False,
) -> tuple[onnx.ModelProto, tuple[PassReport, ...]]:
    """The edge form of a portable file called `name`, and what every pass did.

    `without` names passes to leave out (`PASS_NAMES`). The input images are (1, H, W, C) uint8 of the network's own
    channels, colours blue first; `channels` 4 gives colours a fourth, which is not looked at. Without the pass
    uint8-input the input stays float32 (1, C, H, W). Activations of int8 give an edge file of int8 activations. A pass
    that was measured to make files slower on CPUs of the file's profile is refused, unless `slower_too`.
    Raises ValueError for the name of a pass that does not exist, and for `channels` that the network cannot have.
    """
    unknown = set(without) - set(PASS_NAMES)
    if unknown:
        raise ValueError(f"no such pass: {', '.join(sorted(unknown))}; there are {', '.join(PASS_NAMES)}")
    model = ir.from_proto(portable)
    channels = _input_channels(model, channels)
    profile = _profile_of(model)
    _raise_opset(model)
    reports = []
    for kind in PASSES:
        if kind.name in without:
            continue
        slower = "" if slower_too else kind.slower_on.get(profile, "")
        if slower:
            reports.append(PassReport(kind.name, kind.text, (), (Refusal("the whole file", slower),)))
            continue
        done = kind(channels, profile)
        if missing := done.missing(model):  # what makes it so was left out
            done.refused.append(Refusal("the whole file", f"it needs a graph in which {missing}"))
        else:
            done(model)
        reports.append(done.report)
    DeduplicateInitializersPass(size_limit=1 << 20)(model)
    model.graph.opset_imports[MICROSOFT] = 1
    _describe(model, name, channels)
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]  # onnxruntime infers shapes itself
    return proto, tuple(reports)


def _input_channels(model: ir.Model, asked: int | None) -> int:
    shape = model.graph.inputs[0].shape
    own = shape[1] if shape is not None and len(shape) == 4 else None
    if not isinstance(own, int):
        own = 3  # no detector of ours: the pass uint8-input refuses what it does not know
    if asked not in (None, own) and (own, asked) != (3, 4):
        raise ValueError(f"a network of {own} channels cannot read images of {asked}")
    return asked or own


def left_out_with(name: str) -> tuple[str, ...]:
    """The passes to leave out in order to see what the one named is worth.

    Integer operators on planes may not load: onnxruntime 1.32 fails to transpose a residual QLinearAdd (YOLO26n, ReLU).
    """
    return ("integer-kernels", name) if name == "channels-last" else (name,)


def _profile_of(model: ir.Model) -> str:
    """The profile that a file was exported for; empty where its metadata names none."""
    if "edgegd.schema" not in model.metadata_props:
        return ""
    return ModelContract.from_metadata(model.metadata_props).profile


def _raise_opset(model: ir.Model) -> None:
    """To an opset in which all passes can write; of the operators that detectors use, two changed on the way."""
    if model.graph.opset_imports[""] >= _OPSET:
        return
    for node in model.graph:
        if node.op_type.startswith("Reduce") and "axes" in node.attributes:
            axes = np.array(node.attributes.pop("axes").as_ints(), np.int64)
            node.resize_inputs(2)
            node.replace_input_with(1, constant(model.graph, axes, f"{node.outputs[0].name}/axes"))
        if node.op_type == "Split" and len(node.inputs) == 1:
            node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
    model.graph.opset_imports[""] = _OPSET


def _describe(model: ir.Model, name: str, channels: int) -> None:
    """Brings the file's metadata up to date, where it has any."""
    if "edgegd.schema" not in model.metadata_props or model.graph.inputs[0].dtype != ir.DataType.UINT8:
        return
    contract = ModelContract.from_metadata(model.metadata_props)
    of_pixels = Preprocessing.of_pixels(contract.preprocessing, channels)
    model.metadata_props.update(dataclasses.replace(contract, preprocessing=of_pixels, portable=name).to_metadata())
    # The first key that YOLO() reads; it stops at a value that is no number, and shows it.
    model.metadata_props["stride"] = f"none: an edge file runs in edgegd's Detector; give YOLO() the portable {name}"
