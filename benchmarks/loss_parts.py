"""What quantization loses, part by part: each part alone, all others float; and what refinement takes back.

    python benchmarks/loss_parts.py coco --weights coco-yolo11n-640.pt --data coco128.yaml --imgsz 640
    python benchmarks/loss_parts.py bccd --weights bccd-yolo26n-320.pt --data bccd/bccd.yaml --imgsz 320

A row says which weights and activations are fake-quantized. For each it gives, on the first 32 validation images, how
far the head is from the float model's (per image: the divergence of class scores and of boxes over the belief in
objects, geometric mean; the signal to noise ratio of all that enters decoding, weighted alike, median), and mAP on all
of them with its paired difference to float and a 95 % interval (bootstrap over images). Everything runs in torch on the
CPU. Rows are kept in benchmarks/results/loss_parts.json; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from doc_tables import loss_table
from observers import evaluate
from result_file import ResultFile
from torch.nn import functional as F

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import open_dataset
from edgegd.detectors.deployment import deploy, detection_head, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.plan.quant_plan import PlannedOp
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import collect, set_ranges
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.readers import VALUE, readers_of_groups
from edgegd.quant.refine import refine
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import Preprocessing

HEAD_IMAGES, CALIBRATION_IMAGES = 32, 128
Head = dict[tuple[str, int], torch.Tensor]


class Partly(QuantizedModel):
    """A quantized model of which only some activations (`activations(address)`) and all or no weights are quantized."""

    quantizes_weights = True

    def __init__(self, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.activations: Callable[[str], bool] = lambda address: True

    def quantize(self, address: str, x: torch.Tensor) -> torch.Tensor:
        """As the plan says, or not at all."""
        return super().quantize(address, x) if self.observe or self.activations(address) else x

    def _convolution(
        self, op: PlannedOp, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if self.quantizes_weights and self.observe is None:
            weight = self.weight_quantizer(op)(weight)
        return F.conv2d(x, weight, bias, *args, **kwargs)

    def _silu(self, address: str, x: torch.Tensor) -> torch.Tensor:
        return self.quantize(address, x * self.quantize(f"{address}/sigmoid", torch.sigmoid(x)))


@torch.no_grad()
def heads(model: torch.nn.Module, detector: Any, images: Iterator[np.ndarray]) -> Iterator[Head]:
    """What the last convolutions of the head return for each batch: (`boxes` or `scores`, level) -> (N, C, H, W)."""
    head: Any = detection_head(detector)
    branches = ("one2one_cv2", "one2one_cv3") if head.end2end else ("cv2", "cv3")
    found: Head = {}

    def keep(key: tuple[str, int]) -> Any:
        return lambda module, args, result: found.__setitem__(key, result.clone())

    handles = [
        branch[-1].register_forward_hook(keep((kind, level)))
        for kind, name in zip(("boxes", "scores"), branches, strict=True)
        for level, branch in enumerate(getattr(head, name))
    ]
    try:
        for batch in images:
            model(torch.from_numpy(batch))
            yield dict(found)
    finally:
        for handle in handles:
            handle.remove()


def head_losses(own: list[Head], target: list[Head]) -> dict[str, float]:
    """Divergences of scores and boxes (nats, geometric means over images) and the median ratio in dB."""
    rows: dict[str, list[float]] = {"scores": [], "boxes": [], "db": []}
    for a, b in zip(own, target, strict=True):
        scores = boxes = belief = noise = signal = torch.zeros(len(a["scores", 0]), dtype=torch.float64)
        for level in range(len(a) // 2):
            p = b["scores", level].sigmoid()
            weight = p.amax(1)
            divergence = [F.binary_cross_entropy_with_logits(x["scores", level], p, reduction="none") for x in (a, b)]
            scores = scores + (divergence[0] - divergence[1]).flatten(1).double().sum(1)
            belief = belief + weight.flatten(1).double().sum(1)
            sides, wanted = (x["boxes", level].unflatten(1, (4, -1)) for x in (a, b))
            if sides.shape[2] == 1:
                apart = F.smooth_l1_loss(sides, wanted, reduction="none")
            else:
                apart = F.kl_div(sides.log_softmax(2), wanted.log_softmax(2), reduction="none", log_target=True)
            boxes = boxes + (apart.sum(2).mean(1) * weight).flatten(1).double().sum(1)
            for kind, of in (("scores", p * (1 - p)), ("boxes", weight[:, None])):
                difference = a[kind, level] - b[kind, level]
                noise = noise + (difference.square() * of).flatten(1).double().sum(1)
                signal = signal + (b[kind, level].square() * of).flatten(1).double().sum(1)
        rows["scores"] += (scores / belief).clamp(min=1e-9).tolist()
        rows["boxes"] += (boxes / belief).clamp(min=1e-9).tolist()
        rows["db"] += (10 * torch.log10(signal / noise.clamp(min=1e-30))).tolist()
    return {
        name: round(math.exp(fmean(map(math.log, values))), 6) if name != "db" else round(median(values), 2)
        for name, values in rows.items()
    }


def main() -> None:
    """Measures the rows that are missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the set's name in the table")
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--data", required=True, help="a data set YAML")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--profiles", nargs="+", default=["x86-vnni", "x86-avx2"])
    options = parser.parse_args()
    size = Preprocessing(imgsz=(options.imgsz, options.imgsz))
    dataset = open_dataset(DataSection(source="yaml", path=options.data))
    truth = GroundTruth.from_yolo(list(dataset.val_images), dataset.names)
    shown = list(dataset.val_images)[:HEAD_IMAGES]
    paths = calibration_images(dataset, CALIBRATION_IMAGES, 0)
    detector: Any = deploy(open_checkpoint(options.weights)).eval()
    target = list(heads(detector, detector, batches(shown, size, 8)))
    file = ResultFile("loss_parts")
    fp32 = evaluate(detector, detector, truth, size)
    histograms: Any = None
    for profile in options.profiles:
        for label, prepare in rows_of(profile).items():
            key = {"set": options.name, "profile": profile, "row": label}
            if any(entry.items() >= key.items() for entry in file.entries):
                continue
            model: Any = deploy(open_checkpoint(options.weights)).eval()
            quantized = Partly(model, plan_detector(model, options.imgsz, profile)).eval()
            histograms = histograms or collect(quantized, map(torch.from_numpy, batches(paths, size, 4)))
            started = time.perf_counter()
            exact = prepare(quantized, histograms, lambda count: np.concatenate(list(batches(paths[:count], size, 8))))
            seconds = time.perf_counter() - started
            run: Any = quantized
            if exact:  # everything is quantized: in onnxruntime's arithmetic
                run = QuantizedModel(model, quantized.plan).eval()
                run.load_state_dict(quantized.state_dict())
            else:
                quantized.training = True  # itself only: as fake quantization simulates it
                quantized.update_ranges = lambda: None  # type: ignore[method-assign]
            losses = head_losses(list(heads(run, model, batches(shown, size, 8))), target)
            accuracy = evaluate(run, model, truth, size)
            pair = compare({"own": accuracy.matches, "fp32": fp32.matches}, [("own", "fp32")])
            change = pair.differences["own", "fp32"]["map50_95"]
            file.add(
                key
                | losses
                | {
                    "prepare_s": round(seconds, 1),
                    "images": len(truth.image_paths),
                    "map50_95": accuracy.map50_95,
                    "fp32_map50_95": fp32.map50_95,
                    "difference": change.value,
                    "interval": [change.low, change.high],
                }
            )
            print(f"{options.name} {profile} {label}: {losses} {100 * accuracy.map50_95:.2f}", flush=True)
    print(loss_table())


