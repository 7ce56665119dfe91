"""The report as data: what report.json holds, put together from the records of the stages."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegd.recipe.schema import Recipe

REPORT_SCHEMA = 1
VARIANTS = ("fp32", "ptq", "qat")
CENSUS_KEYS = ("int8_convs", "float_convs", "planned_float_convs")


def build_report(recipe: Recipe, name: str, stages: dict[str, Any]) -> dict[str, Any]:
    """The report of a finished run.

    `stages` holds the JSON of data, calibration, descent, verify, accuracy and latency; mAPs are in 0..1, times in ms.
    """
    accuracy, latency, verify = stages["accuracy"], stages["latency"], stages["verify"]
    ranges = stages["calibration"]["ranges"]
    weakest = sorted(ranges, key=lambda group: ranges[group]["sqnr_db"])[:5]
    return {
        "schema": REPORT_SCHEMA,
        "recipe": name,
        "settings": dataclasses.asdict(recipe),
        "data": stages["data"]["check"] | {"names": stages["data"]["names"]},
        "accuracy": {
            variant: {key: accuracy[variant][key] for key in ("map50_95", "map50", "per_class", "images")}
            for variant in VARIANTS
        },
        "census": {
            variant: {key: verify["census"][variant][key] for key in CENSUS_KEYS}
            for variant in ("ptq", "qat")
        },
        "parity": verify["parity"],
        "tolerance": verify["tolerance"],
        "latency": {variant: latency["models"][variant] for variant in VARIANTS},
        "latency_conditions": {
            "stable": latency["stable"], "settings": latency["settings"], "fingerprint": latency["fingerprint"],
        },
        "descent": stages["descent"],
        "weakest_ranges": [{"group": group, **ranges[group]} for group in weakest],
    }  # fmt: skip
