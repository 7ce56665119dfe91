"""Rules about ranges: they collapsed, or were still moving when the descent ended."""

from __future__ import annotations

import math
from statistics import median

from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.rule import Finding, rounded, share

OUTSIDE = 0.3
"""The share of a tensor's values outside its range: healthy runs have 0.1 at most."""
FEW_CODES = 0.05
"""The share of the 256 codes that a tensor uses: healthy runs have 0.14 at least."""
COLLAPSED = 0.03
"""The share of all ranges that must be so: a single narrow tensor is no accident of the descent."""
MOVING = 0.01
"""What a typical scale changes by in the last half of the steps in which ranges learn: healthy runs have 0.0001."""
SLOWER = 0.5
"""Where it changes by less than this share of what it did in the first half, it is coming to rest."""


def collapsed(facts: Facts) -> Finding | None:
    """Ranges have become so narrow that values lie outside, or so wide that few codes are used."""
    if not facts.details:
        return None
    step, detail = facts.details[-1]
    seen = {group: row for group, row in detail["ranges"].items() if None not in row.values()}
    outside = {group: row["below"] + row["above"] for group, row in seen.items()}
    narrow = [group for group, part in outside.items() if part > OUTSIDE]
    wide = [group for group, row in seen.items() if row["used"] < FEW_CODES]
    bad = {*narrow, *wide}
    if not seen or len(bad) <= COLLAPSED * len(seen):
        return None
    worst = max(bad, key=lambda group: (outside[group], -seen[group]["used"]))
    return Finding(
        f"{len(bad)} of {len(seen)} ranges collapsed by step {step}: {len(narrow)} are so narrow that more than "
        f"{share(OUTSIDE)} of the values lie outside, {len(wide)} so wide that less than {share(FEW_CODES)} of their "
        "codes are used.",
        {"step": step, "narrow": len(narrow), "wide": len(wide), "ranges": len(seen), "worst": worst}
        | {"outside": outside[worst], "used": seen[worst]["used"]},
        f"more than {share(COLLAPSED)} of all ranges",
        f"Lower train.range_lr, for example from {facts.settings['range_lr']:g} to "
        f"{rounded(min(facts.settings['range_lr'] / 10, 1e-3)):g}; if they are so from the start, calibrate otherwise "
        "(quant.observer).",
    )


def moving(facts: Facts) -> Finding | None:
    """Scales still change when they stop learning."""
    learning = [row["step"] for row in facts.steps if "scales" in row.get("gradient", {})]
    if not facts.whole or not learning:
        return None
    moved, early = [], []
    for seen in facts.ranges().values():
        scales = [(step, row["scale"]) for step, row in seen if step <= learning[-1] and row["scale"]]
        if len(scales) >= 3:
            middle = scales[len(scales) // 2][1]
            moved.append(abs(math.log(scales[-1][1] / middle)))
            early.append(abs(math.log(middle / scales[0][1])))
    if not moved or median(moved) <= max(MOVING, SLOWER * median(early)):
        return None
    slower = facts.settings["range_lr"] * MOVING / median(moved)
    return Finding(
        f"The ranges were still moving at the end: in the last half of the steps a typical scale changed by "
        f"{share(math.expm1(median(moved)))}, in the half before by {share(math.expm1(median(early)))}.",
        {"last_half": median(moved), "first_half": median(early), "scales": len(moved)},
        f"the median change of scales (of their logarithms) in the last half of the steps in which they learn is above "
        f"{MOVING:g}, and above {SLOWER:g} times that of the first half",
        f"Lower train.range_lr, for example to {rounded(slower):g}, or let it fall (train.lrf 0.01) and freeze ranges "
        "earlier (train.freeze_ranges_epochs).",
    )
