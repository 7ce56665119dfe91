"""mAP under weights, and its intervals. Oracles: pycocotools on sets of repeated images, and known populations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_detections import made_up

from edgegd.accuracy.bootstrap import compare, draw_images, moved_interval, percentile_interval
from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.matches import ClassMatches, Matches, matches_of
from edgegd.accuracy.weighted import mean_precisions, precision_curves
from edgegd.runtime.detector import Detections

TOLERANCE = 1e-12  # pycocotools divides by tp + fp + 2e-16, which rounds otherwise at the first of two copies


def repeated(truth: GroundTruth, found: list[Detections], weights: np.ndarray) -> AccuracyResult:
    """pycocotools' accuracy where every image stands as often as its weight says."""
    order = np.repeat(np.arange(len(weights)), weights)
    of = GroundTruth(
        tuple(truth.image_paths[i] for i in order),
        tuple(truth.boxes[i] for i in order),
        tuple(truth.class_ids[i] for i in order),
        truth.names,
    )
    return score([found[i] for i in order], of)


def ones(images: int) -> np.ndarray:
    return np.ones((1, images), np.int64)


@pytest.mark.parametrize("scores", [1000, 5, 1], ids=["few ties", "mostly ties", "all tied"])
@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_are_pycocotools_numbers_to_the_last_bit(seed: int, scores: int) -> None:
    result = score(*reversed(made_up(seed, scores=scores)))
    sampled = mean_precisions(result.matches, ones(12))
    assert (sampled.map50_95[0], sampled.map50[0]) == (result.map50_95, result.map50)
    assert 0.05 < result.map50_95 < 0.95, "equality of nothing would prove nothing"
    assert list(result.per_class.values())[-1] == {"map50_95": None, "map50": None}
    estimate = compare({"own": result.matches}, resamples=3).models["own"]
    assert (estimate["map50_95"].value, estimate["map50"].value) == (result.map50_95, result.map50)


@pytest.mark.parametrize("seed", range(4))
def test_resampled_images_are_pycocotools_on_repeated_images(seed: int) -> None:
    truth, found = made_up(seed, scores=10**6)  # two tied detections of one image are repeated one after the other
    weights = draw_images(12, resamples=15, seed=seed)
    assert (weights == 0).any() and (weights > 2).any()
    sampled = mean_precisions(score(found, truth).matches, weights)
    for row, map50_95, map50 in zip(weights, sampled.map50_95, sampled.map50, strict=True):
        expected = repeated(truth, found, row)
        assert map50_95 == pytest.approx(expected.map50_95, abs=TOLERANCE)
        assert map50 == pytest.approx(expected.map50, abs=TOLERANCE)


