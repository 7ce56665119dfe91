"""The committed coverage of mAP's intervals. Oracle: what an interval of 95 % promises, counted on made-up sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import interval_coverage
import pytest
from result_file import ResultFile

from edgegd.report.ship import FEWEST_IMAGES

ENTRIES: list[dict[str, Any]] = ResultFile("interval_coverage").entries
ENOUGH = [entry for entry in ENTRIES if entry["images"] >= FEWEST_IMAGES]


def test_every_setting_was_counted() -> None:
    keys = ("images", "classes", "boxes", "gain")
    counted = [{key: entry[key] for key in keys} for entry in ENTRIES]
    assert counted == [asdict(setting) for setting in interval_coverage.SETTINGS]


@pytest.mark.parametrize("entry", ENOUGH, ids=lambda entry: f"{entry['images']} images, {entry['classes']} classes")
def test_differences_hold_what_they_promise_from_the_fewest_images_on(entry: dict[str, Any]) -> None:
    """Of 400 sets; 95 % would be right, and intervals from few images are a little too narrow."""
    assert entry["sets"] == 400 and entry["difference"]["holds_population"] >= 0.92
    if not entry["gain"]:
        assert entry["difference"]["above_0"] <= 0.045  # QAT would be shipped for nothing: 2.5 % would be right
    assert entry["model"]["holds_mean_of_sets"] >= 0.87


def test_four_images_decide_too_often() -> None:
    (entry,) = [entry for entry in ENTRIES if entry["images"] == 4]
    assert entry["difference"]["above_0"] + entry["difference"]["below_0"] > 0.12, "the rule would need no least number"


def test_a_count_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval_coverage, "SETS", 3)
    monkeypatch.setattr(interval_coverage, "DRAWS", 50)
    monkeypatch.setattr(interval_coverage, "POPULATION", 300)
    entry = interval_coverage.coverage(interval_coverage.Setting(12, 2, 5, 0.5))
    assert entry["difference"]["population"] > 0.02 and entry["difference"]["above_0"] == 1.0
    assert interval_coverage.table([entry]).splitlines()[2].split()[:3] == ["12", "2", "0.5"]
