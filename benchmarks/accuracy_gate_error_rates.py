"""How often the accuracy gate is wrong: pairs of models of known difference, gates on sets of their images.

    python benchmarks/accuracy_gate_error_rates.py detect --work FOLDER --set NAME --images FOLDER --classes A,B \
        --model fp32=FILE.onnx --model ptq=FILE.onnx ...
    python benchmarks/accuracy_gate_error_rates.py coarsen IN.onnx OUT.onnx --convolution 2 --bits 3
    python benchmarks/accuracy_gate_error_rates.py count --work FOLDER
    python benchmarks/accuracy_gate_error_rates.py table

`detect` stores what models detect in labelled images; `coarsen` makes a damaged one: the weights of one convolution on
a coarse grid. `count` takes each such set of images as a whole population, whose difference of mAP is known, and draws
sets from it with replacement; made-up pairs are those of interval_coverage.py. Pairs are the models themselves, and
made from them: `mixed` (a coin decides for each image which of two models' detections the one has and the other does
not: equal but for chance), `dropped` (of FP32's detections a share is left out), `class` (of one class alone) and
`failing` (of a share of the images all). Counted is how often the true difference lies beyond each bound: with that
difference as the margin, these are the false PASSes and the false REGRESSEDs, each at its worst. Beside the gate's
bounds stand, of the same draws, its bootstrap's alone, the same at 5 %, plain percentiles and BCa's (Efron 1987) at
5 %. Rows that are in
benchmarks/results/ are not counted again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import interval_coverage
import numpy as np
from numpy.typing import NDArray
from result_file import ResultFile
from tabulate import tabulate

from edgegd.accuracy.evaluate import evaluate_onnx, score
from edgegd.accuracy.gate import ALPHA, BOUND_ALPHA, FEWEST_IMAGES, accuracy_gate, bounds_of, sampled_maps, verdict_of
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.matches import ClassMatches, Matches
from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.small_samples import one_sided_bounds
from edgegd.accuracy.sparse_losses import lost_boxes
from edgegd.accuracy.weighted import mean_precisions
from edgegd.runtime.detector import Detections
from edgegd.verdict import Verdict
from edgegd.verify.exact_session import load_exact

MARGIN = 0.005
DRAWS = 200
LEAST_SCORE = 0.05  # of detections that are kept: those below it move a mAP little, and take most of the time
METHODS = ("gate", "bootstrap", "expanded", "percentile", "bca")


@dataclass(frozen=True)
class Row:
    """Sets of `images` images from `population` (a set of `detect`, or `made-up N classes`), and a pair of models."""

    population: str
    pair: str
    images: int
    sets: int


SIZES = (30, 87)
PAIRS = (
    ("streets", "fp32 > ptq"),
    ("streets", "fp32 > coarse"),
    ("streets", "failing 0.01"),
    ("streets", "dropped 0.01"),
    ("streets", "dropped 0.02"),
    ("streets", "dropped 0.05"),
    ("streets", "class 1 0.03"),
    ("bccd", "fp32 > ptq"),
    ("bccd", "mixed qat seed 0, qat seed 1"),
    ("bccd", "dropped 0.02"),
    ("bccd", "class 2 0.05"),
)
ROWS = (
    *(Row(name, pair, images, 400) for name, pair in PAIRS for images in SIZES),
    Row("made-up, 3 classes", "weaker", 6, 300),
    Row("made-up, 3 classes", "weaker", 20, 100),
)


@dataclass(frozen=True)
class Population:
    """A pair of models (reference, candidate) on all images, and the true difference of their mAP50-95."""

    reference: Matches
    candidate: Matches

    @property
    def difference(self) -> float:
        """Candidate minus reference, of the whole population."""
        once = np.ones((1, self.reference.images), np.int64)
        found = [mean_precisions(one, once).map50_95[0] for one in (self.candidate, self.reference)]
        return float(found[0] - found[1])

    def drawn(self, images: int, random: np.random.Generator) -> tuple[Matches, Matches]:
        """(reference, candidate) on a set of so many images, drawn with replacement."""
        chosen = random.integers(self.reference.images, size=images)
        return taken(self.reference, chosen), taken(self.candidate, chosen)


def taken(matches: Matches, chosen: NDArray[np.int64]) -> Matches:
    """The matches of the images `chosen` (n,), each of which is an image of its own, however often it was chosen."""
    slots, counts = np.argsort(chosen, kind="stable"), np.bincount(chosen, minlength=matches.images)
    first = np.cumsum(counts) - counts
    of_classes = []
    for one in matches.classes:
        times = counts[one.images]
        order = np.repeat(np.arange(len(one.images)), times)
        copy = np.arange(len(order)) - np.repeat(np.cumsum(times) - times, times)
        images = slots[first[one.images[order]] + copy]
        of_classes.append(ClassMatches(images, one.true[:, order], one.ignored[:, order], one.truth[chosen]))
    return Matches(len(chosen), matches.recalls, tuple(of for of in of_classes if of.truth.any()))


def population(work: Path, row: Row) -> Population:
    """The pair of a row, on all images of its set."""
    if row.population.startswith("made-up"):
        setting = _setting(row)
        return Population(
            *interval_coverage.models(setting, interval_coverage.POPULATION // 2, np.random.default_rng(0))
        )
    measured = stored(work, row.population)
    kind, *rest = row.pair.split(" ", 1)
    if rest and rest[0].startswith("> "):
        return Population(measured.matches(kind), measured.matches(rest[0][2:]))
    random, first = np.random.default_rng(0), measured.detections["fp32"]
    if kind == "mixed":
        names = rest[0].split(", ")
        coins = random.integers(2, size=len(first))
        both = [[measured.detections[names[coin ^ side]][i] for i, coin in enumerate(coins)] for side in (0, 1)]
        return Population(*(score(found, measured.truth).matches for found in both))
    *of_class, text = rest[0].split()
    share = float(text)
    if kind in ("dropped", "class"):
        chosen = set(map(int, of_class)) or set(range(len(measured.truth.names)))
        lost = [(random.random(len(found)) < share) & np.isin(found.class_ids, [*chosen]) for found in first]
    else:
        lost = [
            np.full(len(found), fails) for found, fails in zip(first, random.random(len(first)) < share, strict=True)
        ]
    damaged = [_kept(found, ~of) for found, of in zip(first, lost, strict=True)]
    return Population(measured.matches("fp32"), score(damaged, measured.truth).matches)


def _setting(row: Row) -> interval_coverage.Setting:
    classes = int(row.population.split()[1])
    return interval_coverage.Setting(row.images, classes, 10 if classes == 3 else 7, -0.02)


def _kept(found: Detections, keep: NDArray[np.bool_]) -> Detections:
    return Detections(found.xyxy[keep], found.scores[keep], found.class_ids[keep], found.names)


def count(row: Row, pair: Population) -> dict[str, Any]:
    """The shares of the row's sets."""
    random, truth = np.random.default_rng(1), pair.difference
    made_up = row.population.startswith("made-up")
    bounds: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
    verdicts: list[Verdict] = []
    for number in range(row.sets):
        print(f"\r{row}: {number}/{row.sets}", end="", file=sys.stderr, flush=True)
        if made_up:
            reference, candidate = interval_coverage.models(_setting(row), row.images, random)
        else:
            reference, candidate = pair.drawn(row.images, random)
        sampled = sampled_maps(candidate, reference, DRAWS, number)
        differences = sampled[0] - sampled[1]
        labelled = candidate.labelled_images
        unseen = (1 - ALPHA ** (1 / row.images)) * float(sampled[1][0])
        low, high = bounds_of(differences, labelled, lost_boxes(candidate, reference), unseen)
        bounds["gate"].append((low, high))
        bounds["bootstrap"].append(one_sided_bounds(differences[1:], BOUND_ALPHA, labelled))
        bounds["expanded"].append(one_sided_bounds(differences[1:], ALPHA, labelled))
        bounds["percentile"].append(tuple(np.nanpercentile(differences[1:], [100 * ALPHA, 100 - 100 * ALPHA])))
        if made_up:
            bounds["bca"].append(_bca(candidate, reference, differences))
        enough = labelled >= FEWEST_IMAGES
        verdicts.append(verdict_of(low, high, MARGIN) if enough else Verdict.INCONCLUSIVE)
    shares = {
        method: {
            "false_pass": float(np.mean([low > truth for low, _ in found])),
            "false_regressed": float(np.mean([high < truth for _, high in found])),
            "width": float(np.mean([high - low for low, high in found])),
        }
        for method, found in bounds.items()
        if found
    }
    return {
        **asdict(row),
        "draws": DRAWS,
        "alpha": ALPHA,
        "margin": MARGIN,
        "population_images": pair.reference.images,
        "difference": truth,
        "bounds": shares,
        "verdicts": {verdict.value: verdicts.count(verdict) / row.sets for verdict in Verdict if verdict != "INVALID"},
        "foretold": _foretold(pair, row) if row.images >= FEWEST_IMAGES else None,
    }


