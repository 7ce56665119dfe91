"""Other runtimes beside the run's edge file: who is faster, at which mAP, as data, as a table and in sentences.

A runtime is faster or slower where the 95 % interval of the ratio of times lies on one side of 1. Its model is as
accurate as the edge file where the interval of the difference of their mAP50-95 includes 0, measured on the same
images, and more or less accurate where it lies on one side of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegd.report.blocks import Table
from edgegd.report.ship import signed_points
from edgegd.report.words import percent

_HEADERS = [
    "target",
    "threads",
    "model",
    "median ms",
    "p90 ms",
    "speed vs edge",
    "mAP50-95",
    "points vs edge",
    "verdict",
]


def rival(name: str, speed: Mapping[str, float], difference: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of another runtime's model beside the edge file, with `verdict` (faster, slower, undecided) and
    `accuracy` (same, more, less).

    `speed` has `speedup`, `speedup_low` and `speedup_high`: the edge file's time by the model's; `difference` the
    model's mAP50-95 minus the edge file's in 0..1, and its `interval`.
    """
    low, high = difference["interval"]
    is_faster, is_slower = speed["speedup_low"] > 1, speed["speedup_high"] < 1
    accuracy = "less" if high < 0 else "more" if low > 0 else "same"
    return {
        "model": name,
        "speed": [speed["speedup"], speed["speedup_low"], speed["speedup_high"]],
        "difference": [difference["difference"], low, high],
        "accuracy": accuracy,
        "verdict": "faster" if is_faster else "slower" if is_slower else "undecided",
    }


def beside_rivals(measured: Mapping[str, Any], accuracy: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Number of threads -> every other runtime's `rival`, the fastest first.

    `measured` is number of threads -> a LatencyResult's JSON, whose reference is the edge file of `variant`; `accuracy`
    is model -> what its stage measured.
    """
    return {
        threads: sorted(
            (
                rival(name, result["models"][name], made["differences"][f"{name}_vs_{variant}"]["map50_95"])
                for name, made in accuracy.items()
            ),
            key=lambda one: -one["speed"][0],
        )
        for threads, result in measured.items()
    }


def beside_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line a target, number of threads and model; `results` is target -> what was stored of it."""
    rows = []
    for target, stored in results.items():
        for threads, result in stored["threads"].items():
            of_others = {one["model"]: one for one in stored["rivals"][threads]}
            for name, latency in result["models"].items():
                rows.append(
                    [
                        target,
                        threads,
                        _title(name, stored),
                        f"{latency['median_ms']:.2f}",
                        f"{latency['p90_ms']:.2f}",
                        _speed([latency[key] for key in ("speedup", "speedup_low", "speedup_high")]),
                        percent(stored["map50_95"][name]),
                        _points(of_others[name]["difference"]) if name in of_others else "",
                        _verdict(of_others[name]) if name in of_others else "",
                    ]
                )
    return Table(_HEADERS, rows)


def beside_sentences(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for every target and number of threads: which other runtimes are faster, and how accurate they are."""
    return [
        _sentence(target, threads, stored["edge"], rivals)
        for target, stored in results.items()
        for threads, rivals in stored["rivals"].items()
    ]


def _sentence(target: str, threads: str, edge: str, rivals: list[dict[str, Any]]) -> str:
    where = f"On {target} with {threads} {'thread' if threads == '1' else 'threads'}"
    faster = [one for one in rivals if one["verdict"] == "faster"]
    said = [f"{where} {_faster(one)}" for one in faster if one["accuracy"] != "less"]
    if said:
        return f"{'; '.join(said)}; all compared with {edge}."
    parts = [f"{where} no other runtime is shown to be faster than {edge} at the same accuracy"]
    parts += [f"{one['model']} is as fast within {_speed(one['speed'])}" for one in rivals if _may_equal(one)]
    parts += [_faster(one) for one in faster]
    return "; ".join(parts) + "."


def _may_equal(one: Mapping[str, Any]) -> bool:
    return bool(one["verdict"] == "undecided" and one["accuracy"] != "less")


def _faster(one: Mapping[str, Any]) -> str:
    at = {"same": "at the same accuracy", "more": "and more accurate", "less": "but less accurate"}[one["accuracy"]]
    return f"{one['model']} is faster {at}: {_speed(one['speed'])}, mAP50-95 {_points(one['difference'])} points"


def _title(name: str, stored: Mapping[str, Any]) -> str:
    if name in stored["versions"]:
        return f"{name} ({stored['versions'][name]})"
    return f"{name}.onnx in onnxruntime"


def _verdict(one: Mapping[str, Any]) -> str:
    return f"{one['verdict']}, {'same accuracy' if one['accuracy'] == 'same' else one['accuracy'] + ' accurate'}"


def _speed(values: list[float]) -> str:
    value, low, high = values
    return f"{value:.2f}x [{low:.2f}, {high:.2f}]"


def _points(values: list[float]) -> str:
    value, low, high = signed_points(values)
    return f"{value} [{low}, {high}]"
