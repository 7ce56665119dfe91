"""The range of every scale group of a plan, from histograms of its tensors, whoever counted them; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgegd.addresses import INPUT
from edgegd.errors import CalibrationError
from edgegd.plan.attention import fixed_ranges, planned_attentions
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant.code_errors import QMAX, sqnr_db
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import PERCENTILE, choose_range
from edgegd.quant.readers import VALUE, Reader, readers_of_groups


@dataclass(frozen=True)
class Range:
    """The range of a scale group, as uint8 codes have it, and how well it holds what was seen.

    `sqnr_db` is the signal-to-quantization-noise ratio in dB over all members of the group, `tensors` that of each
    (address -> dB; 999 where nothing is lost), both behind the `reader` (value, silu or score: edgegd.quant.readers);
    `observer` is the one that chose the range.
    """

    scale: float
    zero_point: int
    sqnr_db: float
    observer: str
    tensors: dict[str, float]
    reader: str = VALUE.name


def _read_codes_of(plan: QuantPlan, address: str) -> tuple[str, ...]:
    """The tensors whose codes a movement or concat hands on; empty for a tensor with codes of its own."""
    op = plan.by_address.get(address)
    return op.inputs if op is not None and plan.keeps_codes(op) else ()


def counted_addresses(plan: QuantPlan) -> list[str]:
    """The planned tensors of which histograms are made: not the image, nor what hands on codes of others."""
    return [address for address in plan.groups if address != INPUT and not _read_codes_of(plan, address)]


def not_finite(address: str, error: ValueError) -> CalibrationError:
    """The error that a tensor has values that are not finite, which `error` shows."""
    return CalibrationError(
        f"Calibration met values that are not finite in {address}, the first such tensor of the model.",
        expected="finite float32 values",
        found=str(error),
        mend="the float checkpoint has broken weights: check that it detects anything, or train it again",
    )


def no_image() -> CalibrationError:
    """The error that there was nothing to count."""
    return CalibrationError(
        "Calibration was given no image.",
        expected="at least one image",
        mend="check data.path and quant.calibration_images",
    )


def choose_ranges(
    plan: QuantPlan,
    histograms: Mapping[str, Histogram],
    observer: str,
    percentile: float = PERCENTILE,
    *,
    readers: Mapping[str, Reader] | None = None,
    emphasised: Mapping[str, Histogram] | None = None,
) -> dict[str, Range]:
    """The range of every scale group by `observer` (edgegd.quant.observers), from `collect`'s histograms.

    `emphasised` are others of the same addresses, whose counts say what an error costs (edgegd.quant.sensitivity):
    ranges are then chosen by them, while the ratios that are reported stay those of the values seen.

    `readers` says who reads each group, and so what an error is; None: whoever does in the plan.

    A group has the range of all its members' values together. The image's range is known: scale 1/255, zero point 0. So
    are those of an exact attention's softmax.
    """
    members: dict[str, list[str]] = {}
    for address, group in plan.groups.items():
        members.setdefault(group, []).append(address)

    def counted(address: str) -> list[Histogram]:
        if address in histograms:
            return [histograms[address]]
        return [found for source in _read_codes_of(plan, address) for found in counted(source)]

    fixed = {INPUT: (float(np.float32(1 / QMAX)), 0), **fixed_ranges(planned_attentions(plan))}
    readers, ranges = readers or readers_of_groups(plan), {}
    for group, addresses in members.items():
        reader = readers[group]
        whole = Histogram.merged(histograms[a] for a in addresses if a in histograms)
        weighted = whole
        if emphasised is not None:
            weighted = Histogram.merged(emphasised[a] for a in addresses if a in emphasised)
        if group in fixed:
            (scale, zero_point), chosen_by = fixed[group], "pixels" if group == INPUT else "known"
        elif not whole.width:
            raise CalibrationError(
                f"No value of {', '.join(addresses[:3])} was seen.",
                found="a plan whose tensor nothing computes",
                expected="a value for every tensor that the plan quantizes",
                mend="take the tensor out of the plan",
            )
        else:
            scale, zero_point, chosen_by = choose_range(weighted, observer, percentile, reader)
        tensors = {
            address: sqnr_db(Histogram.merged(counted(address)), scale, zero_point, reader) for address in addresses
        }
        ranges[group] = Range(
            scale, zero_point, sqnr_db(whole, scale, zero_point, reader), chosen_by, tensors, reader.name
        )
    return ranges
