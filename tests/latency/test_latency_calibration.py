"""A/A calibration: what it says a gate will find is held against gates drawn from the true distribution."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_measurement import FINGERPRINT, made_measurement

from edgegd.errors import DeviceCalibrationError, InvalidMeasurementError
from edgegd.latency.gate.calibration import Calibration, calibrate, detectable, load, pass_probability, save
from edgegd.latency.measuring.record import Measurement
from edgegd.latency.statistics.sequential_test import GateRule, outcomes

RULE = GateRule()
SAME = ("a", "a")


def normal(sd: float, launches: int = 400, seed: int = 0, bias: float = 0.0) -> Calibration:
    ratios = bias + sd * np.random.default_rng(seed).standard_normal(launches)
    return Calibration("board", FINGERPRINT, 1, False, 4, 0.2, tuple(ratios.tolist()), "then")


@pytest.mark.parametrize("sd", [0.005, 0.01, 0.02])
def test_the_detectable_effect_is_found_in_95_percent_of_gates_from_the_true_distribution(sd: float) -> None:
    shift = np.log(detectable(normal(sd), RULE))
    drawn = sd * np.random.default_rng(99).standard_normal((10_000, 20))
    found = np.mean(outcomes(drawn + shift, RULE)[0] == 1)
    assert found == pytest.approx(0.95, abs=0.03)  # 400 launches tell the SD to 3.5 %, that is 2 points of power here


def test_the_probability_to_pass_is_that_of_gates_from_the_true_distribution() -> None:
    drawn = 0.025 * np.random.default_rng(99).standard_normal((10_000, 20))
    passed = np.mean(outcomes(drawn, RULE)[0] == -1)
    assert 0.5 < passed < 0.995
    assert pass_probability(normal(0.025), RULE) == pytest.approx(passed, abs=0.02)


def test_a_noisier_device_shows_less_and_passes_less() -> None:
    noise = (0.002, 0.01, 0.02, 0.04)
    effects = [detectable(normal(sd), RULE) for sd in noise]
    passes = [pass_probability(normal(sd), RULE) for sd in noise]
    assert effects == sorted(effects) and len(set(effects)) == len(noise)
    assert passes == sorted(passes, reverse=True)
    assert effects[0] > 1.03, "nothing within the margin is ever to be found"


def test_a_device_without_any_spread_shows_all_that_is_beyond_the_margin() -> None:
    still = replace(normal(0.01), launch_ratios=(0.001,) * 20)
    assert detectable(still, RULE) == pytest.approx(1.03, abs=1e-4) and pass_probability(still, RULE) == 1.0


def test_where_the_two_copies_stand_does_not_matter_only_their_spread() -> None:
    assert detectable(normal(0.01, bias=0.02), RULE) == pytest.approx(detectable(normal(0.01), RULE), abs=2e-5)


def test_the_same_calibration_always_says_the_same_of_the_same_rule() -> None:
    assert detectable(normal(0.01), RULE) == detectable(normal(0.01), GateRule())
    assert detectable(normal(0.01), RULE) != detectable(normal(0.01), GateRule(looks=(8,), split=(1.0,)))


def test_calibrating_keeps_the_ratios_and_what_they_hold_for() -> None:
    ratios = 0.01 * np.random.default_rng(0).standard_normal(12)
    made = calibrate(made_measurement(ratios, hashes=SAME))
    assert made.launch_ratios == pytest.approx(ratios, abs=1e-8)
    assert (made.target, made.quads, made.block_s, made.made) == ("board", 4, 0.2, "2025-01-01T00:00:00+00:00")
    assert made.unlike(made_measurement(ratios)) == ()
    assert made.unlike(made_measurement(ratios, quads=6)) == ("quads: 4, 6",)
    changed = made_measurement(ratios, fingerprints={0: {**FINGERPRINT, "cpu": "another"}})
    assert made.unlike(changed) == ("cpu: made up, another",)


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        (made_measurement(np.zeros(12)), "two copies of one model"),
        (made_measurement(np.zeros(9), hashes=SAME), "board cannot be calibrated from so few launches"),
        (made_measurement(np.zeros(12), hashes=SAME, throttled=frozenset((i, 0) for i in range(10))), "10 of 48 quads"),
        (made_measurement(np.zeros(12), hashes=SAME, fingerprints={3: {}}), "another one in launch 3"),
    ],
    ids=["unlike models", "few", "throttled", "other device"],
)
def test_what_is_no_sound_measurement_of_one_model_twice_is_refused(measurement: Measurement, message: str) -> None:
    with pytest.raises(InvalidMeasurementError, match=message):
        calibrate(measurement)


def test_a_calibration_is_stored_by_target_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "calibrations"
    one, other = normal(0.01), replace(normal(0.02), target="ssh://pi@board:22")
    two = replace(one, threads=2, spinning=True)
    paths = {save(calibration, folder) for calibration in (one, other, two)}
    assert len(paths) == 3, "another thread count does not replace the first"
    assert load("board", 1, False, folder) == one and load("board", 2, True, folder) == two
    assert load("ssh://pi@board:22", 1, False, folder) == other
    assert load("unknown", 1, False, folder) is None and load("board", 2, False, folder) is None
    newer = replace(one, made="now")
    assert save(newer, folder) in paths and load("board", 1, False, folder) == newer
    assert set(folder.iterdir()) == paths, "nothing temporary is left"


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        fields = json.loads(text)
        change(fields)
        return json.dumps(fields)

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "",
        edited(lambda fields: fields.update(schema=2)),
        edited(lambda fields: fields.pop("schema")),
        edited(lambda fields: fields.pop("quads")),
        edited(lambda fields: fields.update(surprise=1)),
        edited(lambda fields: fields.update(fingerprint=None)),
        edited(lambda fields: fields["launch_ratios"].append("x")),
        edited(lambda fields: fields["launch_ratios"].append(float("nan"))),
        edited(lambda fields: fields.update(launch_ratios=[0.0])),
    ],
    ids=["cut", "list", "empty", "schema", "no schema", "no quads", "unknown key", "fingerprint", "text", "nan", "one"],
)
def test_a_damaged_calibration_is_named_with_its_file(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = save(normal(0.01), tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DeviceCalibrationError, match="calibrate the device again") as raised:
        load("board", 1, False, tmp_path)
    assert str(path) in raised.value.message()
