"""Training images and suspected labels for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from edgegd.accuracy.image_learning import FEWEST, FORGOTTEN, LATE, LEARNING_KINDS, NEVER, NOT_JUDGED
from edgegd.accuracy.label_suspects import BADLY_PLACED, OVERLOOKED, SWAPPED
from edgegd.report.blocks import Block, Paragraph, Subheading, Table
from edgegd.report.ship import MODEL_TITLES

_SHOWN = 10
_TITLES = {
    SWAPPED: "Labels of a class that FP32 sees otherwise",
    OVERLOOKED: "Boxes that FP32 finds and no label has",
    BADLY_PLACED: "Labels whose object FP32 finds beside them",
}


def training_images_sentence(result: Mapping[str, Any]) -> str:
    """What the data support: what was learned, what quantization costs, and how many labels are suspected."""
    count, model, suspected = result["images"], MODEL_TITLES[result["model"]], result["suspects"]
    told = [
        _learning(result),
        f"{model} costs {result['hurt']} of {count} training images a box or more.",
    ]
    if not result["most"]:
        return " ".join(told)
    if not suspected:
        return " ".join([*told, "No label is suspected."])
    kinds = {}
    for kind in (OVERLOOKED, BADLY_PLACED, SWAPPED):
        count = sum(one["kind"] == kind for one in suspected)
        kinds[kind] = f"{count} or more" if count == result["most"] else str(count)
    told.append(
        f"Labels to look at first: {kinds[OVERLOOKED]} boxes that may have been overlooked, {kinds[BADLY_PLACED]} that "
        f"may be badly placed, {kinds[SWAPPED]} of a class that may be swapped."
    )
    return " ".join(told)


def training_images_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, then tables: images by kind, the hardest and the most hurt ones, suspected and hardest labels."""
    names, model = result["names"], MODEL_TITLES[result["model"]]
    kinds = [[kind, str(result["counts"][kind])] for kind in LEARNING_KINDS if kind in result["counts"]]
    blocks: list[Block] = [
        Paragraph(result["sentence"]),
        Table(["training images", "count"], kinds),
        Subheading("Hardest images"),
        _hardest(result["hardest"]),
    ]
    if result["most_hurt"]:
        blocks += [Subheading(f"Images that {model} hurts most"), _most_hurt(result["most_hurt"], model)]
    for kind, title in _TITLES.items():
        of_kind = [one for one in result["suspects"] if one["kind"] == kind]
        if of_kind:
            blocks += [Subheading(title), _suspects(of_kind, names)]
    if result["hardest_labels"]:
        blocks += [Subheading("Labels that FP32 supports least"), _hardest_labels(result["hardest_labels"], names)]
    blocks.append(
        Paragraph(
            "The loss of an image is the mean of its last ones, each of the image as it was augmented then. Damage is "
            "in boxes, the error is the LRP error of FP32's detections, 0 to 1, at scores above "
            f"{result['conf']:g}. A suspicion is from 0 to 1. Where FP32 was trained on these very labels, it excuses "
            "those that it has learned by heart. See docs/labels.md."
        )
    )
    return blocks


def _learning(result: Mapping[str, Any]) -> str:
    count, of = result["images"], result["counts"]
    if result["not_recorded"]:
        return f"The losses of {count} training images are not known: {result['not_recorded']}."
    if of.get(NOT_JUDGED, 0) == count:
        return f"{result['epochs']} recorded epochs are too few to say what was learned; it takes {FEWEST}."
    told = f"{of.get(NEVER, 0)} of {count} training images were never learned, {of.get(FORGOTTEN, 0)} forgotten"
    told += f" and {of.get(LATE, 0)} learned late"
    return told + (f"; {of[NOT_JUDGED]} were seen too seldom to say." if of.get(NOT_JUDGED) else ".")


def _hardest(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        [
            _name(row),
            "-" if row["loss"] is None else f"{row['loss']:.3f}",
            f"{row['error']:.3f}",
            row["kind"],
            str(row["labels"]),
            f"{row['suspect']:.2f}",
        ]
        for row in rows[:_SHOWN]
    ]
    return Table(["image", "loss", "error FP32", "kind", "labels", "suspicion"], cells)


def _most_hurt(rows: Sequence[Mapping[str, Any]], model: str) -> Table:
    cells = [
        [
            _name(row),
            f"{row['hurt']:.2f}",
            str(row["labels"]),
            f"{row['error']['reference']:.3f}",
            f"{row['error']['model']:.3f}",
        ]
        for row in rows[:_SHOWN]
    ]
    return Table(["image", "damage", "labels", "error FP32", f"error {model}"], cells)


def _suspects(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    cells = [
        [
            _name(row),
            f"{row['score']:.2f}",
            _class(row["class_id"], names),
            _class(row["suggested"], names),
            _box(row["box"]),
            "-" if row["suggested_box"] is None else _box(row["suggested_box"]),
        ]
        for row in rows[:_SHOWN]
    ]
    return Table(["image", "suspicion", "label", "FP32 says", "box", "FP32's box"], cells)


def _hardest_labels(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    cells = [
        [_name(row), f"{row['support']:.2f}", _class(row["class_id"], names), _box(row["box"])] for row in rows[:_SHOWN]
    ]
    return Table(["image", "support", "label", "box"], cells)


def _name(row: Mapping[str, Any]) -> str:
    return PurePath(row["image"]).name


def _class(class_id: int | None, names: Sequence[str]) -> str:
    return "-" if class_id is None else names[class_id]


def _box(box: Sequence[float]) -> str:
    return ", ".join(f"{side:.0f}" for side in box)
