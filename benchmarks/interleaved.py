"""Launches of paired latency measurements that are added up: each is an entry of a ResultFile, so none is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from result_file import ResultFile

from edgegd.latency.measuring.measure import measure
from edgegd.latency.measuring.result import speedup
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target


def measure_launch(
    results: ResultFile,
    key: Mapping[str, Any],
    files: Mapping[str, Path],
    settings: LatencySection,
    target: Target,
    *,
    packages: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
    runtimes: Mapping[str, str] | None = None,
) -> None:
    """Measures one launch of all files and stores it under `key`, of which `launch` is the number.

    The order of the files is drawn anew for every launch. `packages` are versions of further packages, `more`
    are further values of the entry, `runtimes` those of the files that onnxruntime does not run.
    """
    print(" ".join(f"{name} {value}" for name, value in key.items()), "...", file=sys.stderr, flush=True)
    result = measure(files, replace(settings, launches=1), target, seed=key["launch"], runtimes=runtimes)
    latencies = {}
    for name in files:
        own = [block.median_ms for block in result.blocks if block.model == name]
        latency = result.models[name]
        latencies[name] = {
            "block_medians_ms": own,
            "median_ms": latency.median_ms,
            "p90_ms": latency.p90_ms,
            "sha256": latency.model_sha256,
        }
    results.add(
        {
            **key,
            "spinning": settings.spinning,
            "block_s": settings.block_s,
            "stable": result.stable,
            "files": latencies,
            **(more or {}),
        },
        packages,
    )


def missing(results: ResultFile, key: Mapping[str, Any], launches: int) -> Iterable[int]:
    """The numbers of the launches under `key` that are not measured yet."""
    done = {entry["launch"] for entry in results.find(**key)}
    return [launch for launch in range(launches) if launch not in done]


def require_same_files(results: ResultFile, key: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """Drops what was measured under `key` of files that are not these any more: it is measured anew."""

    def is_stale(entry: Mapping[str, Any]) -> bool:
        measured = {name: file["sha256"] for name, file in entry["files"].items()}
        return all(entry[name] == value for name, value in key.items()) and measured != dict(hashes)

    dropped = results.drop(is_stale)
    if dropped:
        print(f"{key}: files changed, so {dropped} launches are measured anew", file=sys.stderr)


def median_ms(entries: Sequence[Mapping[str, Any]], name: str) -> float:
    """The median of a file's launches, in ms."""
    return median(entry["files"][name]["median_ms"] for entry in entries)


def ratio(entries: Sequence[Mapping[str, Any]], reference: str, name: str) -> tuple[float, float, float]:
    """How many times faster than `reference` a file is, from neighbouring blocks; and its 95 % interval."""
    blocks = [
        np.log(np.array(entry["files"][reference]["block_medians_ms"]) / entry["files"][name]["block_medians_ms"])
        for entry in entries
    ]
    return speedup(np.array(blocks))  # (launches, blocks)


def ratio_of_launches(entries: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], name: str) -> float:
    """The median, over launches of equal number, of a file's time in `entries` by its time in `others`."""
    second = {entry["launch"]: entry["files"][name]["median_ms"] for entry in others}
    return median(
        entry["files"][name]["median_ms"] / second[entry["launch"]] for entry in entries if entry["launch"] in second
    )
