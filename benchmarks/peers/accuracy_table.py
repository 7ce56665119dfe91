"""The tables of accuracy beside peers, from the entries of benchmarks/accuracy_vs_peers.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean
from typing import Any

from peers.rows import REFERENCE, ROWS
from tabulate import tabulate

HEADERS = (
    "set",
    "file",
    "kernels",
    "mAP50-95",
    "each seed",
    "against FP32",
    "against NNCF",
    "against PTQ",
    "mAP50",
    "int8 convs",
    "minutes",
    "GB",
)
PAGE_HEADERS = ("set", "file", "mAP50-95", "each seed", "against FP32 (95 %)", "in AVX2 kernels", "int8 convolutions")
EXACT, SATURATED = "exact", "x86-avx2"
"""Arithmetic of a measurement: sums in 32 bits; or the kernels of an x86 CPU without VNNI."""
SHIPPED = "shipped"
"""The file of a row of QAT that edgegd's report says to ship."""
KEYS = ("set", "row", "file", "arithmetic")
TITLES = {
    "ultralytics-fp32": "FP32",
    "openvino-fp32": "FP32 in OpenVINO",
    "nncf": "NNCF PTQ in OpenVINO",
    "nncf-accurate": "NNCF PTQ, accurate bias correction",
    "nncf-default": "NNCF PTQ, its defaults",
    "openvino": "float in OpenVINO, its default precision",
    "ncnn": "float in ncnn",
    "mnn": "float in MNN",
    "mnn-int8": "8-bit weights in MNN",
    "litert": "float in LiteRT",
    "litert-int8": "INT8 in LiteRT, Ultralytics' export",
    "ultralytics-ptq": "Ultralytics PTQ",
    "onnxruntime-minmax": "quantize_static, MinMax",
    "onnxruntime-percentile": "quantize_static, Percentile",
    "onnxruntime-entropy": "quantize_static, Entropy",
    "ultralytics-qat": "Ultralytics QAT",
    "ultralytics-qat-tuned": "Ultralytics QAT, edgegd's settings",
    "ultralytics-float": "Ultralytics float, as long",
    "edgegd-float": "edgegd float, as long",
}
Key = tuple[str, ...]
Entries = Sequence[dict[str, Any]]


def title_of(row: str, file: str) -> str:
    """What a file is, in words, and `row/file` behind it."""
    words = TITLES.get(row)
    if file == SHIPPED:
        words = "edgegd, what its report ships" + (", 7-bit weights" if row.endswith(SATURATED) else "")
    if words is None:  # edgegd-WHAT-...-PROFILE
        refinement = row.removeprefix("edgegd-ptq-").rpartition("-x86-")[0] if row.startswith("edgegd-ptq-") else ""
        words = "edgegd " + ("QAT" if file == "qat" else "FP32" if file == "fp32" else "PTQ")
        words += f", refine {refinement}" if refinement else ""
        words += ", 7-bit weights" if row.endswith(SATURATED) else ""
    return f"{words}{', last epoch' if file == 'last' else ''} (`{row}/{file}`)"


def newest(machines: Iterable[Entries]) -> list[dict[str, Any]]:
    """The entries of several machines: of each set, row, file and arithmetic, those of the machine measured last."""
    chosen: dict[Key, list[dict[str, Any]]] = {}
    for entries in machines:
        for key, own in _grouped(entries):
            if key not in chosen or max(one["date"] for one in own) > max(one["date"] for one in chosen[key]):
                chosen[key] = own
    return [entry for own in chosen.values() for entry in own]


