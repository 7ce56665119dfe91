"""How many planted label faults are found: by `edgegd labels`, by cleanlab, and by the losses of the images.

    python benchmarks/label_faults.py prepare SET.yaml --seed 0 --out FOLDER [--fold 0]
    python benchmarks/label_faults.py unseen SET.yaml --split val --weights FLOAT.pt --seeds 10
    python benchmarks/label_faults.py trained SET.yaml --seed 0 --runs RUN_DIR
    python benchmarks/label_faults.py trained SET.yaml --seed 0 --runs RUN_OF_FOLD_0 RUN_OF_FOLD_1

5 % of the labels get another class, 5 % are moved, 5 % are dropped (benchmarks/planted_labels.py). `unseen`: the
predictions are those of a float model that was trained on other images with clean labels; the same predictions serve
all seeds. `prepare` writes a data set with faulted training labels, for a training by `edgegd run ... --until export`;
with --fold only the half of the images of even (0) or odd (1) numbers. `trained`: the predictions on the faulted images
are those of a run that was trained on them, or of two runs of both folds, each on the images that it did not see.

For each kind: average precision of the list of suspects (what is equally suspicious counts together), and the share of
faults among the first as many as were planted. Writes benchmarks/results/label_faults.json. cleanlab must be
installed; of whole images its score is taken from edgegd.accuracy.label_quality, which a test finds equal.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cleanlab.object_detection import rank
from numpy.typing import NDArray
from planted_labels import KINDS, Fault, plant, write_set
from result_file import ResultFile

from edgegd.accuracy.found_boxes import found_boxes
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.image_learning import last_losses
from edgegd.accuracy.label_quality import PUBLISHED, Thresholds, label_quality, own_thresholds
from edgegd.accuracy.label_support import label_support
from edgegd.accuracy.label_suspects import suspects
from edgegd.accuracy.overlaps import overlaps
from edgegd.data.yaml_set import list_images, read_data_yaml
from edgegd.pipeline.artifacts import PORTABLE
from edgegd.pipeline.image_losses import stored_losses
from edgegd.pipeline.looked_images import LEAST_SCORE, LEAST_SUSPICION, MOST_DETECTIONS
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import stored_dataset
from edgegd.runtime.detector import Detections, Detector
from edgegd.runtime.images import read_image

ALL = 10**9
Rows = list[dict[str, Any]]
SUPPORT, CLEANLAB, CLEANLAB_OWN, LOSS = "support", "cleanlab", "cleanlab, own thresholds", "loss of the image"


def main() -> None:
    """Prepares a data set, or measures and stores one entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "unseen", "trained"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    described = read_data_yaml(arguments.data)
    images = list_images(arguments.split, described)
    truth = GroundTruth.from_yolo(images, described.names)
    sizes = [cv2.imread(str(path)).shape[1::-1] for path in images]
    if arguments.what == "prepare":
        faulted, _ = plant(truth, sizes, arguments.seed)
        own = range(len(images)) if arguments.fold is None else range(arguments.fold, len(images), 2)
        file = write_set(
            arguments.out, of_images(faulted, own), [sizes[at] for at in own], list_images("val", described)
        )
        print(file)
        return
    entry = {"set": arguments.data.stem, "images": len(images), "boxes": truth.box_count}
    losses = None
    if arguments.what == "unseen":
        detections, seeds = unseen(arguments.weights, images), range(arguments.seeds)
        entry |= {"kind": "unseen", "model": arguments.weights.name}
    else:
        detections, losses = trained(arguments.runs, images)
        seeds = range(arguments.seed, arguments.seed + 1)
        entry |= {"kind": "trained" if len(arguments.runs) == 1 else "out of fold"} | training_of(arguments.runs[0])
    found = [measure(truth, sizes, detections, seed, losses) for seed in seeds]
    entry |= {"seeds": list(seeds), "faults": found[0]["faults"], "found": found}
    results = ResultFile("label_faults")
    results.drop(lambda old: (old["set"], old["kind"]) == (entry["set"], entry["kind"]))
    results.add(entry)
    print_entry(entry)


def of_images(truth: GroundTruth, chosen: Sequence[int]) -> GroundTruth:
    """The chosen images alone."""
    columns = (truth.image_paths, truth.boxes, truth.class_ids)
    return GroundTruth(*(tuple(column[at] for at in chosen) for column in columns), truth.names)


