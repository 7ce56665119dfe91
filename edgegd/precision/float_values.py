"""Calibration without torch: onnxruntime runs the float graph and shows the value of every planned tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from edgegd.addresses import inner_of, owner_of
from edgegd.plan.attention import EXPONENT, LOWEST_EXPONENT, planned_attentions
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.histogram import Histogram
from edgegd.quant.ranges import counted_addresses, no_image, not_finite
from edgegd.runtime.contract import INPUT_NAME
from edgegd.verify.float_tensors import open_graph, tensor_names

Array = NDArray[np.float32]


def count_values(
    graph: onnx.ModelProto,
    plan: QuantPlan,
    batches: Iterable[Array],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Histogram]:
    """The histogram of every planned tensor (edgegd.quant.ranges.counted_addresses) on images (N, C, H, W) float32.

    `progress(images)` is called after each batch. CalibrationError where a value is not finite, which names the first
    such tensor, or where there is no image.
    """
    counted, names = counted_addresses(plan), tensor_names(graph, plan)
    scores = {attention.softmax: names[attention.scores][0] for attention in planned_attentions(plan)}
    shown = {
        address: [scores[owner_of(address)]] if owner_of(address) in scores else names[address] for address in counted
    }
    wanted = list(dict.fromkeys(name for found in shown.values() for name in found))
    session, histograms, seen = open_graph(graph, wanted), {address: Histogram() for address in counted}, 0
    for batch in batches:
        for image in batch:
            values = dict(zip(wanted, session.run(wanted, {INPUT_NAME: image[None]}), strict=True))
            for address, found in shown.items():
                for name in found:
                    _count(histograms[address], address, values[name], owner_of(address) in scores)
        seen += len(batch)
        if progress:
            progress(seen)
    if not seen:
        raise no_image()
    return histograms


def _count(histogram: Histogram, address: str, values: Array, is_softmax: bool) -> None:
    if is_softmax:  # of scores (..., queries, keys), as an exact attention has them
        values = (values - values.max(-1, keepdims=True)).clip(min=np.float32(LOWEST_EXPONENT))
        values = values if inner_of(address) == EXPONENT else np.exp(values)
    try:
        histogram.add_array(values)
    except ValueError as error:
        raise not_finite(address, error) from error
