"""The curve of a calibration set for people: does it still matter how many images there are, and which?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegd.report.blocks import Block, Paragraph, Subheading, Table
from edgegd.report.picture import Panel, Picture, Series, rounded


def curve_sentence(result: Mapping[str, Any]) -> str:
    """What the data support: how far ranges move, how many images are enough for the head, and who extends ranges."""
    spreads = [point for point in result["points"] if point["spread"]]
    told = []
    if not spreads:
        told.append(f"Too few images to tell: two samples that share none were not to be had of {result['images']}.")
    else:
        first, last = spreads[0], spreads[-1]
        told.append(
            f"Between samples of {first['images']} images that share none scales differ by {_median(first)} (median)"
            + (f", of {last['images']} by {_median(last)}." if last is not first else ".")
        )
        told.append(_enough(result))
    told.append(_outliers(result))
    return " ".join(told)


def curve_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The sentence, the curve as a table and as a picture, the outliers, and how all of it is meant."""
    blocks: list[Block] = [Paragraph(result["sentence"]), _table(result), curve_picture(result)]
    if result["outliers"]:
        blocks += [Subheading("Images that extend ranges alone"), _outlier_table(result)]
    rule = ""
    if result["limit"] is not None:
        rule = (
            " Enough is the smallest number from which on no sample is worse than the largest number by more than "
            f"twice the noise, the spread of head errors between samples ({_percent(result['noise'])}): at most "
            f"{result['limit']:.3g}."
        )
    blocks.append(
        Paragraph(
            "Scales are those of scale groups; their spread is the standard deviation between samples that share no "
            "image, relative. The head error is the geometric mean of the difference from the float model on "
            f"{result['head_images']} images that are in no sample ({result['head_unit']}). Refinement is not part of "
            f"it.{rule}"
        )
    )
    return blocks


def curve_picture(result: Mapping[str, Any]) -> Picture:
    """Range spread and head error against the number of images."""
    points = result["points"]
    spreads = [point for point in points if point["spread"]]
    x = [point["images"] for point in spreads]
    of_spread = [
        Series(name, x, rounded([100 * value(point["spread"]) for point in spreads]), "points")
        for name, value in (
            ("median of the scale groups", lambda spread: spread["median"]),
            ("nine tenths of them", lambda spread: spread["most"]),
            ("the worst", lambda spread: spread["worst"][0]["spread"]),
        )
    ]
    samples = [(point["images"], error) for point in points for error in point["head_error"]["samples"]]
    of_head = [
        Series(
            "mean",
            [point["images"] for point in points],
            rounded([point["head_error"]["mean"] for point in points]),
            "points",
        ),
        Series("samples", [number for number, _ in samples], rounded([error for _, error in samples]), "dots"),
    ]
    shown = (0.0, 1.03 * points[-1]["images"])
    is_positive = bool(spreads) and all(value for series in of_spread for value in series.y)
    panels = [
        Panel("images", "spread of scales, %", of_spread, logarithmic=is_positive, x_limits=shown),
        Panel(
            "images",
            f"head error, {result['head_unit']}",
            of_head,
            marks=[("enough", result["limit"])] if result["limit"] is not None else (),
            x_limits=shown,
        ),
    ]
    text = (
        "Above how far scales differ between samples that share no image; below the difference from the float model "
        f"at the head, on {result['head_images']} other images."
    )
    return Picture("calibration-curve", "Ranges and images", text, panels[0 if spreads else 1 :])


def _enough(result: Mapping[str, Any]) -> str:
    largest, own, number = result["points"][-1]["images"], result["calibrated_on"], result["recommended"]
    if number is None:
        return f"No number below {largest} has as small an error at the head: more images may still help."
    told = f"From {number} images on the error at the head is that of {largest} within the noise of the draw"
    if own > largest:
        return f"{told}."
    return f"{told}: the run's {own} are {'enough' if own >= number else 'too few'}."


def _outliers(result: Mapping[str, Any]) -> str:
    if not result["outliers"]:
        return "No image extends a range alone." if result["images"] > 1 else ""
    first, count = result["outliers"][0], result["outliers_found"]
    group = first["groups"][0]
    less = _percent(1 - group["without"] / group["with"])
    return (
        f"{count} image{' extends' if count == 1 else 's extend'} ranges alone, {'' if count == 1 else 'first '}"
        f"{first['image']}: without it the scale of {group['address']} would be {less} smaller."
    )


def _table(result: Mapping[str, Any]) -> Table:
    rows = []
    for point in result["points"]:
        spread, error = point["spread"], point["head_error"]
        of_spread = ["-"] * 4
        if spread:
            worst = spread["worst"][0]
            of_spread = [*map(_percent, (spread["median"], spread["most"], worst["spread"])), worst["address"]]
        least, largest = min(error["samples"]), max(error["samples"])
        span = f" ({least:.3g} to {largest:.3g})" if len(error["samples"]) > 1 else ""
        rows.append([str(point["images"]), str(point["samples"]), *of_spread, f"{error['mean']:.3g}{span}"])
    headers = ["images", "samples", "spread of scales: median", "nine tenths", "worst", "which", "head error"]
    return Table(headers, rows, ("right", "right", "right", "right", "right", "left", "left"))


def _outlier_table(result: Mapping[str, Any]) -> Table:
    rows = [
        [
            one["image"],
            "yes" if one["number"] <= result["calibrated_on"] else "no",
            str(one["groups_found"]),
            group["address"],
            f"{group['with']:.4g}",
            f"{group['without']:.4g}",
        ]
        for one in result["outliers"]
        for group in one["groups"][:1]
    ]
    headers = ["image", "calibrated on", "groups", "the strongest", "scale", "without the image"]
    return Table(headers, rows, ("left", "left", "right", "left", "right", "right"))


def _median(point: Mapping[str, Any]) -> str:
    return _percent(point["spread"]["median"])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
