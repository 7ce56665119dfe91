"""What each refinement of a calibrated model gains and costs: distances from the float model, mAP, seconds, memory.

    python benchmarks/refinements.py coco-yolo26n --weights coco-yolo26n-640.pt --data coco128.yaml --imgsz 640

One pass over the calibration images serves all rows: `none`, `fast`, and `full` of quant.refine, with 8- and 7-bit
weights; with `--adaround` also `full` with AdaRound (adaround.py) in the place of GPTQ, which takes minutes a model.
Distances are of the head on the last 32 validation images, none of which calibrated anything, geometric means over the
images: the divergence of class scores, where a score below 0.001 counts as 0.001 because nothing reads less, over the
belief in objects; that of boxes; and the signal to noise ratio in dB of the maps that enter the head. mAP is
onnxruntime's on all validation images, with its paired difference to float and the 95 % interval (bootstrap over
images). Rows are kept in benchmarks/results/refinements.json; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import edgegd  # noqa: F401 -- before onnxruntime, which reads the environment that it sets

# isort: split
import adaround
import numpy as np
import torch
from doc_tables import refinements_table
from loss_parts import Head, heads
from observers import evaluate
from peers.detect import detections, in_onnxruntime
from result_file import ResultFile
from torch.nn import functional as F

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import open_dataset
from edgegd.detectors.curvature import Curvature
from edgegd.detectors.deployment import deploy, detection_head, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.export.graph import build_graph
from edgegd.pipeline.stages.ptq import MOST_REFINED, REFINED_PIXELS, SENSED
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import collect, set_ranges
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.quant.histogram import Histogram
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.refine import refine
from edgegd.quant.sensitivity import collect_sensitivities, emphasised
from edgegd.recipe.schema import AccuracySection, DataSection
from edgegd.runtime.contract import Preprocessing

CALIBRATION_IMAGES, HEAD_IMAGES = 128, 32
SEEN = math.log(0.001 / 0.999)  # the logit of the smallest score that is read
Made = Callable[[], tuple[QuantizedModel, float]]
Observed = tuple[list[Head], list[list[torch.Tensor]]]


class Subject:
    """One checkpoint with its images, its histograms, and what its float model sees."""

    def __init__(self, weights: Path, data: str, imgsz: int) -> None:
        self.weights, self.imgsz, self.size = weights, imgsz, Preprocessing(imgsz=(imgsz, imgsz))
        self.dataset = open_dataset(DataSection(source="yaml", path=data))
        self.paths = calibration_images(self.dataset, CALIBRATION_IMAGES, 0)
        self.truth = GroundTruth.from_yolo(list(self.dataset.val_images), self.dataset.names)
        self.shown = list(self.dataset.val_images)[-HEAD_IMAGES:]
        self.float = self.detector()
        self.fp32 = evaluate(self.float, self.float, self.truth, self.size)
        self.target = self.observed(self.float, self.float)
        model = self.quantized("x86-vnni")
        self.histograms = collect(model, map(torch.from_numpy, batches(self.paths, self.size, 4)))
        started = time.perf_counter()
        single = map(torch.from_numpy, batches(self.paths[:SENSED], self.size, 1))
        self.weighted = emphasised(self.histograms, collect_sensitivities(model, single, Curvature(model.model, 0)))
        self.weighing_s = time.perf_counter() - started

    def detector(self) -> Any:
        """The float model, deployed."""
        return deploy(open_checkpoint(self.weights)).eval()

    def quantized(self, profile: str) -> QuantizedModel:
        """A quantized model without ranges."""
        model = self.detector()
        return QuantizedModel(model, plan_detector(model, self.imgsz, profile)).eval()

    def ranged(self, profile: str, weighted: dict[str, Histogram] | None) -> QuantizedModel:
        """A calibrated model."""
        model = self.quantized(profile)
        set_ranges(model, choose_ranges(model.plan, self.histograms, "mse", emphasised=weighted))
        settle_ranges(model)
        return model

    def observed(self, model: torch.nn.Module, detector: Any) -> Observed:
        """What leaves and what enters the head for the images shown."""
        entering: list[list[torch.Tensor]] = []
        hook = detection_head(detector).register_forward_pre_hook(
            lambda _, arguments: entering.append([x.detach().clone() for x in arguments[0]])
        )
        try:
            return list(heads(model, detector, batches(self.shown, self.size, 4))), entering
        finally:
            hook.remove()

    def in_onnxruntime(self, model: QuantizedModel) -> AccuracyResult:
        """mAP of the exported file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            file.write_bytes(build_graph(model, self.size.imgsz, 17).SerializeToString())
            network, _ = in_onnxruntime(file, "exact")
            found = detections(network, self.truth.image_paths, self.dataset.names, self.size.imgsz, AccuracySection())
        return score(found, self.truth)


