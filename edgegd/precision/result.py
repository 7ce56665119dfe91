"""What a search yields: the points of the front, predicted and measured, and all that they were made from; as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
_DEVICE = ("cpu", "instruction_sets", "architecture", "onnxruntime")  # of a fingerprint: what decides relative times


@dataclass(frozen=True)
class Point:
    """One plan: the addresses that it keeps float beyond the rules, and its costs.

    `predicted_ms` is the sum of measured operations and borders, `measured_ms` the median of the exported file, `ratio`
    the paired ratio of that to the FP32 file. `predicted_db` is from the sum of the operations' noises, `head_db` from
    running the whole plan, both signal-to-noise ratios at the head in dB.
    """

    name: str
    integer_operations: int
    float_addresses: tuple[str, ...]
    predicted_ms: float
    measured_ms: float
    ratio: float
    predicted_db: float
    head_db: float


@dataclass(frozen=True)
class SearchResult:
    """A whole search.

    `points` begin with the rules' own plan, then the front from its fastest plan on. `operations` has a line a unit:
    its addresses, ms in integers and in float, signal-to-noise ratio in dB when only it is quantized. `borders` are the
    fitted prices, `images` what sensitivities were measured on, `made_from` what the search depends on.
    """

    fp32_ms: float
    points: tuple[Point, ...]
    operations: tuple[dict[str, Any], ...]
    borders: dict[str, Any]
    head: tuple[str, ...]
    images: tuple[str, ...]
    threads: int
    fingerprint: dict[str, Any]
    made_from: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON-able data that from_json reads."""
        return {"schema": SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> SearchResult:
        """Reads `to_json`'s data, further keys aside; ValueError, KeyError or TypeError where it is none."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, not {SCHEMA}")
        kept = {name: data[name] for name in SearchResult.__dataclass_fields__}
        points = tuple(Point(**{**p, "float_addresses": tuple(p["float_addresses"])}) for p in kept["points"])
        tuples = {name: tuple(kept[name]) for name in ("operations", "head", "images")}
        return SearchResult(**{**kept, **tuples, "points": points})


def other_device(searched: dict[str, Any], here: dict[str, Any]) -> str:
    """A warning with both fingerprints where times of one machine need not hold on the other; empty if they do."""
    was, now = ({key: fingerprint[key] for key in _DEVICE} for fingerprint in (searched, here))
    return (
        ""
        if was == now
        else (
            f"the plan was searched on another device, whose times need not hold here\n"
            f"  searched on: {_shown(was)}\n  this device: {_shown(now)}"
        )
    )


def _shown(device: dict[str, Any]) -> str:
    sets = " ".join(device["instruction_sets"]) or "no instruction set that counts"
    return f"{device['cpu']} ({device['architecture']}, {sets}), onnxruntime {device['onnxruntime']}"
