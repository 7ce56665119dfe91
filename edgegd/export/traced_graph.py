"""The trace that a float graph carries in its metadata, with which it is planned and quantized without torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from edgegd.errors import MetadataError
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.traced_op import TracedOp

TRACE_KEY = "edgegd.trace"
_SCHEMA = 1
_MEND = "write it again: `edgegd export --force RUN_DIR`"


@dataclass(frozen=True)
class Traced:
    """The operations of a deployed model, in running order, and where its detection head is.

    `parameters` are the names of the initializers that are parameters or buffers of the model, not constants. `origin`
    says what the model was made from, in the words of whoever made it.
    """

    ops: tuple[TracedOp, ...]
    head: HeadPaths
    parameters: tuple[str, ...] = ()
    origin: str = ""


def write_trace(graph: onnx.ModelProto, traced: Traced) -> None:
    """Stores a trace in the graph's metadata, in place of one that is there."""
    content = {
        "schema": _SCHEMA,
        "head": [traced.head.path, sorted(traced.head.box_convolutions), traced.head.query_decoders],
        "parameters": traced.parameters,
        "origin": traced.origin,
        "ops": [dataclasses.astuple(op) for op in traced.ops],
    }
    others = {entry.key: entry.value for entry in graph.metadata_props if entry.key != TRACE_KEY}
    onnx.helper.set_model_props(graph, others | {TRACE_KEY: json.dumps(content, separators=(",", ":"))})


def read_trace(graph: onnx.ModelProto) -> Traced:
    """The trace of a float graph.

    Raises:
        MetadataError: the graph carries none (one that an older version of edgegd wrote, or a quantized one), or one
            of another schema or form.
    """
    texts = [entry.value for entry in graph.metadata_props if entry.key == TRACE_KEY]
    if not texts:
        raise MetadataError(
            "The float graph carries no trace of its model.",
            expected=f"metadata {TRACE_KEY}, as this version of edgegd writes it into fp32.onnx",
            found="no such key",
            mend=_MEND,
        )
    try:
        return _from_data(json.loads(texts[0]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MetadataError(
            "The trace that the float graph carries is malformed.",
            expected=f"metadata {TRACE_KEY} of schema {_SCHEMA}",
            found=f"{type(error).__name__}: {error}",
            mend=_MEND,
        ) from error


def _from_data(data: Mapping[str, Any]) -> Traced:
    if data["schema"] != _SCHEMA:
        raise ValueError(f"schema {data['schema']}")
    path, boxes, decoders = data["head"]
    head = HeadPaths(_text(path), frozenset(map(_text, boxes)), tuple(map(_text, decoders)))
    return Traced(tuple(map(_op, data["ops"])), head, tuple(map(_text, data["parameters"])), _text(data["origin"]))


def _op(fields: Any) -> TracedOp:
    address, operation, module, inputs, shape, numbers = fields
    if not all(type(number) in (int, float) for number in (*shape, *numbers)):
        raise TypeError(f"shape or numbers of {address} are no numbers")
    texts = (_text(address), _text(operation), _text(module))
    return TracedOp(*texts, tuple(map(_text, inputs)), tuple(map(int, shape)), tuple(numbers))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