def distances(own: Observed, target: Observed) -> dict[str, float]:
    """Divergences of scores and boxes in nats, and the ratio of the maps that enter the head in dB."""
    rows: dict[str, list[float]] = {"scores": [], "boxes": []}
    for a, b in zip(own[0], target[0], strict=True):
        scores = boxes = belief = torch.zeros(len(a["scores", 0]), dtype=torch.float64)
        for level in range(len(a) // 2):
            logits, wanted = (x["scores", level].clamp(min=SEEN) for x in (a, b))
            p = wanted.sigmoid()
            weight = b["scores", level].sigmoid().amax(1)
            divergence = [F.binary_cross_entropy_with_logits(x, p, reduction="none") for x in (logits, wanted)]
            scores = scores + (divergence[0] - divergence[1]).flatten(1).double().sum(1)
            belief = belief + weight.flatten(1).double().sum(1)
            sides, sides_wanted = (x["boxes", level].unflatten(1, (4, -1)) for x in (a, b))
            if sides.shape[2] == 1:
                apart = F.smooth_l1_loss(sides, sides_wanted, reduction="none")
            else:
                apart = F.kl_div(sides.log_softmax(2), sides_wanted.log_softmax(2), reduction="none", log_target=True)
            boxes = boxes + (apart.sum(2).mean(1) * weight).flatten(1).double().sum(1)
        for name, sums in (("scores", scores), ("boxes", boxes)):
            rows[name] += (sums / belief.clamp(min=1e-2)).clamp(min=1e-9).tolist()
    pairs = [pair for maps in zip(own[1], target[1], strict=True) for pair in zip(*maps, strict=True)]
    ratios = [
        10 * math.log10(float(y.square().sum() / (x - y).square().sum().clamp(min=1e-20)))
        for batch, wanted_batch in pairs
        for x, y in zip(batch, wanted_batch, strict=True)
    ]
    means = {name: round(math.exp(fmean(map(math.log, values))), 6) for name, values in rows.items()}
    return means | {"entering_db": round(fmean(ratios), 2)}


def rows_of(
    subject: Subject, *, with_adaround: bool
) -> Iterator[tuple[dict[str, str], Callable[[], tuple[QuantizedModel, float]]]]:
    """The key of each row, and what makes its model and says how many seconds that took beyond calibration."""
    count = max(1, min(MOST_REFINED, REFINED_PIXELS // subject.imgsz**2))

    def made(profile: str, weighted: bool, refined: bool) -> tuple[QuantizedModel, float]:
        model = subject.ranged(profile, subject.weighted if weighted else None)
        started = time.perf_counter()
        if refined:
            refine(model, torch.from_numpy(np.concatenate(list(batches(subject.paths[:count], subject.size, count)))))
        return model, time.perf_counter() - started + (subject.weighing_s if weighted else 0)

    kinds = {"none": (False, False), "fast": (False, True), "ranges alone": (True, False), "full": (True, True)}
    for profile in ("x86-vnni", "x86-avx2"):
        for name, kind in kinds.items():
            yield {"profile": profile, "refine": name}, lambda p=profile, k=kind: made(p, *k)  # type: ignore[misc]
    if with_adaround:

        def rounded() -> tuple[QuantizedModel, float]:
            with patch("edgegd.quant.refine.round_weights", adaround.round_weights):
                return made("x86-avx2", True, True)

        yield {"profile": "x86-avx2", "refine": "full, AdaRound"}, rounded


def main() -> None:
    """Measures the rows that are missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the set's name in the table")
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--data", required=True, help="a data set YAML")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--adaround", action="store_true", help="also the row of AdaRound")
    options = parser.parse_args()
    file, subject = ResultFile("refinements"), Subject(options.weights, options.data, options.imgsz)
    for row, make in rows_of(subject, with_adaround=options.adaround):
        key = {"set": options.name, **row}
        if any(entry.items() >= key.items() for entry in file.entries):
            continue
        model, seconds = make()
        accuracy = subject.in_onnxruntime(model)
        pair = compare({"own": accuracy.matches, "fp32": subject.fp32.matches}, [("own", "fp32")])
        change = pair.differences["own", "fp32"]["map50_95"]
        measured = {
            **distances(subject.observed(model, model.model), subject.target),
            "map50_95": accuracy.map50_95, "fp32_map50_95": subject.fp32.map50_95,
            "difference": change.value, "interval": [change.low, change.high],
            "refine_s": round(seconds, 1), "threads": torch.get_num_threads(),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }  # fmt: skip
        file.add(key | measured)
        print(key, measured, flush=True)
    print(refinements_table())


if __name__ == "__main__":
    main()
