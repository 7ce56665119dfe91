"""An edge file gives its portable file's bits on real photographs too. Oracle: the portable file in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

from edgegd.export.edge import build_edge
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.letterbox import preprocess
from edgegd.verify.edge_identity import require_identical
from edgegd.verify.opened import OnnxFile, Pictures

IMGSZ = 160


@pytest.mark.parametrize("end2end", [True, False], ids=["end2end", "raw"])
def test_calibrated_and_compared_on_photographs(
    end2end: bool,
    bccd_images: tuple[Path, ...],
    calibrated: Callable[..., Any],
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    train, val = bccd_images[:6], bccd_images[6:]
    inputs = [preprocess(cv2.imread(str(path)), Preprocessing((IMGSZ, IMGSZ)))[0] for path in train]
    quantized = calibrated("yolo26n", end2end, torch.from_numpy(np.concatenate(inputs)))
    portable = write(tmp_path / "ptq.onnx", quantized, quantized.model, quantized.plan, "ptq")
    edge = tmp_path / "ptq.edge.onnx"
    onnx.save(build_edge(onnx.load(portable), portable.name)[0], edge)
    identity = require_identical(OnnxFile(portable), OnnxFile(edge), Pictures(list(val)))
    assert identity.images == len(val) and identity.numbers > 1000
