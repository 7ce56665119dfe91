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
OSCILLATING = 0.06
"""The share of all weights that swing between two codes: healthy runs have 0.03 (of 18 steps, any swing counts)."""

_MEND_DEAD = (
    "Start from another checkpoint (model.weights): such a channel hardly ever learns again, and costs as much time as "
    "any other."
)
_MEND_SATURATED = (
    "Calibrate ranges that hold all values (quant.observer minmax, or a higher quant.percentile), or keep the layer in "
    "float (quant.float)."
)


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


def dead_channels(facts: Facts) -> Finding | None:
    """Channels give one code, whatever the image."""
    return _channels(facts, "dead", "give one code, whatever the image", _MEND_DEAD)


def saturated_channels(facts: Facts) -> Finding | None:
    """Channels lie outside their range."""
    return _channels(facts, "saturated", "have more than half of their values outside the range", _MEND_SATURATED)


def _channels(facts: Facts, what: str, how: str, change: str) -> Finding | None:
    shares = {
        group: min(row[what] for _, row in seen)
        for group, seen in facts.ranges().items()
        if all(what in r for _, r in seen)
    }
    found = {group: part for group, part in shares.items() if part > CHANNELS}
    if not found:
        return None
    worst = max(found, key=found.__getitem__)
    return Finding(
        f"{share(found[worst])} of the channels of {worst} are {what}: they {how}. "
        f"{len(found)} of {len(shares)} tensors have more than {share(CHANNELS)} of such channels.",
        {"tensor": worst, "share": found[worst], "tensors": len(found), "of": len(shares)},
        f"more than {share(CHANNELS)} of a tensor's channels in every step looked at",
        change,
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
