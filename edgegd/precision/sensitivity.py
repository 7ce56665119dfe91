"""What quantizing single operations does to the head: noise where its decoding begins, on real images.

The relative noise of one head tensor is the mean squared difference from the float model over the tensor's variance
(the mean of class logits says nothing about objects). That of the head is the mean over its tensors, and the
signal-to-noise ratio is -10 log10 of it, in dB. Independent errors add up: noises are summed, ratios are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from edgegd.export.insert.base import Insertion
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.traced_op import TracedOp
from edgegd.precision.assembly import Addresses
from edgegd.precision.subject import Subject
from edgegd.precision.switched_graph import SWITCHES, switched_graph
from edgegd.runtime.contract import INPUT_NAME
from edgegd.signal_to_noise import decibel
from edgegd.verify.exact_session import load_exact
from edgegd.verify.float_tensors import open_graph, value_names

Array = NDArray[np.float32]


def to_db(noise: float) -> float:
    """The signal-to-noise ratio in dB of a relative noise; 999 where there is none."""
    return decibel(1.0, noise)


def head_tensors(ops: Sequence[TracedOp], head: HeadPaths) -> Addresses:
    """The addresses at which the decoding of boxes begins; for a model without a head the last operation's.

    For YOLO these are the last convolutions of all branches, for RT-DETR what its query decoder reads.
    """
    decoding = {op.address for op in ops if head.path and _decodes(op.module, head)}
    entering = dict.fromkeys(
        source for op in ops if op.address in decoding for source in op.inputs if source not in decoding
    )
    return tuple(entering) or (ops[-1].address,)


def _decodes(module: str, head: HeadPaths) -> bool:
    return module == head.path or any(
        f"{module}.".startswith(f"{path}.") for path in (f"{head.path}.dfl", *head.query_decoders)
    )


class HeadNoise:
    """Compares quantized forms of a model with its float form on the subject's images, in onnxruntime.

    A unit on its own reads the codes that it would read under the plan, made from what arrives in float.
    """

    def __init__(self, subject: Subject, units: Sequence[Addresses]) -> None:
        self._subject, self._units = subject, units
        insertion = Insertion(subject.plan, subject.state, {op.address: op for op in subject.ops})
        names = value_names(subject.graph, subject.plan)
        self._head = [names[address][0] for address in subject.head]
        self._switched = open_graph(switched_graph(subject.graph, insertion, units), self._head)
        self._float = self._run_switched(None)

    def of_units(self) -> Iterator[float]:
        """The relative noise of the head when only one unit is quantized, for each unit in turn."""
        for index in range(len(self._units)):
            yield self._noise(self._run_switched(index))

    def of_plan(self, plan: QuantPlan) -> float:
        """The relative noise of the head under a whole plan."""
        graph = quantized_graph(self._subject.graph, plan, self._subject.state_under(plan))
        shown = onnx.ModelProto()
        shown.CopyFrom(graph)
        made = {name for node in graph.graph.node for name in node.output}
        names = []
        for address, name in zip(self._subject.head, self._head, strict=True):
            quantized = f"{address}/dequantized"
            names.append(quantized if quantized in made else name)
            shown.graph.output.append(onnx.helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, None))
        return self._noise(self._run(load_exact(shown), names, {}))

    def _run_switched(self, only: int | None) -> list[Array]:
        switches = np.arange(len(self._units)) == (-1 if only is None else only)
        return self._run(self._switched, self._head, {SWITCHES: switches})

    def _run(self, session: InferenceSession, names: Sequence[str], further: dict[str, Any]) -> list[Array]:
        """Each head tensor over all images."""
        found = [
            session.run(list(names), {INPUT_NAME: image[None]} | further)
            for batch in self._subject.batches
            for image in batch
        ]
        return [np.concatenate(tensors) for tensors in zip(*found, strict=True)]

    def _noise(self, tensors: Sequence[Array]) -> float:
        relative = [
            float(np.square((own - exact).astype(np.float64)).mean() / max(exact.astype(np.float64).var(), 1e-30))
            for own, exact in zip(tensors, self._float, strict=True)
        ]
        return sum(relative) / len(relative)
