"""The report as data: what report.json holds, put together from the records of the stages."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegd.recipe.schema import Recipe
from edgegd.report.ship import ship
from edgegd.variants import QUANTIZED, VARIANTS

REPORT_SCHEMA = 1
EDGE = {variant: f"{variant}.edge" for variant in QUANTIZED}  # the same numbers from onnxruntime's own operators
# Points of mAP50-95 by which torch under fake quantization and onnxruntime may differ on the same images.
MAP_AGREEMENT_POINTS = 0.1
CENSUS_KEYS = ("int8_convs", "float_convs", "planned_float_convs")


def build_report(recipe: Recipe, name: str, stages: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """The report of a finished run.

    `stages` holds the JSON of data, calibration, descent, verify, accuracy and latency, under `profiles` that of
    `verify --profile P` by profile, under `devices` the proofs of `edgegd prove` by target, under `beside` what
    `latency --beside` stored by target, under `tuning` a list of tune-TARGET.json, under `diagnosis` the findings on
    its descents (edgegd.report.diagnosis); where activations were swapped, under `swap` that of activation (as
    `choice`) and of the adaptation. `target` is the run's choice of a target
    profile (edgegd.pipeline.target_profile). mAPs are in 0..1, times in ms; `intervals`, `differences` and `bootstrap`
    of mAP are as in accuracy.json, and `ship` says which of PTQ and QAT to ship (edgegd.report.ship).
    `control` in `accuracy` and `differences` is the float model after the steps of QAT in float (train.control).
    `selection` says where epochs were chosen: `shared` (on the images that report), `test` (on validation images; those
    of test report) or `holdout` (on training images held out).
    """
    accuracy, latency, verify = stages["accuracy"], stages["latency"], stages["verify"]
    ranges, selection = stages["calibration"]["ranges"], _selection(stages["data"]["check"])
    weakest = sorted(ranges, key=lambda group: ranges[group]["sqnr_db"])[:5]
    return {
        "schema": REPORT_SCHEMA,
        "recipe": name,
        "settings": dataclasses.asdict(recipe),
        "target": target,
        "data": stages["data"]["check"] | {"names": stages["data"]["names"]},
        "accuracy": {
            variant: {key: accuracy[variant][key] for key in ("map50_95", "map50", "per_class", "images", "intervals")}
            for variant in (*VARIANTS, "control")
            if variant in accuracy
        },
        "differences": accuracy["differences"],
        "bootstrap": accuracy["bootstrap"],
        "selection": selection,
        "ship": ship(accuracy, stages["descent"], apart=selection != "shared"),
        "proof": {"codes": verify["proof"], "accuracy": accuracy["proof"]},
        "census": {variant: {key: verify["census"][variant][key] for key in CENSUS_KEYS} for variant in QUANTIZED},
        "parity": verify["parity"],
        "ladder": {variant: _ladder(verify["ladder"][variant]) for variant in QUANTIZED},
        "tolerance": verify["tolerance"],
        "torch_agreement": _torch_agreement(stages["descent"], accuracy["qat"]["map50_95"])
        if selection == "shared"
        else None,
        "profiles": {profile: _profile(result) for profile, result in stages["profiles"].items()},
        "latency": {name: latency["models"][name] for name in (*VARIANTS, *EDGE.values())},
        "edge": verify["edge"],
        "beside": stages["beside"],
        "latency_conditions": {
            "stable": latency["stable"],
            "faults": latency["faults"],
            "settings": latency["settings"],
            "fingerprint": latency["fingerprint"],
            "machine_profile": latency["machine_profile"],
        },
        "devices": stages["devices"],
        "descent": stages["descent"],
        "diagnosis": stages["diagnosis"],
        "tuning": stages["tuning"],
        "refinement": stages["calibration"].get("refinement"),
        "weakest_ranges": [{"group": group, **ranges[group]} for group in weakest],
    } | ({"swap": stages["swap"]} if "swap" in stages else {})


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
