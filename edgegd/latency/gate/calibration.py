"""A/A calibration of a device: what two copies of one model differ by from launch to launch, and what a gate sees so.

A calibration is one JSON file a target, thread count and spinning. It counts for measurements on a device of the same
fingerprint and with blocks and quads of the same number and length, because both decide how much launches differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import exp
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from edgegd.atomic_files import explaining_full_disk
from edgegd.device.answers import by_name, many, number, one_of, problem_of, record, text, whole
from edgegd.device.fingerprint import differences
from edgegd.errors import DeviceCalibrationError, InvalidMeasurementError
from edgegd.json_files import read_json, write_json
from edgegd.latency.measuring.record import Measurement
from edgegd.latency.measuring.validity import unsound
from edgegd.latency.statistics.sequential_test import GateRule, outcomes
from edgegd.latency.statistics.signed_rank import hodges_lehmann

SCHEMA = 1
LEAST_LAUNCHES = 10  # the standard deviation of so few normal observations is known to a quarter
POWER = 0.95
DRAWS = 4_000  # a probability of 95 % is then known to 0.3 points


@dataclass(frozen=True)
class Calibration:
    """The (launches,) log ratios of two copies of one model on a target, what the device was, and how it was measured.

    `made` is the time at which the measurement started, ISO 8601.
    """

    target: str
    fingerprint: Mapping[str, Any]
    threads: int
    spinning: bool
    quads: int
    block_s: float
    launch_ratios: tuple[float, ...]
    made: str

    def unlike(self, measurement: Measurement) -> tuple[str, ...]:
        """Why the calibration does not count for a measurement, as `key: calibrated, measured`; empty if it does."""
        found = differences(self.fingerprint, measurement.launches[0].fingerprint) if measurement.launches else ()
        design = {"quads": measurement.design.quads, "block_s": measurement.design.block_s}
        return found + differences({"quads": self.quads, "block_s": self.block_s}, design)


def calibrate(measurement: Measurement) -> Calibration:
    """The calibration from a measurement of two models with the same SHA-256.

    Raises InvalidMeasurementError for other models, a device that changed on the way, samples that are no durations,
    more than 20 % discarded quads, or fewer than LEAST_LAUNCHES launches that can be used.
    """
    hashes = [file.sha256 for file in measurement.models.values()]
    if len(hashes) != 2 or len(set(hashes)) != 1:
        raise InvalidMeasurementError(
            "A calibration needs a measurement of two copies of one model.",
            expected="two models with the same SHA-256",
            found=", ".join(hashes),
            mend="run `edgegd latency calibrate`",
        )
    reason = unsound(measurement)
    discarded, quads = len(measurement.discarded()), measurement.planned_quads()
    if not reason and discarded > GateRule.max_discarded * quads:
        reason = f"{discarded} of {quads} quads had to be discarded."
    if reason:
        raise InvalidMeasurementError(
            f"{measurement.target} cannot be calibrated from this measurement.",
            found=reason,
            mend="let nothing else run on the device, cool it, and calibrate again",
        )
    ratios = measurement.launch_ratios(list(measurement.models)[1])
    if len(ratios) < LEAST_LAUNCHES:
        raise InvalidMeasurementError(
            f"{measurement.target} cannot be calibrated from so few launches.",
            expected=f"at least {LEAST_LAUNCHES} that can be used",
            found=str(len(ratios)),
            mend="calibrate again with more launches",
        )
    design = measurement.design
    return Calibration(
        measurement.target,
        dict(measurement.launches[0].fingerprint),
        design.threads,
        design.spinning,
        design.quads,
        design.block_s,
        tuple(ratios.tolist()),
        measurement.started,
    )


def detectable(calibration: Calibration, rule: GateRule) -> float:
    """The smallest true ratio (above 1) that `rule` calls REGRESSED with 95 % probability on the calibrated device.

    Gates are drawn from the device's own launches (seeded bootstrap) and go through the same looks. It is an estimate:
    from 20 launches, the spread it rests on is known to about a sixth.
    """
    return _detectable(calibration.launch_ratios, rule)


def pass_probability(calibration: Calibration, rule: GateRule) -> float:
    """The probability that `rule` passes a candidate that is exactly as fast as its reference on the device."""
    return _pass_probability(calibration.launch_ratios, rule)


@lru_cache(maxsize=64)
def _detectable(launch_ratios: tuple[float, ...], rule: GateRule) -> float:
    draws = _bootstrap(launch_ratios, rule)
    # Shifting a gate's launches up can turn its verdict only towards REGRESSED; past `high` all of them are beyond the
    # margin, and every gate is REGRESSED.
    low, high = rule.log_margin, rule.log_margin + float(np.abs(draws).max()) + 1e-6
    while high - low > 1e-5:
        middle = (low + high) / 2
        if np.mean(outcomes(draws + middle, rule)[0] == 1) >= POWER:
            high = middle
        else:
            low = middle
    return exp(high)


@lru_cache(maxsize=64)
def _pass_probability(launch_ratios: tuple[float, ...], rule: GateRule) -> float:
    return float(np.mean(outcomes(_bootstrap(launch_ratios, rule), rule)[0] == -1))


def _bootstrap(launch_ratios: tuple[float, ...], rule: GateRule) -> NDArray[np.float64]:
    """(DRAWS, launches of the last look) draws of the centred observations.

    Residuals are smaller than errors by sqrt(1 - 1 / n), which is undone (Davison and Hinkley 1997, Bootstrap Methods
    and their Application, 6.2.3, modified residuals, with the leverage 1 / n of a centre).
    """
    observed = np.array(launch_ratios)
    residuals = (observed - hodges_lehmann(observed)) / np.sqrt(1 - 1 / len(observed))
    return np.random.default_rng(0).choice(residuals, (DRAWS, rule.looks[-1]))


_TEXT, _COUNT = text(10_000), whole(0, 1_000_000)
_STORED = record(
    {
        "target": _TEXT,
        "fingerprint": by_name(lambda value, where: None, 1000),
        "threads": _COUNT,
        "spinning": one_of(True, False),
        "quads": _COUNT,
        "block_s": number(0, 1e6),
        "made": _TEXT,
        "launch_ratios": many(number(-20, 20), LEAST_LAUNCHES, 100_000),  # logarithms
    }
)


def from_json(fields: Any) -> Calibration:
    """The calibration whose `dataclasses.asdict` was stored as JSON; ValueError or TypeError where it is none."""
    if wrong := problem_of(_STORED, fields):
        raise ValueError(wrong)
    return Calibration(**fields | {"launch_ratios": tuple(map(float, fields["launch_ratios"]))})


def save(calibration: Calibration, folder: Path) -> Path:
    """Writes the calibration into `folder`, atomically, and returns the file's path."""
    path = _path(calibration.target, calibration.threads, calibration.spinning, folder)
    with explaining_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, **asdict(calibration)})
    return path


def load(target: str, threads: int, spinning: bool, folder: Path) -> Calibration | None:
    """The stored calibration of a target for a thread count, None where there is none.

    Raises DeviceCalibrationError for a file that is damaged or of another schema.
    """
    path = _path(target, threads, spinning, folder)
    if not path.exists():
        return None
    try:
        fields = read_json(path)
        if not isinstance(fields, dict) or fields.pop("schema", None) != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        return from_json(fields)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceCalibrationError(
            f"The calibration of {target} cannot be read.",
            expected=f"a file of schema {SCHEMA} that `edgegd latency calibrate` wrote",
            found=f"{path}: {type(error).__name__}: {error}",
            mend="calibrate the device again",
        ) from error


def _path(target: str, threads: int, spinning: bool, folder: Path) -> Path:
    return folder / f"{quote(target, safe='')}-{threads}-threads{'-spinning' if spinning else ''}.json"
