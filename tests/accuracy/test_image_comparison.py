"""All images of a measurement compared. Oracles: edgegd.accuracy.found_boxes, and sums over single images."""

from __future__ import annotations

import numpy as np
import pytest
from made_detections import made_up

from edgegd.accuracy.error_kinds import KINDS
from edgegd.accuracy.found_boxes import found_boxes
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.measured import MeasuredImages
from edgegd.runtime.detector import Detections

CONF = 0.4


def measured(truth: GroundTruth, **models: list[Detections]) -> MeasuredImages:
    count = len(truth.image_paths)
    sizes, hashes = np.full((count, 2), 300, np.int32), ("",) * count
    found = {name: tuple(of) for name, of in models.items()}
    return MeasuredImages(truth, sizes, hashes, found, dict.fromkeys(models, (300, 300)), 0.001, 0.7, 300)


@pytest.fixture(scope="module")
def made() -> MeasuredImages:
    """The model is the reference with boxes moved and scores changed, as made by lot."""
    (truth, reference), (_, other) = made_up(0), made_up(1)
    random = np.random.default_rng(2)
    model = [
        Detections(
            one.xyxy + random.normal(0, 3, one.xyxy.shape).astype(np.float32),
            np.clip(one.scores + random.normal(0, 0.1, len(one)).astype(np.float32), 0.01, 1),
            one.class_ids,
            one.names,
        )
        if index % 2
        else other[index]
        for index, one in enumerate(reference)
    ]
    return measured(truth, fp32=reference, ptq=model)


def test_totals_are_the_sums_of_the_images(made: MeasuredImages) -> None:
    result = compare_images(made, "ptq", "fp32", CONF)
    for what in ("lost", "gained", "moved", "crossed"):
        assert result[what] == sum(row[what] for row in result["images"]) > 0
    for role in ("reference", "model"):
        for kind in KINDS:
            total = result["kinds"][role][kind]
            assert total == sum(row["kinds"][role][kind] for row in result["images"])
            for axis in ("by_class", "by_size"):
                assert total == sum(row["kinds"][role][kind] for row in result[axis])
    for axis in ("by_class", "by_size"):
        assert result["boxes"] == sum(row["boxes"] for row in result[axis]) == made.truth.box_count


def test_found_boxes_are_those_of_cocos_matching(made: MeasuredImages) -> None:
    result = compare_images(made, "ptq", "fp32", CONF)
    for role, name in (("reference", "fp32"), ("model", "ptq")):
        found = found_boxes(made.detections[name], made.truth)
        true = int(np.count_nonzero(found.box_scores > CONF))
        counted = sum(of["found"] for of in result["transitions"].values())
        if role == "reference":
            counted = sum(result["transitions"]["found"].values())
        assert counted == true > 0
        errors = sum(count for kind, count in result["kinds"][role].items() if kind != "missed")
        assert errors == int(np.count_nonzero(found.scores > CONF)) - true


def test_a_model_that_is_the_reference_has_no_damage(made: MeasuredImages) -> None:
    boxes = [has_area(one) for one in made.detections["fp32"]]
    same = measured(made.truth, fp32=boxes, ptq=boxes)
    result = compare_images(same, "ptq", "fp32", CONF)
    assert all(row["damage"] == row["lost"] == row["gained"] == row["moved"] == 0 for row in result["images"])
    assert {row["score_change"] for row in result["images"]} <= {0.0, None}


def has_area(found: Detections) -> Detections:
    """Those that overlap themselves: a box made by lot may end before it begins."""
    sound = (found.xyxy[:, 2:] > found.xyxy[:, :2]).all(axis=1)
    return Detections(found.xyxy[sound], found.scores[sound], found.class_ids[sound], found.names)


def test_an_image_by_itself_is_as_among_others(made: MeasuredImages) -> None:
    whole = compare_images(made, "ptq", "fp32", CONF)["images"]
    one = measured(made.truth.first(1), fp32=[made.detections["fp32"][0]], ptq=[made.detections["ptq"][0]])
    assert compare_images(one, "ptq", "fp32", CONF)["images"] == whole[:1]


def test_nothing_labelled_and_nothing_found() -> None:
    truth, _ = made_up(0, images=2)
    none = [np.zeros((0, 4))] * 2, [np.zeros(0, np.int64)] * 2
    empty = GroundTruth(truth.image_paths, tuple(none[0]), tuple(none[1]), truth.names)
    nothing = [
        Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), truth.names)
    ] * 2
    result = compare_images(measured(empty, fp32=nothing, ptq=nothing), "ptq", "fp32", CONF)
    assert result["boxes"] == result["lost"] == 0 and result["by_class"] == []
    assert [row["loss"] for row in result["images"]] == [{"reference": 0.0, "model": 0.0}] * 2
    assert [row["score_change"] for row in result["images"]] == [None] * 2
