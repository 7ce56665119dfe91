"""The choice of SiLUs to swap. Oracles: hand-made numbers, a model swapped by hand, a graph drawn by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgegd.detectors.activation_choice import choose, head_outputs, silu_units, swap_noise
from edgegd.detectors.activation_swap import SwapUnit, silu_paths, swap_to_relu
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.quant.plan_module import plan_module

UNITS = [
    SwapUnit(("a",), 4.0, 0.4),
    SwapUnit(("b",), 1.0, 0.001),
    SwapUnit(("c", "d"), 3.0, 0.03),
    SwapUnit(("e",), 2.0, 0.5),
    SwapUnit(("f",), 0.0, 0.0),
]


class Meeting(nn.Module):
    """Five SiLUs: `left` and `right` meet in a concat, `right` by way of an addition with `other`; two stand alone."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("left", "right", "other", "alone", "last"):
            setattr(self, name, nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.SiLU()))
        self.closing = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        alone: Any = self.alone(x)
        left, added = self.left(alone), self.right(alone) + self.other(alone)
        return self.closing(self.last(torch.cat([left, nn.functional.max_pool2d(added, 3, 1, 1)], 1)))


def test_what_meets_in_a_concat_is_one_unit() -> None:
    model, image = Meeting(), torch.rand(1, 3, 8, 8)
    model(image)
    units = silu_units(plan_module(model, image, "x86-vnni"))
    assert units == [("alone.1",), ("left.1", "right.1", "other.1"), ("last.1",)]


@pytest.mark.parametrize(
    ("share", "chosen"),
    [
        (0.0, ""),
        (0.05, "b"),
        (0.3, "bc"),
        (0.5, "bca"),
        (0.81, "bcae"),
        (1.0, "bcae"),
    ],
)
def test_units_are_taken_by_time_for_noise_until_the_share_is_saved(share: float, chosen: str) -> None:
    units = choose(UNITS, share)
    assert "".join(unit.paths[0] for unit in units) == "bcaef"  # 0.001, 0.01, 0.1, 0.25 a ms; f saves nothing
    assert "".join(unit.paths[0] for unit in units if unit.swapped) == chosen
    assert [(unit.paths, unit.saved_ms, unit.noise) for unit in sorted(units, key=lambda unit: unit.paths)] == [
        (unit.paths, unit.saved_ms, unit.noise) for unit in UNITS
    ]


@pytest.mark.parametrize("end2end", [True, False], ids=["end2end", "raw"])
def test_noise_is_that_of_the_model_swapped_by_hand(tiny_checkpoint: Path, end2end: bool) -> None:
    model = deploy(open_checkpoint(tiny_checkpoint), end2end=end2end)
    images = [torch.rand(2, 3, 64, 64), torch.rand(1, 3, 64, 64)]
    head: Any = model.model[-1]
    scores, boxes = (head.one2one_cv3, head.one2one_cv2) if end2end else (head.cv3, head.cv2)

    def levels(swapped: nn.Module) -> list[np.ndarray]:
        last = copy.deepcopy(swapped).model[-1]
        branches = [*last.one2one_cv3, *last.one2one_cv2] if end2end else [*last.cv3, *last.cv2]
        kept: list[list[np.ndarray]] = []
        for batch in images:
            entering: list[torch.Tensor] = []
            hook = swapped.model[-1].register_forward_pre_hook(lambda _, args, kept=entering: kept.extend(args[0]))
            with torch.no_grad():
                swapped.eval()(batch)
                kept.append([branch(entering[i % 3]).double().numpy() for i, branch in enumerate(branches)])
            hook.remove()
        return [np.concatenate([maps[i].ravel() for maps in kept]) for i in range(6)]

    assert len(scores) == len(boxes) == 3
    was, before = levels(model), silu_paths(model)
    units = [("model.0.act",), ("model.2.cv1.act", "model.2.m.0.cv2.act")]
    found = list(swap_noise(model, images, units))
    assert silu_paths(model) == before and not head.training
    for unit, noise in zip(units, found, strict=True):
        swapped = copy.deepcopy(model)
        swap_to_relu(swapped, unit)
        shares = [((own - old) ** 2).mean() / old.var() for own, old in zip(levels(swapped), was, strict=True)]
        assert noise == pytest.approx(np.mean(shares), rel=1e-4) and noise > 0
    assert SwapUnit(("x",), 1.0, 0.01).signal_to_noise_db == pytest.approx(20.0)


def test_a_layer_that_is_not_deployed_is_in_no_unit(tiny_checkpoint: Path) -> None:
    model = deploy(open_checkpoint(tiny_checkpoint), end2end=True)
    inside = [path for unit in silu_units(plan_detector(model, 64, "x86-vnni")) for path in unit]
    left_out = {path for path in silu_paths(model) if path not in inside}
    assert len(inside) == len(set(inside)) == 87
    assert left_out and all(path.startswith(("model.23.cv2.", "model.23.cv3.")) for path in left_out)


def test_rt_detr_is_compared_by_what_enters_its_head() -> None:
    from ultralytics.nn.tasks import RTDETRDetectionModel

    torch.manual_seed(0)
    model = deploy(RTDETRDetectionModel("rtdetr-l.yaml", nc=3, verbose=False).eval())
    maps = head_outputs(model, torch.rand(1, 3, 64, 64))
    assert [tuple(map_.shape) for map_ in maps] == [(1, 256, 8, 8), (1, 256, 4, 4), (1, 256, 2, 2)]
