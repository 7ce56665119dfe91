"""A run's choice of activations as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegd.network_size import size_in_words
from edgegd.report.blocks import Block, Paragraph, Table

if TYPE_CHECKING:
    from edgegd.detectors.activation_swap import ActivationSwap, SwapUnit


def swap_blocks(swap: ActivationSwap) -> list[Block]:
    """How many SiLUs became ReLU; where they were chosen by measurement, a row a unit, most worthwhile first."""
    count = (
        f"{len(swap.relu)} of {len(swap.relu) + len(swap.silu)} SiLUs became ReLU (quant.activation {swap.activation})"
    )
    if not swap.units:
        return [Paragraph(f"{count}.")]
    saved, whole = (sum(unit.saved_ms for unit in units) for units in (_swapped(swap), swap.units))
    headers = ["SiLUs of a unit", "ms", "share of all", "SNR at the head dB", "becomes"]
    conditions = swap.conditions
    return [
        Paragraph(
            f"{count}: {saved:.2f} of the {whole:.2f} ms that SiLUs took in an inference of {conditions['run_ms']:.2f} "
            f"ms at {size_in_words(conditions['imgsz'])} px, where {100 * swap.saving:.0f} % were asked for "
            f"(quant.activation_saving). Times: onnxruntime {conditions['onnxruntime']} on "
            f"{conditions['cpu']}, "
            f"{conditions['threads']} thread(s), profiled. SNR: signal-to-noise ratio of the head's outputs in float "
            f"on {conditions['images']} images when only this unit is swapped, before any training."
        ),
        Table(headers, [_row(unit, whole) for unit in swap.units], ("left", "right", "right", "right", "left")),
    ]


def _swapped(swap: ActivationSwap) -> list[SwapUnit]:
    return [unit for unit in swap.units if unit.swapped]


def _row(unit: SwapUnit, whole_ms: float) -> list[str]:
    share = f"{100 * unit.saved_ms / whole_ms:.1f} %" if whole_ms else "-"
    return [
        ", ".join(path.removesuffix(".act") for path in unit.paths),
        f"{unit.saved_ms:.3f}",
        share,
        f"{unit.signal_to_noise_db:.1f}",
        "ReLU" if unit.swapped else "stays SiLU",
    ]
