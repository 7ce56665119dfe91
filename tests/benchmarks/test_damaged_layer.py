"""A model with one deliberately damaged layer: the images that it hurt, and that layer's tensor, come first.

The model is the checkpoint that ships, quantized for small images. Two images have a damaged file's detections, and all
others the undamaged file's, so that it is known which were hurt.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pycocotools")
pytest.importorskip("cv2")

from damaged_layer import HEAVY, HURT, LAYERS, WAYS, auc, hurt_first, layers_of, write_file
from result_file import ResultFile

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.measured import MeasuredImages
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.export.float_graph import float_graph
from edgegd.export.graph import state_of
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.pipeline.image_tensors import ranked
from edgegd.plan.quant_plan import PlannedOp
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.runtime.detector import Detections, Detector
from edgegd.runtime.images import read_image
from edgegd.runtime.letterbox import preprocess
from edgegd.verify.exact_session import load_exact
from edgegd.verify.opened import OnnxFile
from edgegd.verify.own_errors import OwnErrors, TensorError, unquantized_parameters

CHECKPOINT = Path(__file__).resolve().parents[2] / "models/streets-yolo26n-320.pt"
SIDE, IMAGES, DAMAGED = 128, 6, (1, 4)
NAMES = ("pedestrian", "car", "traffic sign")


class Subject:
    """The checkpoint in float and quantized, its layers, and drawn images with their boxes."""

    def __init__(self, folder: Path) -> None:
        from edgegd.data.streets import make_streets

        make_streets(folder / "set", train=1, val=IMAGES, seed=0)
        paths = sorted((folder / "set/images/val").iterdir())
        self.truth, self.folder = GroundTruth.from_yolo(paths, NAMES), folder
        self.images = [read_image(path) for path in paths]
        model = deploy(open_checkpoint(CHECKPOINT))
        self.plan = plan_detector(model, SIDE, "x86-vnni")
        self.graph = float_graph(model, SIDE, 17)
        contract = contract_of(self.graph, model, (SIDE, SIDE), "fp32", "", "")
        set_metadata(self.graph, model, contract)
        self.inputs = [preprocess(image, contract.preprocessing)[0] for image in self.images]
        quantized = QuantizedModel(model, self.plan)
        calibrate(quantized, [torch.from_numpy(image) for image in self.inputs], "mse")
        self.state = state_of(quantized)
        self.layers = layers_of(self.plan, 3)[:2]

    def file(self, way: str = "", op: PlannedOp | None = None) -> OnnxFile:
        state = self.state if op is None else WAYS[way](self.plan, self.state, op)
        return write_file(self.folder / "damaged.onnx", self.graph, self.plan, state)

    def errors(self, file: OnnxFile, count: int) -> dict[Path, dict[str, TensorError]]:
        parameters = unquantized_parameters(self.graph, self.plan, self.state, trained=False)
        own = OwnErrors(self.graph, self.plan, parameters, file)
        return {Path(str(index)): own.of_image(self.inputs[index]) for index in range(count)}

    def found(self, file: Path) -> list[Detections]:
        detector = Detector(file, conf=0.001, threads=1, session=load_exact(file), clip=False)
        return [detector(image) for image in self.images]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("damaged"))


@pytest.mark.parametrize("way", ["range cut to a third", "weights of 4 bits"])
def test_the_damaged_layers_tensor_comes_first(subject: Subject, way: str) -> None:
    for op in subject.layers:
        errors = subject.errors(subject.file(way, op), 3)
        found = ranked(errors, list(errors)[:2], {})
        assert found["tensors"][0]["address"] == op.result and found["tensors"][0]["images"] == 2
        others = [one["own_sqnr_db"] for one in found["tensors"][1:]]
        assert found["tensors"][0]["own_sqnr_db"] < min(others)
        clipped = found["tensors"][0]["clipped"]
        assert clipped > 0.01 if way.startswith("range") else clipped < 0.01


def test_the_images_that_a_damaged_layer_hurt_come_first(subject: Subject) -> None:
    import onnx

    onnx.save(subject.graph, subject.folder / "fp32.onnx")
    reference = subject.found(subject.folder / "fp32.onnx")
    undamaged = subject.found(subject.file().path)
    for way in ("range cut to a tenth", "weights of 2 bits"):
        damaged = subject.found(subject.file(way, subject.layers[0]).path)
        mixed = [(damaged if index in DAMAGED else undamaged)[index] for index in range(IMAGES)]
        detections = {"fp32": tuple(reference), "ptq": tuple(mixed)}
        sizes = np.array([image.shape[:2] for image in subject.images], np.int32)
        inputs = dict.fromkeys(detections, (SIDE, SIDE))
        measured = MeasuredImages(subject.truth, sizes, ("",) * IMAGES, detections, inputs, 0.001, 0.7, 300)
        damages = np.array([row["damage"] for row in compare_images(measured, "ptq", "fp32", 0.25)["images"]])
        assert set(np.argsort(-damages)[:2].tolist()) == set(DAMAGED)
        repeated = dataclasses.replace(measured, detections={**detections, "ptq": tuple(undamaged)})
        before = [row["damage"] for row in compare_images(repeated, "ptq", "fp32", 0.25)["images"]]
        assert [damages[index] for index in range(IMAGES) if index not in DAMAGED] == [
            before[index] for index in range(IMAGES) if index not in DAMAGED
        ]


def test_without_damage_every_tensor_is_good_by_itself(subject: Subject) -> None:
    (errors,) = subject.errors(subject.file(), 1).values()
    assert min(one.own_sqnr_db for one in errors.values()) > 20
    assert all(one.sqnr_db < one.own_sqnr_db + 3 for one in errors.values())


def test_the_committed_cases_are_those_that_the_documentation_tells() -> None:
    entries = ResultFile("damaged_layer").entries
    damaged = [one for one in entries if one["layer"]]
    assert len(damaged) == LAYERS * len(WAYS) and len(entries) == len(damaged) + 1
    assert {one["place"] for one in damaged} == {1}
    heavy = [one for one in damaged if one["reference"] - one["map50_95"] >= HEAVY / 100]
    assert min(one["auc"] for one in heavy) > 0.7 and min(one["hurt_first"] for one in heavy) > 3 * HURT * HURT / 150


def test_what_the_benchmark_counts() -> None:
    values = np.arange(40.0)
    assert auc(values + 100, values) == 1 and auc(values, values) == 0.5 and auc(values - 100, values) == 0
    assert hurt_first(values + 100, values) == 15 and hurt_first(values - 100, values) == 0
