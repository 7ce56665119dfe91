"""Does `edgegd images` find a damaged layer, and the images that it hurt?

    python benchmarks/damaged_layer.py runs/demo

Takes the PTQ model of a run folder, damages one convolution of it at a time, exports it, and compares it with FP32 as
`edgegd images` does, on the images on which the run reports. Two ways: the range of the convolution's result is cut to a
third or a tenth, or its weights are put on a grid of 4 or 2 bits (15 or 3 levels a channel). For each: the drop of mAP;
at which place the layer's tensor stands among all tensors of the 8 most damaged images, and in how many of these it is
the first, and among the first three. And whether the images that were hurt come first, in three ways. Known: of 15 images
drawn by lot the damaged file's detections are taken and of all others the undamaged file's; how many of the 15 are among
the 15 most damaged (mean of 1000 draws), and how often an image has more damage with the damaged file than another one
with the undamaged file (AUC; 0.5 is chance); for comparison the same AUC of the growth of the image's loss. And rank
correlations of the damage with the points of mAP50-95 that the file loses against FP32 because of an image (of all
images, less those without it), which are of all IoU and score thresholds and of both signs.

Kept in benchmarks/results/damaged_layer.json; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
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
from edgegd.verify.own_errors import OwnErrors, unquantized_parameters

LAYERS, WORST, ORDINARY, HURT, DRAWS, CONF = 8, 8, 8, 15, 1000, 0.25
NONE = "none"


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


def place_of(address: str, errors: dict[Path, Any], worst: Sequence[Path]) -> dict[str, int]:
    """Where a tensor stands: among all images together (from 1; 0 for not among the 8), first and in the first three."""
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
        if op is None:
            self._undamaged = damages, grown
        else:
            row |= {
                "hurt_first": hurt_first(damages, self._undamaged[0]),
                "auc": auc(damages, self._undamaged[0]),
                "auc_of_loss": auc(grown, self._undamaged[1]),
                **self._tensors(file, np.argsort(-damages, kind="stable").tolist(), op.result),
            }
        return row | {"seconds": round(time.monotonic() - start, 1)}

    def _as_measured(self) -> MeasuredImages:
        detections = {name: result.detections for name, result in self.results.items()}
        return dataclasses.replace(self.measured, detections=detections)

    def _tensors(self, file: OnnxFile, order: list[int], address: str) -> dict[str, Any]:
        parameters = unquantized_parameters(self.graph, self.plan, self.state, trained=False)
        opened, preprocessing = OwnErrors(self.graph, self.plan, parameters, file), file.contract.preprocessing
        others = np.linspace(WORST, len(order) - 1, ORDINARY).round().astype(int)
        paths = [self.measured.truth.image_paths[i] for i in (*order[:WORST], *(order[place] for place in others))]
        errors = {path: opened.of_image(preprocess(read_for(path, preprocessing), preprocessing)[0]) for path in paths}
        own = [errors[path][address].own_sqnr_db for path in paths[:WORST]]
        return {"own_sqnr_db": float(np.median(own)), "worst": WORST, **place_of(address, errors, paths[:WORST])}


def damage_table(entries: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    rows = [
        [
            f"`{one['layer']}`" if one["layer"] else NONE,
            one["way"],
            f"{100 * (one['map50_95'] - one['reference']):+.2f}",
            f"{one['damage']:.0f}",
            f"{one['correlation_map']:.2f}",
            *(_of_layer(one) if one["layer"] else [""] * 5),
        ]
        for one in entries
    ]
    headers = ["layer", "damage done", "mAP to FP32", "damage", "with lost mAP", "own error, dB", "place"]
    headers += ["first / in first three", f"of {HURT} hurt in first {HURT}", "AUC (of loss)"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _of_layer(one: dict[str, Any]) -> list[str]:
    return [
        f"{one['own_sqnr_db']:.1f}",
        str(one["place"] or "not in 8"),
        f"{one['first']} / {one['first_three']} of {one['worst']}",
        f"{one['hurt_first']:.1f}",
        f"{one['auc']:.2f} ({one['auc_of_loss']:.2f})",
    ]


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


if __name__ == "__main__":
    main()
