"""The edge file of rectangles and of other channels. Oracle: the portable file's optimized session, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from edgegd.export.edge import PASS_NAMES, build_edge
from edgegd.export.profile import for_profile
from edgegd.runtime.contract import ModelContract, Preprocessing
from edgegd.runtime.letterbox import network_input

# architecture, end-to-end head, (height, width), channels, profiles
CASES = [
    ("yolo26n", True, (64, 96), 3, ("x86-avx2", "arm64")),
    ("yolo11n", None, (32, 352), 1, ("arm64",)),
    ("yolov8n", None, (96, 160), 4, ("x86-avx2",)),
    ("yolov8n", None, (64, 64), 8, ("x86-vnni",)),
]


def _images(size, channels, count=4):
    """Smooth pictures (H, W, C) uint8, and one of noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 6, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    pictures = [(image * 255).round().byte().permute(1, 2, 0).numpy() for image in smooth]
    return [*pictures, np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)]


@pytest.mark.parametrize(("architecture", "end2end", "size", "channels", "profiles"), CASES, ids=str)
def test_the_edge_file_is_exact(calibrated, write, run, tmp_path, architecture, end2end, size, channels, profiles):
    pictures, wanted = _images(size, channels), Preprocessing.of_images(size, channels)
    inputs = torch.from_numpy(np.concatenate([network_input(picture, wanted)[0] for picture in pictures]))
    quantized = calibrated(architecture, end2end, inputs)
    for profile in profiles:
        other = for_profile(quantized, profile)
        portable = onnx.load(write(tmp_path / f"{profile}.onnx", other, other.model, other.plan, "ptq"))
        edge, reports = build_edge(portable, "ptq.onnx", slower_too=True)
        assert [report.name for report in reports] == list(PASS_NAMES)
        folded = next(report for report in reports if report.name == "fold-columns")
        assert folded.applied
        outputs = []
        contracts = [
            ModelContract.from_metadata({p.key: p.value for p in file.metadata_props}) for file in (portable, edge)
        ]
        for picture in pictures:
            for file, contract in zip((portable, edge), contracts, strict=True):
                outputs.append(run(file, {"images": network_input(picture, contract.preprocessing)[0]}))
            np.testing.assert_array_equal(*(output.view(np.uint32) for output in outputs[-2:]))
        assert contracts[0].preprocessing == wanted
        assert contracts[1].preprocessing.input_shape == (1, *size, channels)
        assert len(np.unique(outputs[0])) > 50 and not np.array_equal(outputs[0], outputs[-1])


@pytest.mark.parametrize(("own", "asked"), [(3, 1), (3, 5), (1, 3), (4, 3), (1, 4)])
def test_other_channels_than_the_network_has_are_refused(own, asked):
    image, output = (helper.make_tensor_value_info(name, 1, [1, own, 8, 8]) for name in ("images", "output0"))
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["output0"])], "small", [image], [output])
    with pytest.raises(ValueError, match=f"a network of {own} channels cannot read images of {asked}"):
        build_edge(helper.make_model(graph), "ptq.onnx", channels=asked)
