"""Does `edgegd images` find a damaged layer, and the images that it hurt?

    python benchmarks/damaged_layer.py runs/demo

Takes the PTQ model of a run folder, damages one convolution of it at a time, exports it, and compares it with FP32 as
`edgegd images` does, on the images on which the run reports. Two ways: the range of the convolution's result is cut to
a third or a tenth, or its weights are put on a grid of 4 or 2 bits (15 or 3 levels a channel). For each: the drop of
mAP; at which place the layer's tensor stands among all tensors of the 8 most damaged images, and in how many of these
it is the first, and among the first three. And whether the images that were hurt come first. 15 images drawn by lot
have the damaged file's detections and all others the undamaged file's: how many of the 15 are among the 15 most damaged
(mean of 1000 draws; 15 of 150 by chance are 1.5), and how often an image has more damage with the damaged file than
another one with the undamaged file (AUC; 0.5 is chance); for comparison the AUC of the growth of the image's loss.
Last, the rank correlation of the damage with the points of mAP50-95 that the file loses against FP32 because of an
image (of all images, less those without it), which are of all IoU and score thresholds and of both signs.

Kept in benchmarks/results/damaged_layer.json; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from result_file import ResultFile
from scipy.stats import spearmanr
from tabulate import tabulate

from edgegd.accuracy.evaluate import AccuracyResult, evaluate_onnx
from edgegd.accuracy.image_comparison import compare_images
from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.weighted import mean_precisions
from edgegd.export.file_keys import describe_as_quantized
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.pipeline.image_tensors import ranked
from edgegd.pipeline.measured import stored_measured
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_graph, stored_plan, stored_state
from edgegd.plan.quant_plan import PlannedOp, QuantPlan
from edgegd.plan.quantized_state import QuantizedState, Range, integer_convolutions
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess
from edgegd.verify.exact_session import load_exact
from edgegd.verify.opened import OnnxFile
from edgegd.verify.own_errors import OwnErrors, TensorError, median_errors, unquantized_parameters

LAYERS, WORST, ORDINARY, HURT, DRAWS, CONF = 8, 8, 8, 15, 1000, 0.25
NONE, HEAVY = "none", 3.0  # points of mAP
Errors = dict[Path, dict[str, TensorError]]


def cut_range(plan: QuantPlan, state: QuantizedState, op: PlannedOp, parts: int) -> QuantizedState:
    """The state with one of so many parts of the range that the operation's result had."""
    group = plan.groups[op.result]
    whole = state.ranges[group]
    cut = Range(np.float32(whole.scale / parts), whole.zero_point)
    return dataclasses.replace(state, ranges={**state.ranges, group: cut})


def coarse_weights(plan: QuantPlan, state: QuantizedState, op: PlannedOp, levels: int) -> QuantizedState:
    """The state with a convolution's weights on so many levels on either side of zero, by channel."""
    name = f"{op.weight}.weight"
    weight = state.parameters[name]
    step = np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, 1, 1, 1) / levels
    coarse = (np.rint(weight / np.maximum(step, 1e-30)) * step).astype(np.float32)
    return dataclasses.replace(state, parameters={**state.parameters, name: coarse})


WAYS: dict[str, Callable[[QuantPlan, QuantizedState, PlannedOp], QuantizedState]] = {
    "range cut to a third": partial(cut_range, parts=3),
    "range cut to a tenth": partial(cut_range, parts=10),
    "weights of 4 bits": partial(coarse_weights, levels=7),
    "weights of 2 bits": partial(coarse_weights, levels=1),
}


def layers_of(plan: QuantPlan, count: int) -> list[PlannedOp]:
    """Convolutions before a SiLU, evenly spaced over the network."""
    before_silu = {op.inputs[0] for op in plan.ops if op.operation == "silu"}
    found = [op for op in integer_convolutions(plan) if op.operation == "conv2d" and op.address in before_silu]
    return [found[place] for place in np.linspace(0, len(found) - 1, count).round().astype(int)]


def write_file(path: Path, graph: onnx.ModelProto, plan: QuantPlan, state: QuantizedState) -> OnnxFile:
    """The portable file of a state."""
    portable = quantized_graph(graph, plan, state)
    describe_as_quantized(portable, graph, "ptq", plan)
    onnx.save(portable, path)
    return OnnxFile(path)


def by_tensor(errors: Errors) -> dict[str, list[TensorError]]:
    """Of each tensor, its errors on the images."""
    return {address: [of[address] for of in errors.values()] for address in next(iter(errors.values()))}