def _bca(candidate: Matches, reference: Matches, differences: NDArray[np.float64]) -> tuple[float, float]:
    """BCa's bounds at ALPHA: percentiles moved by the draws' bias, and by the skewness of leaving out each image."""
    from scipy.stats import norm

    own, draws, images = differences[0], differences[1:], candidate.images
    left_out = 1 - np.eye(images, dtype=np.int64)
    each = mean_precisions(candidate, left_out).map50_95 - mean_precisions(reference, left_out).map50_95
    each = np.nanmean(each) - np.where(np.isnan(each), np.nanmean(each), each)
    spread = (each**2).sum() ** 1.5
    acceleration = (each**3).sum() / 6 / spread if spread else 0.0
    bias = norm.ppf(np.clip(np.mean(draws < own) + np.mean(draws == own) / 2, 1e-3, 1 - 1e-3))

    def tail(share: float) -> float:
        moved = bias + norm.ppf(share)
        return 100 * float(norm.cdf(bias + moved / (1 - acceleration * moved)))

    low, high = np.nanpercentile(draws, [tail(ALPHA), tail(1 - ALPHA)])
    return float(low), float(high)


def _foretold(pair: Population, row: Row) -> dict[str, float | None]:
    """What the gate of one set of this size says of itself."""
    reference, candidate = pair.drawn(row.images, np.random.default_rng(2))
    gate = accuracy_gate(candidate, reference, MARGIN, resamples=DRAWS)
    return {key: getattr(gate, key) for key in ("detectable", "pass_probability", "images_needed", "unseen_share")}


