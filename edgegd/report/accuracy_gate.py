"""Accuracy gates for people: a row of a table each, in points of mAP50-95."""

from __future__ import annotations

from edgegd.accuracy.gate import AccuracyGate

HEADERS = [
    "verdict",
    "model",
    "against",
    "mAP50-95",
    "change in points",
    "margin",
    "detectable",
    "equal passes",
    "images",
]


def row(gate: AccuracyGate) -> list[str]:
    """The cells below HEADERS; a dash for what too few images cannot say."""
    bounds = "" if gate.low is None or gate.high is None else f" [{100 * gate.low:+.2f}, {100 * gate.high:+.2f}]"
    return [
        gate.verdict.value,
        gate.model,
        gate.reference,
        f"{100 * gate.model_map:.1f} against {100 * gate.reference_map:.1f}",
        f"{100 * gate.difference:+.2f}{bounds}",
        f"-{100 * gate.margin:g}",
        "-" if gate.detectable is None else f"-{100 * gate.detectable:.2f}",
        "-" if gate.pass_probability is None else f"{100 * gate.pass_probability:.0f} %",
        f"{gate.images}, {gate.labelled_images} with boxes",
    ]


def method(gate: AccuracyGate) -> str:
    """How to read the table, and what no bound knows."""
    return (
        f"In brackets: bounds at {100 * (1 - gate.alpha):g} % each, by a bootstrap over the images, which both models "
        f"share, and the lower one also by how many images may have lost boxes of a class unseen: PASS and REGRESSED "
        f"are each wrong in at most {100 * gate.alpha:g} of 100 gates. *detectable*: the "
        "least loss that is flagged with 95 % probability; *equal passes*: the probability that an equal model passes. "
        f"Damage of a kind that befalls less than {100 * gate.unseen_share:.1f} % of all images may be on none of "
        "these."
    )
