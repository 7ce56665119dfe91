"""Rules about single layers: one gradient dominates, channels are dead or saturated, weights oscillate."""

from __future__ import annotations

from collections import Counter
from statistics import median

from edgegd.report.diagnosis.facts import Facts, layer_shares
from edgegd.report.diagnosis.rule import Finding, share

DOMINATES = 0.75
"""The median share of the squared gradient: the largest layer of healthy runs has 0.4."""
CHANNELS = 0.25
"""The share of a tensor's channels: healthy runs have none that are dead, and 0.04 that are saturated."""
OSCILLATING = 0.02
"""The share of all weights that swing between two codes."""


def gradient_dominated(facts: Facts) -> Finding | None:
    """Most of the gradient is one layer's."""
    largest = [max(layer_shares(detail), default=(0.0, "")) for _, detail in facts.details]
    if not largest:
        return None
    (name, times), *_ = Counter(name for _, name in largest).most_common(1)
    parts = [part for part, layer in largest if layer == name]
    if len(parts) <= len(largest) / 2 or median(parts) <= DOMINATES:
        return None
    return Finding(
        f"One layer dominates the gradient: {name} has {share(median(parts))} of its squared norm.",
        {"layer": name, "share": median(parts), "looked_at": len(largest), "times": times},
        f"the same layer has more than {share(DOMINATES)} in most of the steps looked at",
        f"Look at {name} in the float model (edgegd explain shows its range); keep it in float (quant.float) or start "
        "from a checkpoint that was trained longer. Where the gradient is clipped, all other layers stand still.",
    )


def channels(facts: Facts) -> Finding | None:
    """Channels give one code only, or lie outside their range."""
    found = {}
    for group, seen in facts.ranges().items():
        for what in ("dead", "saturated"):
            parts = [row[what] for _, row in seen if what in row]
            if parts and min(parts) > CHANNELS:
                found[group, what] = min(parts)
    if not found:
        return None
    (group, what), part = max(found.items(), key=lambda item: item[1])
    how = "give one code whatever the image" if what == "dead" else "have more than half of their values outside"
    return Finding(
        f"{share(part)} of the channels of {group} are {what}: they {how}. So it is in {len({g for g, _ in found})} "
        f"tensor{'s' if len(found) > 1 else ''}.",
        {"tensor": group, "what": what, "share": part, "tensors": sorted({group for group, _ in found})[:10]},
        f"more than {share(CHANNELS)} of a tensor's channels in every step looked at",
        "Look at the float model's layer: "
        + (
            "a dead channel never learns again"
            if what == "dead"
            else "calibrate with quant.observer minmax, or keep the layer in float (quant.float)"
        )
        + ".",
    )


def oscillating(facts: Facts) -> Finding | None:
    """Weights swing between two codes."""
    if not facts.epochs or not (counts := facts.epochs[-1].get("oscillation")):
        return None
    weights = sum(row["weights"] for row in counts.values())
    part = sum(row["oscillating"] for row in counts.values()) / weights
    if part <= OSCILLATING:
        return None
    worst = max(counts, key=lambda name: counts[name]["oscillating"] / counts[name]["weights"])
    of_worst = counts[worst]["oscillating"] / counts[worst]["weights"]
    return Finding(
        f"{share(part)} of the weights oscillate between two codes, most of them in {worst} ({share(of_worst)}).",
        {"oscillating": part, "worst": worst, "of_worst": of_worst},
        f"more than {share(OSCILLATING)} of all weights at the end",
        f"Damp or freeze them (train.oscillation damp or freeze), or lower {facts.key('lr0')}.",
    )