def rows_of(profile: str) -> dict[str, Callable[[Partly, Any, Callable[[int], np.ndarray]], bool]]:
    """Label -> what makes of a fresh model that row; it returns whether all of the plan is quantized."""

    def calibrated(quantized: Partly, histograms: Any, observer: str = "mse", values: bool = False) -> None:
        readers = dict.fromkeys(quantized.plan.groups.values(), VALUE) if values else None
        set_ranges(quantized, choose_ranges(quantized.plan, histograms, observer, readers=readers))
        settle_ranges(quantized)

    def part(weights: bool, which: Callable[[Partly, str], bool]) -> Any:
        def prepare(quantized: Partly, histograms: Any, images: Any) -> bool:
            calibrated(quantized, histograms)
            quantized.quantizes_weights, quantized.activations = weights, lambda address: which(quantized, address)
            return False

        return prepare

    def read_by(*names: str) -> Callable[[Partly, str], bool]:
        return lambda q, a: a in q.plan.groups and readers_of_groups(q.plan)[q.plan.groups[a]].name in names

    def whole(observer: str = "mse", refined: bool = False, values: bool = False) -> Any:
        def prepare(quantized: Partly, histograms: Any, images: Any) -> bool:
            calibrated(quantized, histograms, observer, values)
            if refined:
                refine(quantized, torch.from_numpy(images(32)))
            return True

        return prepare

    alone = {
        "activations alone": part(False, lambda q, a: True),
        "before a SiLU": part(False, read_by("silu")),
        "class scores": part(False, read_by("score")),
        "sigmoids in SiLUs": part(False, lambda q, a: a.endswith("/sigmoid")),
        "all others": part(False, lambda q, a: not (a.endswith("/sigmoid") or read_by("silu", "score")(q, a))),
    }
    return {
        "weights alone": part(True, lambda q, a: False),
        **(alone if profile == "x86-vnni" else {}),
        "all, minmax": whole("minmax"),
        "all, errors of values": whole(values=True),
        "all": whole(),
        "all, refined": whole(refined=True),
    }


if __name__ == "__main__":
    main()
