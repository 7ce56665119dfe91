"""The tables of docs/labels.md, from benchmarks/results/label_faults.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from planted_labels import KINDS
from result_file import ResultFile
from tabulate import tabulate

SOURCES = {
    "unseen": "trained on other images, clean labels",
    "trained": "trained on the faulted labels",
    "out of fold": "trained on the other half, faulted",
}
METHODS = {
    "support": "support",
    "cleanlab": "cleanlab",
    "cleanlab, own thresholds": "cleanlab, thresholds of the run",
    "loss of the image": "loss of the image",
}


def faults_table() -> str:
    """A row for each set, source of predictions and method: average precision and share among the first, by kind."""
    lines = []
    for entry in _entries():
        for method in entry["found"][0]["kinds"]:
            cells = []
            for kind in KINDS:
                if method == "loss of the image" and kind == "overlooked":
                    cells.append("-")
                    continue
                found = [
                    _over(entry, lambda one, key=key, m=method, k=kind: one["kinds"][m][k][key])
                    for key in ("average_precision", "among_first")
                ]
                cells.append(f"{found[0]:.2f}, {found[1]:.2f}")
            images = _over(entry, lambda one, m=method: one["image_ap"][m])
            lines.append([entry["set"], SOURCES[entry["kind"]], METHODS[method], *cells, f"{images:.2f}"])
    return _table(["set", "FP32 was", "suspects by", *KINDS, "images"], lines)


def listed_table() -> str:
    """A row for each set and source: what `edgegd labels` lists, and how much of it was planted."""
    lines = []
    for entry in _entries():
        cells = []
        for kind in KINDS:
            rows, precision, recall = (
                _over(entry, lambda one, key=key, k=kind: one["listed"][k][key] or 0.0)
                for key in ("rows", "precision", "recall")
            )
            cells.append(f"{rows:.0f}: {precision:.2f}, {recall:.2f}")
        planted = entry["faults"]["swapped"]
        wrong = _over(entry, lambda one: one["wrong_images"])
        counts = [entry["images"], entry["boxes"], planted, f"{wrong:.0f}", len(entry["seeds"])]
        lines.append([entry["set"], SOURCES[entry["kind"]], *map(str, counts), *cells])
    headers = ["set", "FP32 was", "images", "labels", "faults of each kind", "images with a fault", "seeds", *KINDS]
    return _table(headers, lines)


TABLES = {"label faults": faults_table, "listed labels": listed_table}


def _entries() -> list[dict[str, Any]]:
    order = list(SOURCES)
    return sorted(ResultFile("label_faults").entries, key=lambda entry: (entry["set"], order.index(entry["kind"])))


def _over(entry: dict[str, Any], value: Callable[[dict[str, Any]], float]) -> float:
    """The mean over the seeds."""
    return float(np.mean([value(one) for one in entry["found"]]))


def _table(headers: list[str], lines: list[list[str]]) -> str:
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)
