"""The tables of docs/calibration.md from benchmarks/results/calibration_size.json (calibration_size.py)."""

from __future__ import annotations

import math
from typing import Any

from result_file import ResultFile
from tabulate import tabulate

from edgegd.quant.stability import NOISES, enough


def _entries(kind: str) -> list[dict[str, Any]]:
    found = ResultFile("calibration_size").find(kind=kind)
    return sorted(found, key=lambda entry: (entry["set"], entry["seed"]))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def curves_table() -> str:
    """One row per set, draw and number of images: the spread of scales, and the head errors of the samples."""
    lines = []
    for entry in _entries("curve"):
        for point in entry["curve"]["points"]:
            spread, errors = point["spread"], point["head_error"]["samples"]
            of_spread = ["-"] * 3
            if spread:
                of_spread = [
                    *map(_percent, (spread["median"], spread["most"], spread["worst"][0]["spread"])),
                ]
            head = " ".join(f"{error:.4f}" for error in errors)
            lines.append([entry["set"], entry["seed"], point["images"], *of_spread, head])
    headers = ["set", "draw", "images", "median, %", "nine tenths, %", "worst, %", "head error of each sample"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def auto_table() -> str:
    """One row per set and draw: what the curve recommends, what auto chooses, and its head error beside the best's."""
    lines = []
    for entry in _entries("curve"):
        errors = {point["images"]: point["head_error"] for point in entry["curve"]["points"]}
        judged = enough({number: error["samples"] for number, error in errors.items()})
        best = min(errors, key=lambda number: errors[number]["mean"])
        own, noise = entry["auto_head_error"], judged.noise or 0.0
        lines.append(
            [
                entry["set"],
                entry["seed"],
                judged.images or "more",
                f"{entry['auto']['images']}{'' if entry['auto']['stable'] else ' (bound)'}",
                f"{own:.4f}",
                f"{errors[best]['mean']:.4f} ({best})",
                f"{100 * noise:.0f} %",
                "yes" if math.log(own / errors[best]["mean"]) <= NOISES * noise else "no",
                f"{entry['curve_s']:.0f}",
                entry["peak_mb"],
            ]
        )
    headers = [
        "set",
        "draw",
        "enough",
        "auto",
        "its head error",
        "best (images)",
        "noise",
        "within twice it",
        "s",
        "MB",
    ]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def maps_table() -> str:
    """One row per set and draw: mAP50-95 of FP32, and of PTQ by the number of images with its difference from FP32."""
    lines = []
    for entry in _entries("map"):
        cells = [
            "{:.1f}: {:+.1f} [{:+.1f}, {:+.1f}]".format(
                *(100 * value for value in (one["map50_95"], one["difference"], *one["interval"]))
            )
            for one in (entry[images] for images in ("16", "128", "auto"))
        ]
        lines.append(
            [entry["set"], entry["seed"], f"{100 * entry['fp32']:.1f}", *cells, entry["auto_images"], entry["images"]]
        )
    headers = ["set", "draw", "FP32", "PTQ, 16 images", "PTQ, 128", "PTQ, auto", "auto's number", "judged on images"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


TABLES = {"curves": curves_table, "auto": auto_table, "maps": maps_table}