def place_of(address: str, errors: Errors, worst: Sequence[Path]) -> dict[str, int]:
    """Where a tensor stands for all images together (from 1; 0: not among 8), and how often first; in three."""
    found = ranked(errors, worst, {})
    together = [one["address"] for one in found["tensors"]]
    of_images = [[one["address"] for one in image["tensors"]] for image in found["worst"]]
    return {
        "place": together.index(address) + 1 if address in together else 0,
        "first": sum(tensors[0] == address for tensors in of_images),
        "first_three": sum(address in tensors[:3] for tensors in of_images),
    }


def influences(results: dict[str, AccuracyResult], model: str) -> NDArray[np.float64]:
    """(I,) how many points of mAP50-95 the model loses against FP32 because of each image."""
    images = len(results["fp32"].detections)
    weights = np.concatenate([np.ones((1, images), np.int64), 1 - np.eye(images, dtype=np.int64)])
    maps = [mean_precisions(results[name].matches, weights).map50_95 for name in ("fp32", model)]
    lost = 100 * (maps[0] - maps[1])
    return np.asarray(lost[0] - lost[1:])


def auc(hurt: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How often an image has a larger value where it is hurt than another image where it is not; ties count half."""
    larger = np.sign(hurt[:, None] - others[None, :]) / 2 + 0.5  # (I, I)
    return float(larger[~np.eye(len(hurt), dtype=bool)].mean())


def hurt_first(hurt: NDArray[np.float64], others: NDArray[np.float64], seed: int = 0) -> float:
    """How many of HURT images drawn by lot, which alone are hurt, are among the HURT with the largest values."""
    random, found = np.random.default_rng(seed), 0
    for _ in range(DRAWS):
        chosen = random.permutation(len(hurt))[:HURT]
        values = others.copy()
        values[chosen] = hurt[chosen]
        found += len(np.intersect1d(np.argsort(-values, kind="stable")[:HURT], chosen))
    return found / DRAWS


class Subject:
    """A run's PTQ model, its images, and what FP32 finds in them."""

    def __init__(self, path: Path, scratch: Path) -> None:
        folder = RunFolder.open_existing(path)
        self.recipe, self.scratch = folder.owner(), scratch
        self.graph, self.plan = stored_graph(folder), stored_plan(folder)
        self.state = stored_state(folder, "ptq", self.plan)
        self.measured = stored_measured(folder)
        self.results = {"fp32": self._score(folder.artifact("fp32.onnx"))}

    def _score(self, path: Path) -> AccuracyResult:
        return evaluate_onnx(path, self.measured.truth, threads=1, session=load_exact(path))

    def measure(self, op: PlannedOp | None, way: str) -> dict[str, Any]:
        """One row; without an operation that of the model as it is, with which all others are compared."""
        start = time.monotonic()
        state = self.state if op is None else WAYS[way](self.plan, self.state, op)
        file = write_file(self.scratch / "ptq.onnx", self.graph, self.plan, state)
        self.results["ptq"] = self._score(file.path)
        rows = compare_images(self._as_measured(), "ptq", "fp32", CONF)["images"]
        damages = np.array([row["damage"] for row in rows])
        grown = np.array([row["loss"]["model"] - row["loss"]["reference"] for row in rows])
        row = {
            "layer": "" if op is None else op.result,
            "way": way,
            "map50_95": self.results["ptq"].map50_95,
            "reference": self.results["fp32"].map50_95,
            "images": len(damages),
            "damage": float(damages.sum()),
            "correlation_map": float(spearmanr(damages, influences(self.results, "ptq")).statistic),
        }
        order = np.argsort(-damages, kind="stable").tolist()
        if op is None:
            self._undamaged = damages, grown
            typical = median_errors(by_tensor(self._errors(file, order)))
            own = [error.own_sqnr_db for error in typical.values()]
            row |= {"tensors": len(own), "own_sqnr_db": np.percentile(own, [0, 5, 50, 95, 100]).round(1).tolist()}
        else:
            errors = self._errors(file, order)
            worst = list(errors)[:WORST]
            own = [errors[path][op.result].own_sqnr_db for path in worst]
            row |= {
                "hurt_first": hurt_first(damages, self._undamaged[0]),
                "auc": auc(damages, self._undamaged[0]),
                "auc_of_loss": auc(grown, self._undamaged[1]),
                "own_sqnr_db": float(np.median(own)),
                "worst": WORST,
                **place_of(op.result, errors, worst),
            }
        return row | {"seconds": round(time.monotonic() - start, 1)}

    def _as_measured(self) -> MeasuredImages:
        detections = {name: result.detections for name, result in self.results.items()}
        return dataclasses.replace(self.measured, detections=detections)

    def _errors(self, file: OnnxFile, order: list[int]) -> Errors:
        """Of the most damaged images, then of some others."""
        parameters = unquantized_parameters(self.graph, self.plan, self.state, trained=False)
        opened, preprocessing = OwnErrors(self.graph, self.plan, parameters, file), file.contract.preprocessing
        others = np.linspace(WORST, len(order) - 1, ORDINARY).round().astype(int)
        paths = [self.measured.truth.image_paths[i] for i in (*order[:WORST], *(order[place] for place in others))]
        return {path: opened.of_image(preprocess(read_for(path, preprocessing), preprocessing)[0]) for path in paths}


def damage_table(entries: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    rows = [
        [
            f"`{one['layer'].removesuffix(':conv2d:0')}`" if one["layer"] else NONE,
            one["way"],
            f"{100 * (one['map50_95'] - one['reference']):+.2f}",
            f"{one['damage']:.0f}",
            *(_of_layer(one) if one["layer"] else [""] * 5),
        ]
        for one in entries
    ]
    headers = [
        "convolution",
        "damage done",
        "mAP",
        "damage",
        "own, dB",
        "place",
        "first, in 3",
        f"of {HURT}",
        "AUC (loss)",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _of_layer(one: dict[str, Any]) -> list[str]:
    return [
        f"{one['own_sqnr_db']:.1f}",
        str(one["place"] or "not in 8"),
        f"{one['first']}, {one['first_three']}",
        f"{one['hurt_first']:.1f}",
        f"{one['auc']:.2f} ({one['auc_of_loss']:.2f})",
    ]


def summary(entries: Sequence[dict[str, Any]]) -> str:
    """What the rows say together, as Markdown."""
    (whole,) = [one for one in entries if not one["layer"]]
    damaged = [one for one in entries if one["layer"]]
    looked, hardly = sum(one["worst"] for one in damaged), [one for one in damaged if _lost(one) < 0.5]
    heavy = [one for one in damaged if _lost(one) >= HEAVY]
    least, low, middle, high, most = whole["own_sqnr_db"]
    better = sum(one["auc"] > one["auc_of_loss"] + 0.005 for one in damaged)
    worse = sum(one["auc"] < one["auc_of_loss"] - 0.005 for one in damaged)
    lines = (
        f"Undamaged, the {whole['tensors']} tensors have {least:g} to {most:g} dB by themselves, half of them over "
        f"{middle:g}, 90 % {low:g} to {high:g}.",
        f"The damaged layer's tensor is the first in {sum(one['place'] == 1 for one in damaged)} of {len(damaged)} "
        f"cases, of which {len(hardly)} cost less than half a point of mAP. Image by image it is the first on "
        f"{sum(one['first'] for one in damaged)} of {looked}, and among the first three on "
        f"{sum(one['first_three'] for one in damaged)}.",
        f"Where the file loses {HEAVY:g} points of mAP or more ({len(heavy)} cases), "
        f"{_between(one['hurt_first'] for one in heavy)} of the {HURT} hurt images are among the first {HURT}, and the "
        f"AUC is {_between(one['auc'] for one in heavy)}. Where it loses less than half a point, "
        f"{_between(one['hurt_first'] for one in hardly)}, and {_between(one['auc'] for one in hardly)}: most images "
        "of such a file are as good as before.",
        f"The AUC of damage is above that of the growth of loss in {better} cases and below in {worse} (by more than "
        f"0.005). The rank correlation with what each image takes from mAP50-95, of all thresholds and of both signs, "
        f"is {_between(one['correlation_map'] for one in heavy)} in the heavy cases, and "
        f"{whole['correlation_map']:.2f} without damage.",
    )
    return "\n".join(textwrap.fill(line, 130, initial_indent="- ", subsequent_indent="  ") for line in lines)


def _lost(one: dict[str, Any]) -> float:
    return 100 * float(one["reference"] - one["map50_95"])


def _between(values: Iterable[float]) -> str:
    known = list(values)
    return f"{min(known):.2g} to {max(known):.2g}"


def main() -> None:
    """Measures what is missing and prints all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS)
    arguments = parser.parse_args()
    file = ResultFile("damaged_layer")
    with tempfile.TemporaryDirectory() as scratch:
        subject = Subject(arguments.run_dir, Path(scratch))
        undamaged = subject.measure(None, NONE)  # every time: all others are compared with it
        if not file.find(recipe=subject.recipe, layer=""):
            file.add({"recipe": subject.recipe, **undamaged})
        for op in layers_of(subject.plan, arguments.layers):
            for way in WAYS:
                if not file.find(recipe=subject.recipe, layer=op.result, way=way):
                    file.add({"recipe": subject.recipe, **subject.measure(op, way)})
                    print(damage_table(file.entries[-1:]), flush=True)
    print(damage_table(file.entries))
    print(summary(file.entries))


if __name__ == "__main__":
    main()
