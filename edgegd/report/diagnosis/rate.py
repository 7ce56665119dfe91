"""Rules about the learning rate: the descent broke down, its steps are too long, too short, or cut."""

from __future__ import annotations

from statistics import median, quantiles

from edgegd.report.diagnosis import ranges
from edgegd.report.diagnosis.facts import Difference, Facts, difference
from edgegd.report.diagnosis.rule import Finding, points, rounded, share

DIVERGED = 1.6
"""The largest median loss of a few steps over the smallest loss of the first ones: healthy runs have 1.15."""
BACK = 1.3
"""Below so many times the smallest loss of the first steps it has come back."""
WINDOW = 5
"""Steps whose median loss is compared: one odd batch, or two, must not decide."""
TOO_MANY_CODES = 0.15
"""The share of a typical layer's codes that one step changes: healthy runs have 0.02 at their full rate."""
OVERSHOOTING = 0.2
"""The median length of steps: from here on they end behind the minimum of their own batch (step_length.py)."""
LOOKED_AT = 6
"""Steps looked at, before their median counts: the length of a single one says little."""
RISEN_SHARE, RISEN_ERRORS = 0.15, 5.0
"""The share of the loss, and the standard errors, by which it has risen: batches of eight images differ by 0.1."""
BELOW = 0.005
"""mAP50-95 that every epoch has lost: with 1e-4, COCO's YOLO11n loses 0.01 on 128 images and gains with 2e-5."""
TOO_FEW_CODES = 5e-4
"""The share of a typical layer's codes that a step changes at its largest: 1/40 of what healthy runs have."""
SHORT = -0.8
"""The median length of steps: the slope has hardly changed along them."""
NOT_MOVED = 0.01
"""mAP50-95: less is within what equally good models differ by on few images."""
SURE = 2.33
"""Standard errors of a one-sided test at 1 %."""
FAR_ABOVE = 10.0
"""Times the limit: gradients as long as that have another cause than the limit."""
USUAL_CODES = 0.02
"""What a step of healthy runs changes at the full rate, towards which a rate is suggested."""


def diverged(facts: Facts) -> Finding | None:
    """The loss is not finite any more, or has multiplied."""
    losses = facts.losses
    if broken := facts.broken:
        at_once = broken["step"] <= 2
        change = (
            "The rate has hardly acted yet: look at the float model (model.weights), at the labels, and at train.amp."
        )
        return Finding(
            f"The descent broke down: the loss or its gradient was not finite at step {broken['step']} of "
            f"{facts.planned}.",
            {"step": broken["step"], "last_losses": losses[-3:], "lr": broken["lr"]["weights"]},
            "every loss is finite",
            change if at_once else _lower(facts, 10.0),
        )
    if len(losses) < 2 * WINDOW:
        return None
    first, last = min(losses[:WINDOW]), median(losses[-WINDOW:])
    worst = max(median(losses[end - WINDOW : end]) for end in range(WINDOW, len(losses) + 1))
    if worst <= DIVERGED * first or last <= BACK * first:
        return None
    return Finding(
        f"The descent diverged: the loss rose from {first:.3g} to {worst:.3g}, and stands at {last:.3g}.",
        {"first_loss": first, "worst_loss": worst, "last_loss": last, "steps": len(losses)},
        f"the median of {WINDOW} steps is more than {DIVERGED:g} times the smallest of the first {WINDOW}, and that of "
        f"the last ones still {BACK:g} times",
        _lower(facts, 10.0),
    )


