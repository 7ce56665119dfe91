"""Rules about the course of loss and mAP over the whole descent: plateau, convergence, overfitting, a small set."""

from __future__ import annotations

from statistics import fmean

from edgegd.report.diagnosis.facts import Facts, difference
from edgegd.report.diagnosis.rule import Finding, points, rounded, share

HIGH = 0.5
"""A rate is high while it is at least this share of its peak. A cosine is high in the first half of its steps."""
LONG = 0.75
"""The share of all steps with a high rate from which on it is the rate that keeps the loss from falling."""
FLAT = 0.01
"""The loss has stopped where it falls by less than this share from a quarter of the steps to the next."""
STOPPED, STANDS = 3.0, 2.0
"""Or by less than so many standard errors of the losses (a plateau; at the end of one that converged, the second)."""
SAME_MAP = 0.005
"""mAP50-95: less is within what two evaluations of equally good models differ by."""
ANNEALED = 0.1
"""The share of its peak that the rate has fallen to at the end of a descent that could settle."""
FALLEN = 0.15
"""The share by which the training loss has fallen since mAP was at its best: in healthy runs a few hundredths."""
PASSES = 30
"""Times that each image is seen: the project's longest recipe has 20."""
SMALL = 100
"""Images of a set that is small: the smallest set of a shipped recipe has 205."""


def plateau(facts: Facts) -> Finding | None:
    """The loss stopped falling while the rate was still high."""
    losses, rates = facts.losses, facts.rates
    if not facts.whole or len(losses) < 24 or len(facts.epochs) < 6 or max(rates) <= 0:
        return None
    high = sum(rate >= HIGH * max(rates) for rate in rates) / len(rates)
    half = len(losses) // 2
    quarter = half // 2
    last = difference(losses[half:-quarter], losses[-quarter:])
    maps = facts.maps[-(len(facts.epochs) // 2) :]
    gained = fmean(maps[len(maps) // 2 :]) - fmean(maps[: len(maps) // 2])
    if high < LONG or (last.share < -FLAT and last.errors < -STOPPED) or gained >= SAME_MAP:
        return None
    return Finding(
        f"The loss stands still at {last.after:.3g} since the middle of the steps, and mAP50-95 with it, at a rate "
        f"that was high on {share(high)} of the steps.",
        {
            "loss_before": last.before,
            "loss_after": last.after,
            "map50_95_gained": gained,
            "high_rate": high,
        },
        f"over the last half of the steps the loss falls by less than {share(FLAT)} or {STOPPED:g} standard errors and "
        f"mAP50-95 gains less than {100 * SAME_MAP:g} points (means of epochs, half against half), while the "
        f"rate is at least {share(HIGH)} of its peak on "
        f"{share(LONG)} of the steps",
        f"Let the rate fall (train.lrf {min(facts.settings['lrf'], 0.01):g}), or stop earlier "
        f"({facts.key('epochs')} {max(len(facts.epochs) // 2, 1)}).",
    )


def converged(facts: Facts) -> Finding | None:
    """The rate has fallen, and loss and mAP have come to rest at or above where they started."""
    losses, maps, rates = facts.losses, facts.maps, facts.rates
    if not facts.whole or len(losses) < 16 or len(maps) < 3 or max(rates) <= 0:
        return None
    quarter = len(losses) // 4
    last = difference(losses[-2 * quarter : -quarter], losses[-quarter:])
    rested = abs(last.share) < FLAT or abs(last.errors) < STANDS
    drift = max(maps) - maps[-1]
    fallen = rates[-1] / max(rates)
    if not rested or fallen > ANNEALED or drift >= SAME_MAP or maps[-1] < maps[0] - SAME_MAP:
        return None
    return Finding(
        f"The descent converged: the loss came to rest at {last.after:.3g} as the rate fell, and mAP50-95 ended at "
        f"{points(maps[-1])}, from {points(maps[0])}.",
        {"loss_before": last.before, "loss_after": last.after, "map50_95": maps[-1], "map50_95_start": maps[0]},
        f"over the last half of the steps the loss changes by less than {share(FLAT)} or {STANDS:g} standard errors, "
        f"the rate falls to {share(ANNEALED)} of its peak, mAP50-95 ends within {100 * SAME_MAP:g} points of its best "
        "and not below its start",
        "Nothing.",
    )


def overfitting(facts: Facts) -> Finding | None:
    """The training loss goes on falling, and mAP does not rise any more."""
    maps, epochs = facts.maps[1:], facts.epochs
    if len(maps) < 4:
        return None
    there = next(number for number, value in enumerate(maps, 1) if value > max(maps) - SAME_MAP)
    tail = max(len(epochs) // 4, 1)
    before, after = epochs[there - 1]["loss"], fmean(epoch["loss"] for epoch in epochs[-tail:])
    if there > len(epochs) - tail or after >= (1 - FALLEN) * before:
        return None
    last = fmean(maps[-tail:])
    return Finding(
        f"The model overfits: after epoch {there} the training loss fell on from {before:.3g} to {after:.3g}, and "
        f"mAP50-95 gained nothing by it ({points(maps[there - 1])} then, {points(last)} at the end).",
        {"epoch": there, "loss_then": before, "loss_at_end": after, "map50_95_then": maps[there - 1]}
        | {"map50_95_at_end": last},
        f"the loss falls by more than {share(FALLEN)} after the first epoch within {100 * SAME_MAP:g} points of the "
        "best mAP50-95 (to the mean of the last quarter of the epochs)",
        f"Lower {facts.key('epochs')} to {there} or {facts.key('lr0')} to {rounded(facts.settings['lr0'] / 3):g}, take "
        "more images, or change them more (train.scale, train.translate, train.hsv_v).",
    )


def set_too_small(facts: Facts) -> Finding | None:
    """Few images are seen again and again."""
    passes = facts.settings["epochs"]
    if facts.images > SMALL or passes <= PASSES:
        return None
    return Finding(
        f"The set is too small for the steps: each of its {facts.images} images is seen {passes} times.",
        {"images": facts.images, "passes": passes, "steps": facts.planned},
        f"at most {SMALL} images, each seen more than {PASSES} times",
        f"Take more images, or lower {facts.key('epochs')} to {PASSES}; images without labels can teach too "
        "(data.unlabelled_images with train.distill.head).",
    )
