"""What every quantized tensor of a file loses on one image: with all that came before it, and by itself.

A tensor far behind a damaged layer is as wrong as the layer's own. So each operation is also computed in float from the
INT8 file's own codes of the tensors that it reads: what its codes differ from that by is its own error, made by the
rounding of its weights, by the rounding of its result, and by the range that cuts the result off. Both are compared as
the reader of the tensor sees them (edgegd.quant.readers). No torch is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgegd.addresses import INPUT, owner_of
from edgegd.export.graph_forms import CODE_SHIFT, constants
from edgegd.export.insert.base import Insertion
from edgegd.export.insert.parameters import TrainedParameters
from edgegd.export.traced_graph import read_trace
from edgegd.plan.attention import SOFTMAX
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState, integer_convolutions
from edgegd.quant.ranges import counted_addresses
from edgegd.quant.readers import Reader, readers_of_groups
from edgegd.runtime.contract import INPUT_NAME
from edgegd.signal_to_noise import decibel
from edgegd.verify.float_tensors import open_graph, tensor_names
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.opened import OnnxFile

Array = NDArray[Any]
_GIVEN = "~given"


@dataclass(frozen=True)
class TensorError:
    """One tensor on one image.

    `sqnr_db` is the signal-to-quantization-noise ratio against the float model, `own_sqnr_db` that of the tensor's own
    error, `clipped` the share of values in 0..1 that its range cuts off by more than half a code, as the reader sees
    them.
    """

    sqnr_db: float
    own_sqnr_db: float
    clipped: float


@dataclass(frozen=True)
class _Tensor:
    values: str  # in the float graph
    scale: np.float32
    zero_point: int
    reader: Reader

    def dequantized(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * self.scale

    def compare(self, value: Array, own: Array, quantized: Array) -> TensorError:
        """From the float model's value, the one computed from the INT8 file's codes, and the INT8 file's own."""
        seen = self.reader.sees(quantized.astype(np.float64))
        ratios = []
        for exact in (value, own):
            signal = self.reader.sees(exact.astype(np.float64))
            ratios.append(round(decibel(_power(signal), _power(seen - signal)), 2))
        return TensorError(ratios[0], ratios[1], self._clipped(own))

    def _clipped(self, values: Array) -> float:
        low, high = ((end - self.zero_point) * float(self.scale) for end in (0, 255))
        outside = values[(values < low) | (values > high)].astype(np.float64)
        lost = self.reader.sees(outside) - self.reader.sees(np.clip(outside, low, high))
        return float(np.count_nonzero(np.abs(lost) > self.scale / 2)) / max(values.size, 1)


class OwnErrors:
    """The tensors of an INT8 file, compared with the float graph that it was made from.

    `float_graph` is the addressed float graph of `plan`, `parameters` those of the model before its quantization
    (`unquantized_parameters`). Tensors inside an exact attention count as part of its result, and those that hold codes
    of others (a split, most concats) are left out. Raises InsertionError, MetadataError as quantized_graph.
    """

    def __init__(
        self, float_graph: onnx.ModelProto, plan: QuantPlan, parameters: QuantizedState, file: OnnxFile
    ) -> None:
        with file.in_uint8() as canonical:
            self._session = canonical.with_codes()
        names, values, readers = tensor_names(float_graph, plan), constants(file.graph.graph), readers_of_groups(plan)
        self._tensors: dict[str, _Tensor] = {}
        for address in counted_addresses(plan):
            owner = plan.by_address.get(owner_of(address))
            if address == INPUT or owner is None or owner.operation == SOFTMAX:
                continue
            shift = CODE_SHIFT if file.has_signed_activations else 0
            self._tensors[address] = _Tensor(
                names[address][0],
                np.float32(values[f"{address}/scale"]),
                int(values[f"{address}/zero_point"]) + shift,
                readers[plan.groups[address]],
            )
        self._shown = [tensor.values for tensor in self._tensors.values()]
        self._float = open_graph(float_graph, self._shown)
        self._own = open_graph(_cut(_with_parameters(float_graph, plan, parameters), self._shown), self._shown)

    def of_image(self, image: NDArray[np.float32]) -> dict[str, TensorError]:
        """Every tensor's errors on an image (1, C, H, W), by address in running order."""
        _, codes = run_exposed(self._session, image)
        quantized = {address: tensor.dequantized(codes[address]) for address, tensor in self._tensors.items()}
        given = {f"{tensor.values}{_GIVEN}": quantized[address] for address, tensor in self._tensors.items()}
        read = {one.name for one in self._own.get_inputs()}
        fed = {name: value for name, value in {INPUT_NAME: image, **given}.items() if name in read}
        in_float = self._float.run(self._shown, {INPUT_NAME: image})
        own = self._own.run(self._shown, fed)
        rows = zip(self._tensors.items(), in_float, own, strict=True)
        return {address: tensor.compare(value, alone, quantized[address]) for (address, tensor), value, alone in rows}


def unquantized_parameters(
    float_graph: onnx.ModelProto, plan: QuantPlan, state: QuantizedState, *, trained: bool
) -> QuantizedState:
    """The parameters of which an INT8 file's weights are the rounded form.

    Those of QAT (`trained`) are the state's. Those of PTQ are the float model's weights, with the biases that PTQ has
    corrected: a correction makes up for errors of other layers, and is none of its own.
    """
    if trained:
        return state
    before = constants(float_graph.graph)
    weights = {name: before[name] for op in integer_convolutions(plan) if (name := f"{op.weight}.weight") in before}
    return QuantizedState({**state.parameters, **weights}, state.ranges, state.weight_scales)


def _with_parameters(graph: onnx.ModelProto, plan: QuantPlan, parameters: QuantizedState) -> onnx.ModelProto:
    traced = read_trace(graph)
    model = ir.from_proto(graph)
    TrainedParameters(Insertion(plan, parameters, {op.address: op for op in traced.ops}, traced.parameters))(model)
    return ir.to_proto(model)


def _cut(graph: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The graph in which whoever reads one of these values reads an input NAME~given instead."""
    cut = onnx.ModelProto()
    cut.CopyFrom(graph)
    wanted, read = set(names), set()
    for node in cut.graph.node:
        for position, name in enumerate(node.input):
            if name in wanted:
                node.input[position] = f"{name}{_GIVEN}"
                read.add(name)
    for name in names:
        if name in read:
            cut.graph.input.append(onnx.helper.make_tensor_value_info(f"{name}{_GIVEN}", onnx.TensorProto.FLOAT, None))
    return cut


def _power(values: NDArray[np.float64]) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat))


def median_errors(errors: Mapping[str, list[TensorError]]) -> dict[str, TensorError]:
    """The medians of each tensor's errors over images."""
    return {
        address: TensorError(
            *(float(np.median([getattr(one, field) for one in of])) for field in ("sqnr_db", "own_sqnr_db", "clipped"))
        )
        for address, of in errors.items()
    }


def damage_rank(error: TensorError, typical: TensorError) -> float:
    """What tensors are ranked by, the worst first: the own ratio in dB, less what it is below the typical one.

    A tensor that is as bad as always counts by its ratio; one that is worse on this image counts as worse by as much.
    """
    return error.own_sqnr_db + min(error.own_sqnr_db - typical.own_sqnr_db, 0.0)
