"""Oracle: the portable file; its edge file finds the very same boxes in images of every shape."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgegd.runtime.detector import Detector
from edgegd.runtime.images import read_image

pytest.importorskip("torch")


@pytest.mark.parametrize("channels", [3, 4])
def test_an_edge_file_finds_what_its_portable_file_finds(
    finished_run: Path, tiny_set: Path, tmp_path: Path, channels: int
) -> None:
    from edgegd.export.edge import build_edge

    portable = finished_run / "qat.onnx"
    onnx.save(build_edge(onnx.load(portable), portable.name, channels=channels)[0], tmp_path / "qat.edge.onnx")
    one, other = Detector(portable, conf=0.01), Detector(tmp_path / "qat.edge.onnx", conf=0.01)
    assert other.contract.preprocessing.input_shape == (1, 64, 64, channels)
    assert other.contract.portable == "qat.onnx"
    boxes = 0
    for path in sorted((tiny_set / "images/val").iterdir()):
        scene = read_image(path)
        for image in (scene, cv2.resize(scene, (64, 64)), scene[:, :100], cv2.resize(scene, (1280, 300))):
            expected, found = one(image), other(image)
            np.testing.assert_array_equal(found.xyxy, expected.xyxy)
            np.testing.assert_array_equal(found.scores, expected.scores)
            np.testing.assert_array_equal(found.class_ids, expected.class_ids)
            boxes += len(found)
    assert boxes > 20
