"""The committed error rates of the accuracy gate. Oracles: what the gate claims, and pycocotools on repeated images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import accuracy_gate_error_rates as rates
import numpy as np
import pytest
from made_detections import made_up
from result_file import ResultFile

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.weighted import mean_precisions

ENTRIES: list[dict[str, Any]] = ResultFile("accuracy_gate_error_rates").entries


def key(entry: dict[str, Any]) -> str:
    return f"{entry['population']}, {entry['pair']}, {entry['images']}"


def test_every_row_was_counted() -> None:
    counted = {tuple(entry[name] for name in ("population", "pair", "images", "sets")) for entry in ENTRIES}
    assert counted == {tuple(asdict(row).values()) for row in rates.ROWS}


@pytest.mark.parametrize("entry", ENTRIES, ids=key)
def test_no_row_is_wrong_more_often_than_chance_allows(entry: dict[str, Any]) -> None:
    """5 % of the row's gates, and two and a half standard deviations of such a count."""
    most = 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / entry["sets"])
    for name in ("false_pass", "false_regressed"):
        assert entry["bounds"]["gate"][name] <= most


def test_no_row_of_real_pairs_is_wrong_in_more_than_5_of_100() -> None:
    """docs/gate.md says so."""
    real = [entry for entry in ENTRIES if not entry["population"].startswith("made-up")]
    assert {entry["images"] for entry in real} == {30, 87} and len(real) > 20
    for name in ("false_pass", "false_regressed"):
        assert max(entry["bounds"]["gate"][name] for entry in real) <= 0.05


def test_percentiles_of_few_images_do_not_hold() -> None:
    (six,) = [entry for entry in ENTRIES if entry["images"] == 6]
    for method in ("percentile", "bca"):
        assert six["bounds"][method]["false_pass"] + six["bounds"][method]["false_regressed"] > 0.15


def test_draws_alone_miss_damage_that_is_sparse() -> None:
    """Which is why the gate has a rule for it."""
    for entry in ENTRIES:
        if entry["images"] == 30 and entry["pair"].startswith(("dropped 0.02", "class", "failing")):
            assert entry["bounds"]["bootstrap"]["false_pass"] > 0.15, key(entry)


def test_known_damage_is_found_and_an_equal_model_is_not_regressed() -> None:
    for entry in ENTRIES:
        if abs(entry["difference"]) < rates.MARGIN / 2:
            assert entry["verdicts"]["REGRESSED"] <= 0.02, key(entry)


def test_a_set_taken_from_a_population_is_pycocotools_on_these_images() -> None:
    truth, found = made_up(2, scores=10**6)
    chosen = np.array([3, 3, 7, 0, 9, 3, 10])
    of = GroundTruth(
        tuple(truth.image_paths[i] for i in chosen),
        tuple(truth.boxes[i] for i in chosen),
        tuple(truth.class_ids[i] for i in chosen),
        truth.names,
    )
    taken, whole = rates.taken(score(found, truth).matches, chosen), score([found[i] for i in chosen], of)
    assert taken.images == 7 and taken.labelled_images == whole.matches.labelled_images
    assert mean_precisions(taken, np.ones((1, 7), np.int64)).map50_95[0] == pytest.approx(whole.map50_95, abs=1e-12)
    weights = np.array([[2, 0, 1, 1, 0, 1, 2]])
    both = [mean_precisions(one, weights).map50_95[0] for one in (taken, whole.matches)]
    assert both[0] == pytest.approx(both[1], abs=1e-12)


def test_a_row_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates.interval_coverage, "POPULATION", 400)
    monkeypatch.setattr(rates, "DRAWS", 40)
    row = rates.Row("made-up, 3 classes", "weaker", 20, 4)
    entry = rates.count(row, rates.population(rates.Path(), row))
    assert entry["difference"] < 0 and set(entry["bounds"]) == set(rates.METHODS)
    assert sum(entry["verdicts"].values()) == 1.0 and entry["foretold"]["detectable"] > rates.MARGIN
    assert rates.table([entry]).splitlines()[2].startswith("made-up, 3 classes  weaker")
