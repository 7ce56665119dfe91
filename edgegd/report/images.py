"""What quantization did to single images, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from edgegd.accuracy.error_kinds import KINDS
from edgegd.report.blocks import Block, Bullets, Paragraph, Subheading, Table
from edgegd.report.ship import MODEL_TITLES
from edgegd.signal_to_noise import NOISELESS_DB

_SHOWN = 16  # images of the table
_TENSORS = 3  # of an image


def images_sentence(result: Mapping[str, Any]) -> str:
    """What the data support: boxes lost, gained and moved, the labelled boxes that are found no more, the damage."""
    model, rows, changed = MODEL_TITLES[result["model"]], result["images"], result["transitions"]
    lost = sum(count for state, count in changed["found"].items() if state != "found")
    mended = sum(of["found"] for state, of in changed.items() if state != "found")
    total, half = sum(row["damage"] for row in rows), _images_of_half([row["damage"] for row in rows])
    told = [
        f"At scores above {result['conf']:g}, {model} lost {result['lost']} of FP32's {result['reference_boxes']} "
        f"boxes, gained {result['gained']} and moved {result['moved']} on {len(rows)} images"
        f"{_crossed(result['crossed'])}.",
        f"Of {result['boxes']} labelled boxes it misses {lost} that FP32 found, and finds {mended} that FP32 missed.",
    ]
    if total:
        told.append(f"{half} image{'s hold' if half != 1 else ' holds'} half of the damage.")
    if result["tensors"]:
        first = result["tensors"][0]
        told.append(
            f"On the worst of them {first['address']} loses most by itself: {_db(first['own_sqnr_db'])} dB, where half "
            f"of all tensors have more than {_db(result['median_own_sqnr_db'])}."
        )
    return " ".join(told)


def images_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, then tables: the worst images, errors by kind, class and size, the worst tensors."""
    model = MODEL_TITLES[result["model"]]
    left_out = [f"{row['image']}: {row['reason']}" for row in result["left_out"]]
    blocks: list[Block] = [Paragraph(result["sentence"]), _worst(result, model), _kinds(result, model)]
    blocks += [_by(result, "by_class", "name", "class"), _by(result, "by_size", "size", "size of objects")]
    if result["tensors"]:
        blocks += [Subheading("Tensors of these images"), _tensors(result), _tensors_of_images(result)]
        blocks.append(
            Paragraph(
                "A tensor's own error is what its codes differ from the float operation by, given the INT8 file's own "
                "codes of what it reads: it is large where the damage is done. The whole error is the difference from "
                f"FP32, with all that came before. Both are signal-to-noise ratios in dB; typical is the median over "
                f"{result['typical_images']} images, calibrated what calibration measured of the range alone."
            )
        )
    if left_out:
        blocks += [Paragraph("These images were not looked at or drawn:"), Bullets(left_out)]
    blocks.append(
        Paragraph(
            "Damage counts labelled boxes that became worse and new false ones, each up to 1, in steps that a score "
            "next to the threshold does not decide. Loss is the image's LRP error (Oksuz et al. 2018), 0 to 1. Kinds "
            f"of error are TIDE's (Bolya et al. 2020). See docs/images.md. Threshold: {result['conf']:g}; a detection "
            f"and a box are the same from IoU {result['iou']:g} on."
        )
    )
    return blocks


def _crossed(count: int) -> str:
    return f"; {count} of those lost or gained are there on the other side of the threshold" if count else ""


def _images_of_half(damages: list[float]) -> int:
    """How many of the most damaged images hold half of all damage."""
    left, count = sum(damages) / 2, 0
    for value in sorted(damages, reverse=True):
        if left <= 0:
            break
        left, count = left - value, count + 1
    return count


def _worst(result: Mapping[str, Any], model: str) -> Table:
    by_image = {row["image"]: row for row in result["images"]}
    rows = []
    for image in result["most_damaged"][:_SHOWN]:
        row = by_image[image]
        counts = [str(row[what]) for what in ("labels", "lost", "gained", "moved")]
        change = "-" if row["score_change"] is None else f"{row['score_change']:+.3f}"
        losses = [f"{row['loss'][role]:.3f}" for role in ("reference", "model")]
        rows.append([PurePath(image).name, f"{row['damage']:.2f}", *counts, change, *losses])
    headers = ["image", "damage", "labels", "lost", "gained", "moved", "scores", "loss FP32", f"loss {model}"]
    return Table(headers, rows)


def _kinds(result: Mapping[str, Any], model: str) -> Table:
    before, after = result["kinds"]["reference"], result["kinds"]["model"]
    rows = [[kind, str(before[kind]), str(after[kind]), f"{after[kind] - before[kind]:+d}"] for kind in KINDS]
    return Table(["kind of error", "FP32", model, "difference"], rows)


def _by(result: Mapping[str, Any], key: str, name: str, header: str) -> Table:
    rows = []
    for one in result[key]:
        before, after = one["kinds"]["reference"], one["kinds"]["model"]
        kinds = [f"{before[kind]} > {after[kind]}" for kind in KINDS]
        rows.append([str(one[name]), *(str(one[what]) for what in ("boxes", "lost", "gained", "moved")), *kinds])
    return Table([header, "boxes", "lost", "gained", "moved", *KINDS], rows)


def _tensors(result: Mapping[str, Any]) -> Table:
    rows = [
        [
            one["address"],
            _db(one["own_sqnr_db"]),
            _db(one["typical_own_sqnr_db"]),
            _db(one["calibrated_sqnr_db"]),
            _db(one["sqnr_db"]),
            f"{100 * one['clipped']:.2f} %",
            f"{one['images']} of {len(result['worst'])}",
        ]
        for one in result["tensors"]
    ]
    return Table(
        [
            "tensor",
            "own error, dB",
            "typical",
            "calibrated",
            "whole error, dB",
            "clipped",
            "among an image's worst three",
        ],
        rows,
    )


def _tensors_of_images(result: Mapping[str, Any]) -> Table:
    rows = [
        [
            PurePath(one["image"]).name,
            *(f"{of['address']} {_db(of['own_sqnr_db'])}" for of in one["tensors"][:_TENSORS]),
        ]
        for one in result["worst"][:_SHOWN]
    ]
    return Table(["image", "worst tensor, dB", "second", "third"], rows)


def _db(value: float | None) -> str:
    if value is None:
        return "-"
    return "exact" if value >= NOISELESS_DB else f"{value:.1f}"