def too_high(facts: Facts) -> Finding | None:
    """One step changes many codes, steps overshoot, or the loss rises."""
    codes, alphas, risen = facts.codes_changed(), facts.alphas(), _risen(facts)
    evidence: dict[str, float] = {}
    said = []
    if codes and max(codes) > TOO_MANY_CODES:
        evidence["codes_changed"] = max(codes)
        said.append(f"one step changed {share(max(codes))} of the integer codes of a typical layer")
    if len(alphas) >= LOOKED_AT and median(alphas) > OVERSHOOTING:
        evidence["alpha"] = median(alphas)
        said.append(f"the typical step passed the minimum of its batch (alpha {median(alphas):.2f})")
    by_ranges = ranges.collapsed(facts) is not None  # what they do to loss and mAP is not the rate's of the weights
    if not by_ranges and risen and risen.errors > RISEN_ERRORS and risen.share > RISEN_SHARE:
        evidence |= {"loss_before": risen.before, "loss_after": risen.after, "standard_errors": risen.errors}
        said.append(f"the loss rose from {risen.before:.3g} to {risen.after:.3g} once the rate was high")
    maps = facts.maps
    if not by_ranges and len(maps) > 2 and max(maps[1:]) < maps[0] - BELOW:
        evidence |= {"map50_95_start": maps[0], "map50_95_best": max(maps[1:])}
        said.append(
            f"every epoch ended below the mAP50-95 before the first step, {points(maps[0])}, the best at "
            f"{points(max(maps[1:]))}"
        )
    if not said:
        return None
    return Finding(
        f"The learning rate is too high: {'; '.join(said)}.",
        evidence,
        f"a step changes more than {share(TOO_MANY_CODES)} of the codes, or the median alpha of {LOOKED_AT} steps or "
        f"more is above {OVERSHOOTING:g}, or the loss rises by more than {share(RISEN_SHARE)} and {RISEN_ERRORS:g} "
        f"standard errors, or two epochs or more all end {100 * BELOW:g} points of mAP50-95 below the start",
        _lower(facts, 3.0),
    )


def _risen(facts: Facts) -> Difference | None:
    """The loss after the first steps, which have hardly moved the model, against theirs."""
    few = max(WINDOW, facts.planned // 20)
    first, after = facts.losses[:few], facts.losses[few : 4 * few]
    return difference(first, after) if len(after) >= 2 * WINDOW else None


def too_low(facts: Facts) -> Finding | None:
    """Steps change next to no code, and neither has the mAP moved."""
    codes, alphas, maps = facts.codes_changed(), facts.alphas(), facts.maps
    if not facts.ended or not codes or not alphas or max(codes) >= TOO_FEW_CODES or median(alphas) > SHORT:
        return None
    moved = max((abs(value - maps[0]) for value in maps), default=0.0)
    if moved >= NOT_MOVED:
        return None
    factor = min(USUAL_CODES / max(max(codes), 1e-6), 100.0)
    return Finding(
        f"The learning rate is too low: steps changed {share(max(codes))} of the codes of a typical layer at most, "
        f"they ended far before the minimum of their batch (median alpha {median(alphas):.2f}), and mAP50-95 has not "
        "moved.",
        {"codes_changed": max(codes), "alpha": median(alphas), "map50_95_moved": moved},
        f"less than {share(TOO_FEW_CODES)} of codes changed, median alpha below {SHORT}, mAP50-95 within "
        f"{100 * NOT_MOVED:g} points of its start",
        f"Raise {facts.key('lr0')}, for example to {rounded(facts.settings['lr0'] * factor):g}.",
    )


def clipped(facts: Facts) -> Finding | None:
    """The gradient is cut on most steps."""
    steps = [row for row in facts.full_rate if "clipped" in row]
    if len(steps) < 2 * WINDOW:
        return None
    part = sum(row["clipped"] for row in steps) / len(steps)
    sure = part - SURE * (part * (1 - part) / len(steps)) ** 0.5 - 0.5 / len(steps)
    if sure <= 0.5:
        return None
    norms = [row["gradient"]["all"] for row in steps if row["gradient"]["all"] is not None]
    most = quantiles(norms, n=10)[-1] if len(norms) > 1 else norms[0]
    limit = facts.settings["grad_clip"]
    change = (
        f"Raise train.grad_clip to {float(f'{most:.2g}'):g}, above which a tenth of the gradients is, or find out why "
        "they are that long."
    )
    if median(norms) > FAR_ABOVE * limit:
        change = (
            f"Find out why gradients are {median(norms) / limit:.2g} times as long as train.grad_clip before you raise "
            "it: look at the float model (model.weights) and at the labels."
        )
    return Finding(
        f"The gradient was clipped on {share(part)} of the steps, to train.grad_clip {limit:g}: so every batch weighs "
        "alike, however much it has to say.",
        {"clipped": part, "steps": len(steps), "median_norm": median(norms), "grad_clip": limit},
        "more than half of the steps, at 1 % error",
        change,
    )


def _lower(facts: Facts, least: float) -> str:
    """To the rate at which steps change as many codes as in healthy runs, but by the factor `least` at least."""
    codes, rate = facts.codes_changed(), facts.settings["lr0"]
    factor = max(least, max(codes, default=0.0) / USUAL_CODES)
    return f"Lower {facts.key('lr0')}, for example from {rate:g} to {rounded(rate / factor):g}."