def detect(work: Path, name: str, folder: Path, classes: list[str], models: dict[str, Path]) -> None:
    """Stores what each model detects in the images below a folder."""
    images = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    truth = GroundTruth.from_yolo(images, classes)
    found = {}
    for model, path in models.items():
        session = load_exact(path, threads=1)
        result = evaluate_onnx(path, truth, conf=LEAST_SCORE, threads=1, session=session)
        print(f"{name}, {model}: {100 * result.map50_95:.2f} on {len(images)} images", flush=True)
        found[model] = result.detections
    store(work, name, truth, found)


def store(work: Path, name: str, truth: GroundTruth, found: dict[str, Any]) -> None:
    """Writes WORK/NAME.npz and NAME.json."""
    images = len(truth.image_paths)
    sizes, hashes = np.ones((images, 2), np.int32), ("",) * images
    shapes = dict.fromkeys(found, (1, 1))
    measured = MeasuredImages(truth, sizes, hashes, found, shapes, LEAST_SCORE, 0.7, 300)
    np.savez_compressed(work / f"{name}.npz", **measured.to_arrays())
    (work / f"{name}.json").write_text(json.dumps(measured.to_dict()))


def stored(work: Path, name: str) -> MeasuredImages:
    """What `detect` stored."""
    with np.load(work / f"{name}.npz") as arrays:
        return MeasuredImages.from_arrays(dict(arrays), json.loads((work / f"{name}.json").read_text()))


def coarsen(source: Path, target: Path, convolution: int, bits: int) -> None:
    """A copy of a float model whose so-many-th convolution has weights of so few bits, a scale for each channel."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    name = [node for node in model.graph.node if node.op_type == "Conv"][convolution].input[1]
    (weights,) = (one for one in model.graph.initializer if one.name == name)
    values = numpy_helper.to_array(weights)
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.maximum(largest, 1e-12) / (2 ** (bits - 1) - 1)
    weights.CopyFrom(numpy_helper.from_array((np.rint(values / scale) * scale).astype(values.dtype), name))
    onnx.save(model, target)


def table(entries: list[dict[str, Any]], style: str = "simple") -> str:
    """A line a row; shares in percent, differences in points."""
    lines = []
    for entry in entries:
        bounds = entry["bounds"]
        lines.append(
            [
                entry["population"],
                entry["pair"],
                entry["images"],
                f"{100 * entry['difference']:+.2f}",
                f"{100 * bounds['gate']['width'] / 2:.2f}",
                *(
                    f"{100 * bounds[method]['false_pass']:.1f} / {100 * bounds[method]['false_regressed']:.1f}"
                    if method in bounds
                    else ""
                    for method in METHODS
                ),
                *(f"{100 * entry['verdicts'][verdict]:.0f}" for verdict in ("PASS", "REGRESSED", "INCONCLUSIVE")),
            ]
        )
    headers = [
        "images of",
        "pair",
        "images",
        "true difference",
        "half width",
        "false PASS / REGRESSED %",
        "bootstrap alone",
        "at 5 %",
        "percentiles",
        "BCa",
        "PASS %",
        "REGRESSED %",
        "INCONCLUSIVE %",
    ]
    return tabulate(lines, headers, tablefmt=style, disable_numparse=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    of_detect = commands.add_parser("detect")
    for option in ("--work", "--images"):
        of_detect.add_argument(option, type=Path, required=True)
    for option in ("--set", "--classes"):
        of_detect.add_argument(option, required=True)
    of_detect.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
    of_coarsen = commands.add_parser("coarsen")
    for option in ("source", "target"):
        of_coarsen.add_argument(option, type=Path)
    for option in ("--convolution", "--bits"):
        of_coarsen.add_argument(option, type=int, required=True)
    commands.add_parser("count").add_argument("--work", type=Path, required=True)
    commands.add_parser("table")
    arguments = parser.parse_args()
    results = ResultFile("accuracy_gate_error_rates")
    if arguments.what == "detect":
        models = {name: Path(file) for name, file in (one.split("=", 1) for one in arguments.model)}
        detect(arguments.work, arguments.set, arguments.images, arguments.classes.split(","), models)
    elif arguments.what == "coarsen":
        coarsen(arguments.source, arguments.target, arguments.convolution, arguments.bits)
    elif arguments.what == "count":
        for row in ROWS:
            if not results.find(**asdict(row)):
                results.add(count(row, population(arguments.work, row)))
    if arguments.what in ("count", "table"):
        print(f"\n{table(results.entries)}")


if __name__ == "__main__":
    main()