def test_a_class_that_a_draw_has_no_box_of_does_not_enter_its_mean() -> None:
    names = ("found", "missed")
    boxes = (np.array([[10.0, 10, 50, 50]]), np.array([[20.0, 20, 60, 60]]), np.zeros((0, 4)))
    ids = (np.array([0]), np.array([1]), np.zeros(0, int))
    truth = GroundTruth((Path("a"), Path("b"), Path("c")), boxes, ids, names)
    found = [
        Detections(of.astype(np.float32), np.ones(len(of), np.float32), np.zeros(len(of), int), names)
        for of in (boxes[0], boxes[2], boxes[2])
    ]
    weights = np.array([[1, 1, 1], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
    sampled = mean_precisions(score(found, truth).matches, weights)
    assert sampled.map50_95[:3] == pytest.approx([0.5, 1.0, 0.0]) and np.isnan(sampled.map50_95[3])
    compared = compare({"own": score(found, truth).matches}, [("own", "own")])
    assert (compared.images, compared.labelled_images) == (3, 2)
    assert compared.draws == np.count_nonzero(draw_images(3)[:, 2] < 3) < 1000
    estimate = compared.models["own"]["map50"]
    assert estimate.low < 0.05 and estimate.high > 0.95, "draws without a box are left out"


def coco_evaluation(area_range: list[float]) -> Any:
    """pycocotools on annotations of which a fifth are crowds, and with boxes outside of the area range."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = made_up(7, images=20)
    sides = [COCO(), COCO()]
    header = {"images": [{"id": i} for i in range(20)], "categories": [{"id": i} for i in range(5)]}
    number = 0
    for side, rows in zip(
        sides, (zip(truth.boxes, truth.class_ids, strict=True), ((of.xyxy, of.class_ids) for of in found)), strict=True
    ):
        side.dataset = {**header, "annotations": []}
        for image, (boxes, ids) in enumerate(rows):
            for index, (box, class_id) in enumerate(zip(boxes.tolist(), ids.tolist(), strict=True)):
                number += 1
                size = [box[2] - box[0], box[3] - box[1]]
                side.dataset["annotations"].append(
                    {
                        "id": number,
                        "image_id": image,
                        "category_id": class_id,
                        "bbox": [*box[:2], *size],
                        "area": size[0] * size[1],
                        "iscrowd": int(number % 5 == 0) if side is sides[0] else 0,
                        "score": float(found[image].scores[index]) if side is sides[1] else 0,
                    }
                )
        side.createIndex()
    evaluation = COCOeval(*sides, "bbox")
    evaluation.params.maxDets = [10]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [area_range], ["some"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


@pytest.mark.parametrize("area_range", [[0, 1e10], [1500, 5000]], ids=["crowds", "crowds and areas"])
def test_ignored_boxes_and_detections_are_pycocotools(area_range: list[float]) -> None:
    evaluation = coco_evaluation(area_range)
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (T, R, K)
    labelled = [index for index in range(5) if (precision[:, :, index] > -1).all()]
    matches = matches_of(evaluation)
    assert len(matches.classes) == len(labelled) == 4
    assert any(of_class.ignored.any() for of_class in matches.classes)
    for index, of_class in zip(labelled, matches.classes, strict=True):
        (curves,) = precision_curves(of_class, matches.recalls, ones(20))
        assert np.array_equal(curves, precision[:, :, index])


def test_several_areas_at_once_are_refused() -> None:
    evaluation = coco_evaluation([0, 1e10])
    evaluation.params.areaRng = [[0, 1e10], [0, 1024]]
    with pytest.raises(ValueError, match="one area range"):
        matches_of(evaluation)


def test_many_detections_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = score(*reversed(made_up(1))).matches
    weights = draw_images(12, resamples=50)
    whole = mean_precisions(matches, weights)
    monkeypatch.setattr("edgegd.accuracy.weighted._PIECE", 3000)  # two rows at a time
    pieces = mean_precisions(matches, weights)
    assert np.array_equal(whole.map50_95, pieces.map50_95) and np.array_equal(whole.map50, pieces.map50)


def test_draws_are_those_of_the_seed_and_of_all_images() -> None:
    weights = draw_images(7, resamples=4000, seed=3)
    assert weights.shape == (4000, 7) and (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, draw_images(7, resamples=4000, seed=3))
    assert not np.array_equal(weights, draw_images(7, resamples=4000, seed=4))
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)  # binomial: 7 draws, each with probability 1/7


def test_a_model_against_itself_differs_by_exactly_nothing() -> None:
    truth, found = made_up(0)
    a, b = score(found, truth).matches, score(found, truth).matches
    for estimate in compare({"a": a, "b": b}, [("a", "b")]).differences["a", "b"].values():
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_models_of_other_images_are_refused() -> None:
    a, b = (score(*reversed(made_up(seed))).matches for seed in (0, 1))
    with pytest.raises(ValueError, match="b was measured on other images than a"):
        compare({"a": a, "b": b})


def of_hits(hits: np.ndarray) -> Matches:
    """One box an image, detected with full score and the right overlap where `hits` says so, else not at all."""
    images = np.flatnonzero(hits)
    true = np.ones((10, len(images)), bool)
    of_class = ClassMatches(images, true, ~true, np.ones(len(hits), np.int64))
    return Matches(len(hits), np.linspace(0, 1, 101), (of_class,))


def test_the_interval_of_a_share_is_the_binomials() -> None:
    """A model without false detections: mAP of a draw is (about) the share of boxes found, a binomial variable."""
    from scipy.stats import binom

    hits = np.arange(200) % 10 < 6  # 60 %
    estimate = compare({"a": of_hits(hits)}, resamples=4000).models["a"]["map50"]
    low, high = binom.ppf([0.025, 0.975], 200, 0.6) / 200
    assert estimate.value == pytest.approx(0.6, abs=0.011)  # 101 recall levels
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))


def test_pairing_takes_out_what_both_models_share() -> None:
    hits = np.arange(200) % 10 < 6
    better = hits | (np.arange(200) % 20 == 7)  # 10 images more
    compared = compare({"a": of_hits(better), "b": of_hits(hits)}, [("a", "b")])
    difference, alone = compared.differences["a", "b"]["map50_95"], compared.models["a"]["map50_95"]
    assert difference.value == pytest.approx(0.05, abs=0.011) and 0 < difference.low < 0.05 < difference.high < 0.1
    assert difference.high - difference.low < 0.6 * (alone.high - alone.low)


def test_the_interval_is_percentiles_without_draws_that_have_no_box() -> None:
    values = np.concatenate([np.arange(1001) / 1000, np.full(50, np.nan)])
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    assert percentile_interval(values, level=0.8) == pytest.approx((0.1, 0.9))


def test_the_interval_of_one_model_is_moved_to_its_map_and_stays_a_map() -> None:
    values = np.concatenate([0.3 + np.arange(1001) / 10_000, np.full(50, np.nan)])  # mean 0.35
    assert moved_interval(0.30, values) == pytest.approx((0.2525, 0.3475))
    assert moved_interval(0.02, values) == pytest.approx((0.0, 0.0675))
    assert moved_interval(0.98, values) == pytest.approx((0.9325, 1.0))


def test_few_boxes_in_many_classes_do_not_push_the_interval_above_the_map() -> None:
    truth, found = made_up(0, images=30, classes=40)
    matches = score(found, truth).matches
    estimate = compare({"one": matches}).models["one"]["map50_95"]
    draws = mean_precisions(matches, draw_images(30)).map50_95
    assert draws.mean() - estimate.value > 0.01, "without a bias this shows nothing"
    middle = (estimate.low + estimate.high) / 2
    assert abs(middle - estimate.value) < 0.5 * (draws.mean() - estimate.value)


def population(random: np.random.Generator, images: int) -> tuple[Matches, Matches]:
    """Two models on images drawn from one population: 3 classes, about 5 boxes an image, the second a little better."""
    box_image = np.repeat(np.arange(images), random.poisson(5, images))
    false_image = np.repeat(np.arange(images), 10)
    box_class, false_class = random.integers(0, 3, len(box_image)), random.integers(0, 3, len(false_image))
    ease = random.normal(0, 0.5, images)[box_image] + random.normal(0, 1, len(box_image))
    models = []
    for better in (0.0, 0.15):
        overlap = 1 / (1 + np.exp(-1.2 - 0.8 * ease - better - random.normal(0, 0.3, len(ease))))
        scores = np.concatenate(
            [ease + better + random.normal(0, 0.3, len(ease)), random.normal(-1.5, 1, len(false_image))]
        )
        overlaps = np.concatenate([overlap, np.zeros(len(false_image))])
        order = np.argsort(-scores, kind="stable")
        true = overlaps[order] > np.arange(0.5, 1, 0.05)[:, None]
        image = np.concatenate([box_image, false_image])[order]
        class_id = np.concatenate([box_class, false_class])[order]
        of_classes = (
            ClassMatches(
                image[class_id == index],
                true[:, class_id == index],
                np.zeros((10, np.count_nonzero(class_id == index)), bool),
                np.bincount(box_image[box_class == index], minlength=images),
            )
            for index in range(3)
        )
        models.append(Matches(images, np.linspace(0, 1, 101), tuple(of_classes)))
    return models[0], models[1]


@pytest.mark.slow
def test_intervals_cover_the_populations_values() -> None:
    """Of 150 sets of 60 images; 95 % is right, of 150 sets at least 88.7 % with probability .999 (binomial)."""
    random = np.random.default_rng(0)
    one, other = (mean_precisions(matches, ones(30_000)) for matches in population(random, 30_000))
    exact = {"one": one.map50_95[0], "difference": other.map50_95[0] - one.map50_95[0]}
    covered = dict.fromkeys(exact, 0)
    for _ in range(150):
        compared = compare(
            dict(zip(("one", "other"), population(random, 60), strict=True)), [("other", "one")], resamples=300
        )
        estimates = {
            "one": compared.models["one"]["map50_95"],
            "difference": compared.differences["other", "one"]["map50_95"],
        }
        for name, estimate in estimates.items():
            covered[name] += estimate.low <= exact[name] <= estimate.high
    assert all(0.885 * 150 <= count <= 149 for count in covered.values()), covered


def test_a_thousand_draws_of_a_coco_sized_set_take_seconds() -> None:
    """128 images of 80 classes and 300 detections each; 0.6 s on one core of an EPYC Zen 5."""
    import time

    random = np.random.default_rng(0)
    of_classes = []
    for _ in range(80):
        true = np.zeros((10, 480), bool)
        true[:, random.choice(480, 20, replace=False)] = random.random((10, 20)) < 0.7
        of_classes.append(
            ClassMatches(random.integers(0, 128, 480), true, np.zeros((10, 480), bool), random.poisson(0.2, 128))
        )
    start = time.process_time()
    sampled = mean_precisions(Matches(128, np.linspace(0, 1, 101), tuple(of_classes)), draw_images(128))
    assert time.process_time() - start < 10
    assert sampled.map50_95.shape == (1000,) and np.ptp(sampled.map50_95) > 0
