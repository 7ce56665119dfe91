"""What a run keeps of its detections, as arrays and back. Oracle: the mAP before and after."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from made_detections import made_up

pytest.importorskip("pycocotools")

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.measured import Arrays, MeasuredImages

IMAGES = 12


@pytest.fixture(scope="module")
def measured() -> MeasuredImages:
    truth, found = made_up(3)
    sizes = np.full((IMAGES, 2), 400, np.int32)
    empty = tuple(type(one)(one.xyxy[:0], one.scores[:0], one.class_ids[:0], one.names) for one in found)
    detections = {"fp32": tuple(found), "ptq": empty}
    return MeasuredImages(
        truth, sizes, tuple(map(str, range(IMAGES))), detections, {"fp32": (64, 96), "ptq": (64, 96)}, 0.001, 0.7, 300
    )


def test_everything_comes_back_to_the_last_bit(measured: MeasuredImages) -> None:
    again = MeasuredImages.from_arrays(measured.to_arrays(), json.loads(json.dumps(measured.to_dict())))
    assert again.to_dict() == measured.to_dict() and again.input_sizes == {"fp32": (64, 96), "ptq": (64, 96)}
    for name, values in measured.to_arrays().items():
        assert np.array_equal(values, again.to_arrays()[name]) and values.dtype == again.to_arrays()[name].dtype
    before, after = (score(one.detections["fp32"], one.truth) for one in (measured, again))
    assert before.to_dict() == after.to_dict() and before.map50_95 > 0.05
    assert [len(one) for one in again.detections["ptq"]] == [0] * IMAGES


def without(name: str) -> Any:
    return lambda arrays, fields: arrays.pop(name)


def set_to(name: str, change: Any) -> Any:
    def spoil(arrays: Arrays, fields: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name].copy())

    return spoil


def field(name: str, change: Any) -> Any:
    def spoil(arrays: Arrays, fields: dict[str, Any]) -> None:
        fields[name] = change(fields[name])

    return spoil


def poisoned(values: np.ndarray) -> np.ndarray:
    values[0] = np.nan
    return values


@pytest.mark.parametrize(
    "spoil",
    [
        without("fp32.boxes"),
        without("sizes"),
        set_to("fp32.boxes", poisoned),
        set_to("fp32.scores", lambda values: values[1:]),
        set_to("fp32.scores", lambda values: values.astype(np.float64)),
        set_to("fp32.classes", lambda values: values + np.uint16(7)),
        set_to("fp32.counts", lambda values: values[1:]),
        set_to("fp32.counts", lambda values: values - np.int32(1)),
        set_to("truth.boxes", lambda values: values[:, :3]),
        set_to("truth.boxes", lambda values: values[0]),
        set_to("sizes", lambda values: values * np.int32(0)),
        field("images", lambda names: names[1:]),
        field("sha256", lambda names: names[1:]),
        field("names", lambda names: names[:1]),
        field("input_sizes", lambda sizes: sizes | {"qat": [64, 64]}),
        field("input_sizes", lambda sizes: sizes | {"ptq": [0, 64]}),
    ],
)
def test_what_no_measurement_makes_is_refused(measured: MeasuredImages, spoil: Any) -> None:
    arrays, fields = measured.to_arrays(), measured.to_dict()
    spoil(arrays, fields)
    with pytest.raises((ValueError, KeyError)):
        MeasuredImages.from_arrays(arrays, fields)
