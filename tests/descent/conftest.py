"""A tiny calibrated detector and hand-made batches for gradient descent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from edgegd.descent.random_state import seed_everything
from edgegd.detectors.activation_swap import silu_paths, swap_to_relu
from edgegd.detectors.batches import hyperparameters
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.losses import prepare_loss
from edgegd.detectors.student import FloatStudent
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.recipe.training import TrainSection

torch.set_num_threads(1)


def _batch(seed: int) -> dict[str, Any]:
    """Four images (64 px) of a bright square each, with its box and class, as Ultralytics' loader gives them."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (4, 3, 64, 64), generator=random, dtype=torch.uint8)
    boxes, classes = [], []
    for image in images:
        x, y = (int(v) for v in torch.randint(4, 30, (2,), generator=random))
        kind = int(torch.randint(0, 2, (1,), generator=random))
        image[kind, y : y + 24, x : x + 24] = 230
        boxes.append([(x + 12) / 64, (y + 12) / 64, 24 / 64, 24 / 64])
        classes.append([float(kind)])
    return {"img": images, "bboxes": torch.tensor(boxes), "cls": torch.tensor(classes), "batch_idx": torch.arange(4.0)}


# Two levels, 22 convolutions: a step takes a fifth of yolov8n's.
SMALL = {
    "nc": 3,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [24, 3, 2]],
        [-1, 1, "C2f", [24, True]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
    ],
    "head": [
        [-1, 1, "SPPF", [32, 5]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [-1, 1, "C2f", [32]],
        [[8, 5], 1, "Detect", ["nc"]],
    ],
}
ARCHITECTURES: dict[str, Any] = {"small": SMALL, "small-end2end": {**SMALL, "end2end": True, "reg_max": 1}}


class TwoBatches(list[dict[str, Any]]):
    """The same two batches in every epoch."""

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """Those of an epoch from number `first` on."""
        return iter(self[first:])


@pytest.fixture(scope="session")
def batches() -> TwoBatches:
    """Two batches of four images."""
    return TwoBatches([_batch(0), _batch(1)])


def unfolded(architecture: str, batches: list[dict[str, Any]]) -> Any:
    """A new model of three classes with the BatchNorm statistics of the batches."""
    from ultralytics.nn.tasks import DetectionModel

    seed_everything(0)
    description = copy.deepcopy(ARCHITECTURES.get(architecture, f"{architecture}.yaml"))
    model = DetectionModel(description, nc=3, verbose=False).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # BatchNorm of these images: without it a random model's activations vanish
    with torch.no_grad():
        model(torch.cat([batch["img"] for batch in batches]).float() / 255)
    for name in ("cv3", "one2one_cv3"):  # past the start, where targets grow with the scores and the loss with them
        for branch in getattr(model.model[-1], name, None) or ():
            nn.init.constant_(branch[-1].bias, -1.0)
    return model.eval()


@pytest.fixture(scope="session")
def swapped(batches: list[dict[str, Any]]) -> Callable[[], FloatStudent]:
    """swapped(): a new float student, BatchNorm live, every SiLU replaced by ReLU; all of them equal."""

    def make() -> FloatStudent:
        model = unfolded("small-end2end", batches)
        swap_to_relu(model, silu_paths(model))
        deploy(model, end2end=True, fold=False)
        prepare_loss(model, hyperparameters(TrainSection(), 64))
        return FloatStudent(model)

    return make


@pytest.fixture(scope="session")
def calibrated(batches: list[dict[str, Any]]) -> Callable[..., QuantizedModel]:
    """calibrated(architecture="small", end2end=None, learned=False): a new model of three classes.

    Models of equal arguments are equal; `learned` is about weight scales.
    """

    made: dict[Any, QuantizedModel] = {}

    def copy_of(architecture: str = "small", end2end: bool | None = None, learned: bool = False) -> QuantizedModel:
        arguments = architecture, end2end, learned
        if arguments not in made:
            made[arguments] = make(*arguments)
        return copy.deepcopy(made[arguments])

    def make(architecture: str, end2end: bool | None, learned: bool) -> QuantizedModel:
        model = deploy(unfolded(architecture, batches), end2end=end2end)
        prepare_loss(model, hyperparameters(TrainSection(), 64))
        quantized = QuantizedModel(model, plan_detector(model, 64, "x86-vnni"), learned_weight_scales=learned)
        calibrate(quantized, [batch["img"].float() / 255 for batch in batches], "mse")
        return quantized

    return copy_of