def unseen(weights: Path, images: Sequence[Path]) -> list[Detections]:
    """What a float checkpoint detects, exported at 320 px."""
    from edgegd.detectors.deployment import deploy
    from edgegd.detectors.float_checkpoint import open_checkpoint
    from edgegd.export.float_graph import float_graph
    from edgegd.export.metadata import contract_of, set_metadata

    model = deploy(open_checkpoint(weights), end2end=None)
    graph = float_graph(model, (320, 320), 17)
    set_metadata(graph, model, contract_of(graph, model, (320, 320), "fp32", ""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        path.write_bytes(graph.SerializeToString())
        return detect(path, images)


def detect(model: Path, images: Sequence[Path]) -> list[Detections]:
    """As `edgegd labels` detects."""
    detector = Detector(model, conf=LEAST_SCORE, max_det=MOST_DETECTIONS, multi_label=True, clip=False)
    return [detector(read_image(path)) for path in images]


def training_of(run: Path) -> dict[str, Any]:
    """What the model was before, how large its images are, and how long it was trained."""
    recipe = RunFolder.open_existing(run).recipe
    return {
        "model": Path(recipe.model.weights).name,
        "imgsz": list(recipe.model.size),
        "float_epochs": recipe.model.float.epochs,
        "qat_epochs": recipe.train.epochs,
    }


def trained(runs: Sequence[Path], images: Sequence[Path]) -> tuple[list[Detections], NDArray[np.float64] | None]:
    """FP32's detections of the run, and each image's last losses; of folds those of the run that did not see it."""
    folders = [RunFolder.open_existing(path) for path in runs]
    names = [{path.name for path in stored_dataset(folder).train_images} for folder in folders]
    found: list[Any] = [None] * len(images)
    for folder, seen in zip(folders, names, strict=True):
        own = [at for at, path in enumerate(images) if len(runs) == 1 or path.name not in seen]
        for at, one in zip(own, detect(folder.require(PORTABLE["fp32"]), [images[at] for at in own]), strict=True):
            found[at] = one
    if len(runs) > 1:
        return found, None
    order = [path.name for path in stored_dataset(folders[0]).train_images]
    means = dict(zip(order, last_losses(stored_losses(folders[0], len(order)).losses), strict=True))
    return found, np.array([means[path.name] for path in images])


def measure(
    truth: GroundTruth,
    sizes: Sequence[tuple[int, int]],
    detections: Sequence[Detections],
    seed: int,
    losses: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """One planting: what each method finds of each kind, and which images it puts first."""
    faulted, faults = plant(truth, sizes, seed)
    own = own_thresholds(found_boxes(detections, faulted, MOST_DETECTIONS))
    suspicions = [
        label_support(found, boxes, ids).suspicions
        for found, boxes, ids in zip(detections, faulted.boxes, faulted.class_ids, strict=True)
    ]
    listed = suspects(suspicions, detections, faulted, dict.fromkeys(KINDS, 1e-6), ALL)
    methods: dict[str, Rows] = {
        SUPPORT: listed,
        CLEANLAB: by_cleanlab(detections, faulted, PUBLISHED),
        CLEANLAB_OWN: by_cleanlab(detections, faulted, own),
    }
    of_images = {
        SUPPORT: np.array([one.image for one in suspicions]),
        CLEANLAB: 1 - np.array([one.image for one in label_quality(detections, faulted)]),
        CLEANLAB_OWN: 1 - np.array([one.image for one in label_quality(detections, faulted, own)]),
    }
    if losses is not None:
        methods[LOSS] = by_loss(faulted, losses)
        of_images[LOSS] = losses
    planted = {kind: [fault for fault in faults if fault.kind == kind] for kind in KINDS}
    kinds = {
        name: {kind: counted([row for row in rows if row["kind"] == kind], planted[kind], faulted) for kind in KINDS}
        for name, rows in methods.items()
    }
    shown = [row for row in listed if row["score"] >= LEAST_SUSPICION["support"][row["kind"]]]
    wrong = {fault.image for fault in faults}
    is_wrong = np.array([at in wrong for at in range(len(sizes))])
    return {
        "seed": seed,
        "thresholds": [own.confident, own.likely],
        "faults": {kind: len(of) for kind, of in planted.items()},
        "kinds": kinds,
        "listed": {
            kind: precision_and_recall([row for row in shown if row["kind"] == kind], planted[kind], faulted)
            for kind in KINDS
        },
        "wrong_images": len(wrong),
        "image_ap": {name: average_precision(values, is_wrong, len(wrong)) for name, values in of_images.items()},
    }


def by_cleanlab(detections: Sequence[Detections], truth: GroundTruth, thresholds: Thresholds) -> Rows:
    """Cleanlab's scores of boxes as rows of suspects, the suspicion 1 - score."""
    labels = [{"bboxes": boxes, "labels": ids} for boxes, ids in zip(truth.boxes, truth.class_ids, strict=True)]
    predictions, orders = [], []
    for found in detections:
        columns = [found.class_ids == kind for kind in range(len(truth.names))]
        table = np.column_stack([found.xyxy, found.scores]).astype(np.float64)
        predictions.append([table[column] for column in columns])
        orders.append(np.concatenate([np.flatnonzero(column) for column in columns]))
    both = {"labels": labels, "predictions": predictions}
    high = {"high_probability_threshold": thresholds.confident}
    overlooked = rank.compute_overlooked_box_scores(**both, **high)
    placed = rank.compute_badloc_box_scores(**both, low_probability_threshold=thresholds.likely)
    swapped = rank.compute_swap_box_scores(**both, **high)
    rows: Rows = []
    for image, found in enumerate(detections):
        path = str(truth.image_paths[image])
        for detection, score in zip(orders[image].tolist(), overlooked[image].tolist(), strict=True):
            if not np.isnan(score):
                rows.append({"image": path, "kind": "overlooked", "score": 1 - score, "box": found.xyxy[detection]})
        for kind, scores in (("badly placed", placed[image]), ("swapped", swapped[image])):
            rows += [
                {"image": path, "kind": kind, "score": 1 - score, "box": box}
                for score, box in zip(scores.tolist(), truth.boxes[image], strict=True)
            ]
    return rows


def by_loss(truth: GroundTruth, losses: NDArray[np.float64]) -> Rows:
    """Every label as suspicious as its image's loss is high; of overlooked boxes a loss says nothing."""
    return [
        {"image": str(path), "kind": kind, "score": float(loss), "box": box}
        for path, loss, boxes in zip(truth.image_paths, losses, truth.boxes, strict=True)
        for box in boxes
        for kind in ("badly placed", "swapped")
    ]


def hits_of(rows: Rows, faults: Sequence[Fault], truth: GroundTruth) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The scores of rows, falling, and which of them is a planted fault that none before them was."""
    order = sorted(rows, key=lambda row: -row["score"])
    left: dict[str, list[Fault]] = {}
    for fault in faults:
        left.setdefault(str(truth.image_paths[fault.image]), []).append(fault)
    hits = np.zeros(len(order), bool)
    for at, row in enumerate(order):
        box = np.asarray(row["box"], np.float64)[None]
        for place, fault in enumerate(left.get(row["image"], ())):
            # A label that is there, its sides rounded to a tenth, or a detection of what is not there any more.
            there = fault.box if fault.row is None else truth.boxes[fault.image][fault.row]
            if overlaps(there[None], box)[0, 0] >= (0.5 if fault.row is None else 0.95):
                del left[row["image"]][place]
                hits[at] = True
                break
    return np.array([row["score"] for row in order]), hits


def counted(rows: Rows, faults: Sequence[Fault], truth: GroundTruth) -> dict[str, float]:
    """Average precision, and the share of the faults among the first as many rows."""
    scores, hits = hits_of(rows, faults, truth)
    return {
        "average_precision": average_precision(scores, hits, len(faults)),
        "among_first": first_share(scores, hits, len(faults)),
    }


def precision_and_recall(rows: Rows, faults: Sequence[Fault], truth: GroundTruth) -> dict[str, Any]:
    """Of a list as it stands."""
    _, hits = hits_of(rows, faults, truth)
    count = int(hits.sum())
    return {"rows": len(rows), "precision": count / len(rows) if rows else None, "recall": count / len(faults)}


def average_precision(scores: NDArray[np.float64], hits: NDArray[np.bool_], total: int) -> float:
    """Precision at each score, weighted by the recall that it adds; rows of equal scores count together."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    true = np.cumsum(hits)[last]
    return float(np.sum(np.diff(true, prepend=0) / total * true / (last + 1))) if len(scores) else 0.0


def first_share(scores: NDArray[np.float64], hits: NDArray[np.bool_], total: int) -> float:
    """The share of the faults among the first `total` rows; of those that tie for the last places the mean."""
    if len(scores) <= total:
        return float(hits.sum() / total)
    edge = scores[total - 1]
    before, tied = scores > edge, scores == edge
    return float((hits[before].sum() + hits[tied].mean() * (total - before.sum())) / total)


def print_entry(entry: dict[str, Any]) -> None:
    """A line for each method, the means over the seeds."""
    print(entry["set"], entry["kind"], entry["faults"])
    found = entry["found"]
    mean: Callable[[Callable[[Any], float]], float] = lambda of: float(np.mean([of(one) for one in found]))  # noqa: E731
    for name in found[0]["kinds"]:
        cells = [
            f"{kind} AP {mean(lambda one, n=name, k=kind: one['kinds'][n][k]['average_precision']):.2f} "
            f"first {mean(lambda one, n=name, k=kind: one['kinds'][n][k]['among_first']):.2f}"
            for kind in KINDS
        ]
        print(f"{name:26}", " | ".join(cells), f"| images {mean(lambda one, n=name: one['image_ap'][n]):.2f}")
    print("listed", found[0]["listed"], "wrong images", found[0]["wrong_images"])


if __name__ == "__main__":
    main()
