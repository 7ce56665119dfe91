"""The report as data: what report.json holds, put together from the records of the stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from edgegd.recipe.schema import Recipe
from edgegd.report.ship import ship
from edgegd.report.words import TITLES
from edgegd.variants import QUANTIZED, VARIANTS

REPORT_SCHEMA = 1
EDGE = {variant: f"{variant}.edge" for variant in QUANTIZED}  # the same numbers from onnxruntime's own operators
FILES = {
    name: title
    for variant, of_variant in TITLES.items()
    for name, title in ((variant, of_variant), (EDGE.get(variant), f"{of_variant}, edge file"))
    if name
}
"""File (its name without .onnx) -> what a table calls it."""
# Points of mAP50-95 by which torch under fake quantization and onnxruntime may differ on the same images.
MAP_AGREEMENT_POINTS = 0.1
CENSUS_KEYS = ("int8_convs", "float_convs", "planned_float_convs")


def build_report(recipe: Recipe, name: str, stages: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """The report of a run; of one that is not finished, what its stages have told so far.

    `stages` holds the JSON of data, calibration, descent, verify, accuracy and latency, under `profiles` that of
    `verify --profile P` by profile, under `devices` the proofs of `edgegd prove` by target, under `beside` what
    `latency --beside` stored by target, under `operating_point`, `images`, `training_images` and `calibration_curve`
    what their commands found or None, under `tuning` a list of tune-TARGET.json, under `passes` what passes.json has of
    the QAT file, under `diagnosis` a list of findings; where activations were swapped, under `swap` that of activation
    (as `choice`) and of the adaptation. What is absent is left out. `target` is the run's choice of a target profile
    (edgegd.pipeline.target_profile). mAPs are in 0..1, times in ms; `intervals`, `differences` and `bootstrap` of mAP
    are as in accuracy.json, and `ship` says which of PTQ and QAT to ship (edgegd.report.ship). `control` in `accuracy`
    and `differences` is the float model after the steps of QAT in float (train.control). `selection` says where epochs
    were chosen: `shared` (on the images that report), `test` (on validation images; those of test report) or `holdout`
    (on training images held out). `latency_pairs` has by file the ratios of neighbouring blocks, FP32's time by the
    file's.
    """
    report = {"schema": REPORT_SCHEMA, "recipe": name, "settings": dataclasses.asdict(recipe), "target": target}
    for needed, part in _PARTS:
        if all(stage in stages for stage in needed):
            report |= part(*(stages[stage] for stage in needed))
    return report


def _of_data(data: dict[str, Any]) -> dict[str, Any]:
    return {"data": data["check"] | {"names": data["names"]}, "selection": _selection(data["check"])}


def _of_accuracy(accuracy: dict[str, Any]) -> dict[str, Any]:
    keys = ("map50_95", "map50", "per_class", "images", "intervals")
    variants = [variant for variant in (*VARIANTS, "control") if variant in accuracy]
    maps = {variant: {key: accuracy[variant][key] for key in keys} for variant in variants}
    return {"accuracy": maps, "differences": accuracy["differences"], "bootstrap": accuracy["bootstrap"]}


def _of_verify(verify: dict[str, Any]) -> dict[str, Any]:
    return {
        "census": {variant: {key: verify["census"][variant][key] for key in CENSUS_KEYS} for variant in QUANTIZED},
        "parity": verify["parity"],
        "ladder": {variant: _ladder(verify["ladder"][variant]) for variant in QUANTIZED},
        "tolerance": verify["tolerance"],
        "edge": verify["edge"],
    }


def _of_latency(latency: dict[str, Any]) -> dict[str, Any]:
    keys = ("stable", "faults", "settings", "fingerprint", "machine_profile")
    return {
        "latency": {name: latency["models"][name] for name in FILES},
        "latency_pairs": _pairs(latency.get("blocks", [])),
        "latency_conditions": {key: latency[key] for key in keys},
    }


def _of_calibration(calibration: dict[str, Any]) -> dict[str, Any]:
    ranges = calibration["ranges"]
    weakest = sorted(ranges, key=lambda group: ranges[group]["sqnr_db"])[:5]
    return {
        "calibration_set": {"images": len(calibration["images"]), "grown": calibration.get("grown")},
        "refinement": calibration.get("refinement"),
        "weakest_ranges": [{"group": group, **ranges[group]} for group in weakest],
    }


def _of_both_maps(data: dict[str, Any], descent: dict[str, Any], accuracy: dict[str, Any]) -> dict[str, Any]:
    shared = _selection(data["check"]) == "shared"
    agreement = _torch_agreement(descent, accuracy["qat"]["map50_95"]) if shared else None
    return {"ship": ship(accuracy, descent, apart=not shared), "torch_agreement": agreement}


def _of_passes(passes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"passes": [one | {"applied": len(one["applied"])} for one in passes]}


_PARTS: tuple[tuple[tuple[str, ...], Callable[..., dict[str, Any]]], ...] = (
    (("data",), _of_data),
    (("accuracy",), _of_accuracy),
    (("data", "descent", "accuracy"), _of_both_maps),
    (
        ("verify", "accuracy"),
        lambda verify, accuracy: {"proof": {"codes": verify["proof"], "accuracy": accuracy["proof"]}},
    ),
    (("verify",), _of_verify),
    (("profiles",), lambda found: {"profiles": {profile: _profile(result) for profile, result in found.items()}}),
    (("latency",), _of_latency),
    (("beside",), lambda beside: {"beside": beside}),
    (("devices",), lambda devices: {"devices": devices}),
    (("descent",), lambda descent: {"descent": descent}),
    (("operating_point",), lambda found: {"operating_point": found}),
    (("calibration_curve",), lambda found: {"calibration_curve": found}),
    (("images",), lambda found: {"images": found}),
    (("training_images",), lambda found: {"training_images": found}),
    (("tuning",), lambda tuning: {"tuning": tuning}),
    (("calibration",), _of_calibration),
    (("passes",), _of_passes),
    (("swap",), lambda swap: {"swap": swap}),
    (("diagnosis",), lambda diagnosis: {"diagnosis": diagnosis}),
)
"""The stages that a part of the report needs, and what it is made of them."""


def _pairs(blocks: list[dict[str, Any]]) -> dict[str, list[float]]:
    """By file, FP32's median by the file's own, of blocks that were run beside each other."""
    medians: dict[str, dict[int, list[float]]] = {}
    for block in blocks:
        medians.setdefault(block["model"], {}).setdefault(block["launch"], []).append(block["median_ms"])
    reference = medians.pop("fp32", {})
    return {
        name: [
            fp32 / own
            for launch, of_launch in medians[name].items()
            for fp32, own in zip(reference.get(launch, []), of_launch, strict=False)
        ]
        for name in FILES
        if name in medians
    }


def _ladder(ladder: dict[str, Any]) -> dict[str, Any]:
    """The codes of one file's parity ladder: one operation from equal inputs by rung, and torch against the file."""
    whole = ladder["steps"][-1]["codes"]
    return {
        "median_sqnr_db": ladder["median_sqnr_db"],
        "one_operation": {one["rung"]: _codes(one["codes"]) for one in ladder["one_operation"]},
        "whole": _codes(whole),
    }


def _codes(codes: dict[str, Any]) -> dict[str, Any]:
    return {key: codes[key] for key in ("tensors", "codes", "equal_share", "largest_distance")} | {
        "differing": sum(tensor["differing"] for tensor in codes["differing"].values()),
        "first_differing": next(iter(codes["differing"]), ""),
    }


def _selection(check: dict[str, Any]) -> str:
    return "test" if check.get("test_images") else "holdout" if check.get("held_out_images") else "shared"


def _torch_agreement(descent: dict[str, Any], in_onnxruntime: float) -> dict[str, Any]:
    """mAP50-95 of the kept model in torch under fake quantization beside that of qat.onnx in onnxruntime."""
    in_torch = descent["best_map50_95"]
    points = 100 * abs(in_torch - in_onnxruntime)
    return {
        "torch": in_torch,
        "onnxruntime": in_onnxruntime,
        "difference_points": points,
        "agree": points <= MAP_AGREEMENT_POINTS,
    }


def _profile(result: dict[str, Any]) -> dict[str, Any]:
    return {
        variant: {
            "file": name,
            "parity": result["parity"][variant],
            "ladder": _ladder(result["ladder"][variant]),
            "proof": result["proof"],
        }
        for variant, name in result["files"].items()
    }