def with_shipped(entries: Entries) -> list[dict[str, Any]]:
    """The entries, and of every run with a QAT file the one of its files that edgegd's report says to ship, again.

    The report's rule (edgegd.report.ship) is QAT where the interval of its gain over PTQ lies above 0, else PTQ. Every
    seed has its own choice. Its epoch was chosen on the same images, here as in the report.
    """
    runs = {(entry["set"], entry["row"], entry["seed"], entry["arithmetic"], entry["file"]): entry for entry in entries}
    shipped = []
    for (*run, file), entry in runs.items():
        measured = runs.get((*run[:3], EXACT, "qat"), {})  # the report's arithmetic
        gain = measured.get("differences", {}).get("ptq", {}).get("map50_95")
        ptq = runs.get((*run, "ptq"))
        if file == "qat" and gain and ptq is not None:
            shipped.append((entry if gain[1] > 0 else ptq) | {"file": SHIPPED})
    return [*entries, *shipped]


def accuracy_lines(entries: Entries) -> list[list[str]]:
    """One line for each set, row, file and kernels: means over the seeds, and each seed."""
    return [
        [
            *key[:1],
            f"{key[1]}/{key[2]}",
            key[3],
            _mean(own, "map50_95"),
            _seeds(own),
            _difference(own, REFERENCE),
            _difference(own, "nncf" if key[3] == EXACT else f"nncf in {SATURATED} kernels"),
            _difference(own, "ptq"),
            _mean(own, "map50"),
            _convolutions(own[0]),
            f"{mean(entry['seconds'] for entry in own) / 60:.1f}",
            f"{max(peaks) / 1024:.1f}" if (peaks := [one["peak_mb"] for one in own if "peak_mb" in one]) else "",
        ]
        for key, own in _grouped(with_shipped(entries))
    ]


def page_lines(entries: Entries) -> list[list[str]]:
    """One line for each set and file of interest: exact arithmetic, and AVX2 kernels beside it where they differ."""
    groups = dict(_grouped(with_shipped(entries)))
    return [
        [
            key[0],
            title_of(key[1], key[2]),
            _mean(own, "map50_95"),
            _seeds(own),
            _difference(own, REFERENCE),
            _mean(groups.get((*key[:3], SATURATED), ()), "map50_95"),
            _convolutions(own[0]),
        ]
        for key, own in groups.items()
        if key[3] == EXACT and key[2] != "fp32" and not (key[2] == "last" and "qat" in key[1])
    ]


def _grouped(entries: Entries) -> Iterator[tuple[Key, list[dict[str, Any]]]]:
    """The entries by KEYS: sets as they come, rows as peers.rows has them, seeds ascending."""
    keys = [tuple(entry[name] for name in KEYS) for entry in entries]
    sets, rows = list(dict.fromkeys(key[0] for key in keys)), list(ROWS)
    for key in sorted(dict.fromkeys(keys), key=lambda key: (sets.index(key[0]), rows.index(key[1]))):
        own = [entry for entry, its in zip(entries, keys, strict=True) if its == key]
        yield key, sorted(own, key=lambda entry: entry["seed"])


def _convolutions(entry: dict[str, Any]) -> str:
    """How many of a file's convolutions run in integers, where its runtime tells."""
    return f"{entry['int8_convs']} of {entry['convs']}" if "convs" in entry else ""


def _mean(entries: Entries, name: str) -> str:
    return f"{100 * mean(entry[name] for entry in entries):.2f}" if entries else ""


def _seeds(entries: Entries) -> str:
    return " ".join(f"{100 * entry['map50_95']:.2f}" for entry in entries)


def _difference(entries: Entries, other: str) -> str:
    """The mean of the seeds' differences, and the lowest and the highest bound of their intervals.

    Empty for entries of before intervals were measured.
    """
    found = [entry["differences"][other]["map50_95"] for entry in entries if other in entry.get("differences", {})]
    if not found:
        return ""
    values, lows, highs = zip(*found, strict=True)
    return f"{100 * mean(values):+.2f} ({100 * min(lows):+.2f} to {100 * max(highs):+.2f})"


def table(headers: Sequence[str], lines: Sequence[Sequence[str]], form: str = "simple") -> str:
    """The lines under their headers."""
    return tabulate(lines, headers, tablefmt=form, disable_numparse=True)
