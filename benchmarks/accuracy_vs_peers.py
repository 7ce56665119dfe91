"""mAP of edgegd's INT8 files on BCCD beside its peers', all in onnxruntime, by one evaluator on the same images.

    python benchmarks/accuracy_vs_peers.py --weights MY.pt --data MY/bccd --peer-python PEERS/bin/python
    python benchmarks/accuracy_vs_peers.py ... --rows edgegd-x86-vnni edgegd-x86-avx2 --seeds 0 1 2

Rows: Ultralytics' FP32 export, PTQ, QAT (its published settings, and those of edgegd's recipe) and float training of
the same length; onnxruntime's quantize_static; edgegd, run as a user runs it, and its training loop in float. PEERS is
an environment with edgegd[train,bench]. Each row is made by a subprocess and appended to
benchmarks/results/accuracy_vs_peers.json, so a killed benchmark goes on where it was. Of every row that trains, the
best epoch is chosen on the validation images on which it is reported; the last epoch stands beside it (for edgegd's QAT
in `epochs_map50_95_in_torch`), and the float trainings show what choosing and training longer give without
quantization.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
from tabulate import tabulate

from edgegd.accuracy.evaluate import evaluate_onnx
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.latency.fingerprint import fingerprint
from edgegd.recipe.load import load_recipe
from edgegd.runtime.contract import OUTPUT_NAME, ModelContract, OutputContract, Preprocessing
from edgegd.runtime.session import load_session

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/accuracy_vs_peers.json"
RECIPE = "bccd/yolo26n"
# Row -> whether it is trained, and so measured for every seed.
ROWS = {
    "ultralytics-fp32": False, "ultralytics-ptq": False,
    "onnxruntime-minmax": False, "onnxruntime-percentile": False, "onnxruntime-entropy": False,
    "ultralytics-qat": True, "ultralytics-qat-tuned": True, "ultralytics-float": True,
    "edgegd-float": True, "edgegd-x86-vnni": True, "edgegd-x86-avx2": True,
}  # fmt: skip


def convolutions(path: Path) -> dict[str, int]:
    """How many convolutions onnxruntime runs in integers, of how many, in the graph it optimized for this CPU."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        load_session(path, optimized_path=optimized)
        counts = Counter(node.op_type for node in onnx.load(optimized).graph.node)
    convs = {name: count for name, count in counts.items() if name.endswith(("Conv", "ConvInteger"))}
    return {"int8_convs": convs.get("QLinearConv", 0) + convs.get("ConvInteger", 0), "convs": sum(convs.values())}


def add_contract(path: Path, names: tuple[str, ...], imgsz: int) -> None:
    """Gives a peer's file edgegd's metadata, so that the same runtime reads it; the graph stays as it is."""
    graph = onnx.load(path)
    (output,) = [o for o in graph.graph.output if o.name == OUTPUT_NAME]
    shape = tuple(dimension.dim_value for dimension in output.type.tensor_type.shape.dim)
    kind = "end2end" if shape[2] == 6 else "raw"
    contract = ModelContract(Preprocessing(imgsz=(imgsz, imgsz)), OutputContract(kind, shape), names, stride=32)
    own = {prop.key: prop.value for prop in graph.metadata_props}
    onnx.helper.set_model_props(graph, own | contract.to_metadata())
    onnx.save(graph, path)


def run(command: list[str], log: Path) -> None:
    """Runs a subprocess with this project on its path; its output goes to `log`."""
    with log.open("a") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT,
                              env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed with exit code {done.returncode}; its output is in {log}")


def make_peer(row: str, seed: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Lets the peer, or edgegd's float training, make its files; returns what it says of them."""
    scripts = ROOT / "benchmarks/peers"
    command = [arguments.peer_python, str(scripts / "make_onnx.py"), row]
    if row == "edgegd-float":
        command = [sys.executable, str(scripts / "float_control.py")]
    run([*command, "--weights", str(arguments.weights), "--data", str(arguments.data), "--seed", str(seed),
         "--out", str(folder)], folder.with_suffix(".log"))  # fmt: skip
    made: dict[str, Any] = json.loads((folder / "made.json").read_text())
    return made


def make_edgegd(row: str, seed: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the recipe up to the accuracy stage; returns its plan's profile and its record of the epochs."""
    profile = row.removeprefix("edgegd-")
    settings = {"model.weights": arguments.weights, "data.path": arguments.data, "train.seed": seed,
                "target.profile": profile}  # fmt: skip
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    run([sys.executable, "-m", "edgegd.cli.main", "run", str(ROOT / f"recipes/{RECIPE}.yaml"), "--run-dir", str(folder),
         "--until", "accuracy", *overrides], folder.with_suffix(".log"))  # fmt: skip
    descent = json.loads((folder / "descent.json").read_text())
    return {"settings": {"profile": profile, "seed": seed}, "best_epoch": descent["best_epoch"],
            "epochs_map50_95_in_torch": [epoch["map50_95"] for epoch in descent["epochs"]]}  # fmt: skip


def measure(row: str, seed: int, arguments: argparse.Namespace, dataset: Dataset,
            imgsz: int) -> Iterator[dict[str, Any]]:
    """Makes the files of a row and measures each: one entry a file."""
    folder = arguments.work / f"{row}-{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    is_own = row.startswith("edgegd-x86")
    start = time.monotonic()
    made = (make_edgegd if is_own else make_peer)(row, seed, folder, arguments)
    minutes = (time.monotonic() - start) / 60
    truth = GroundTruth.from_yolo(dataset.val_images, dataset.names)
    for name in ("fp32", "ptq", "qat") if is_own else ("best", "last"):
        file = folder / f"{name}.onnx"
        if not file.exists():  # nothing was trained, so there is no last epoch
            continue
        if not is_own:
            add_contract(file, dataset.names, imgsz)
        result = evaluate_onnx(file, truth, threads=1)
        per_class = {key: value["map50_95"] for key, value in result.per_class.items()}
        yield {"row": row, "seed": seed, "file": name, "map50_95": result.map50_95, "map50": result.map50,
               "map50_95_per_class": per_class, **convolutions(file), "minutes": round(minutes, 1), **made}  # fmt: skip


def table(entries: list[dict[str, Any]]) -> str:
    """One line a row and file: the mean over the seeds, each seed, convolutions in integers, minutes."""
    lines = []
    for row, name in dict.fromkeys((entry["row"], entry["file"]) for entry in entries):
        own = [entry for entry in entries if (entry["row"], entry["file"]) == (row, name)]
        maps = [100 * entry["map50_95"] for entry in own]
        lines.append([
            row, name, f"{statistics.mean(maps):.2f}", " ".join(f"{value:.2f}" for value in maps),
            f"{100 * statistics.mean(entry['map50'] for entry in own):.2f}",
            f"{own[0]['int8_convs']}/{own[0]['convs']}", f"{statistics.mean(entry['minutes'] for entry in own):.1f}",
        ])  # fmt: skip
    headers = ["row", "file", "mAP50-95", "each seed", "mAP50", "int8 convs", "minutes"]
    return tabulate(lines, headers, disable_numparse=True)


def stored_entries(header: dict[str, Any]) -> list[dict[str, Any]]:
    """What is measured so far of this checkpoint."""
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    return stored["entries"] if stored.get("weights_sha256") == header["weights_sha256"] else []


def append(measured: list[dict[str, Any]], header: dict[str, Any]) -> None:
    """Adds entries to the JSON, to which other processes may add theirs; a kill leaves the old one whole."""
    RESULT.parent.mkdir(exist_ok=True)
    folder = os.open(RESULT.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        entries = stored_entries(header) + measured
        entries.sort(key=lambda entry: (list(ROWS).index(entry["row"]), entry["seed"]))
        temporary = RESULT.with_suffix(".partial")
        temporary.write_text(json.dumps({**header, "entries": entries}, indent=1) + "\n")
        os.replace(temporary, RESULT)
    finally:
        os.close(folder)  # and the lock with it


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--weights", type=Path, default=ROOT / "../shared/models/bccd-yolo26n-320.pt", help="float checkpoint")
    option("--data", type=Path, default=ROOT / "../shared/data/bccd", help="folder of the BCCD set")
    option("--peer-python", default=sys.executable, help="a Python with edgegd[train,bench] installed")
    option("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure, if not yet measured")
    option("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of rows that train")
    option("--work", type=Path, default=ROOT / "runs/accuracy_vs_peers", help="folder of all files made")
    arguments = parser.parse_args()
    for name in ("weights", "data", "work"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    return arguments


def main() -> None:
    """Measures what is missing, row by row, and prints the table of all that is measured."""
    arguments = parse_arguments()
    recipe = load_recipe(RECIPE, [f"data.path={arguments.data}"])
    dataset = open_dataset(recipe.data)
    header: dict[str, Any] = {
        "schema": 1, "weights_sha256": hashlib.sha256(arguments.weights.read_bytes()).hexdigest(),
        "imgsz": recipe.model.imgsz, "val_images": len(dataset.val_images),
        "recipe_train": dataclasses.asdict(recipe.train),
    }  # fmt: skip
    for row in arguments.rows:
        for seed in arguments.seeds if ROWS[row] else [0]:
            if any((entry["row"], entry["seed"]) == (row, seed) for entry in stored_entries(header)):
                continue
            print(f"{row}, seed {seed} ...", file=sys.stderr, flush=True)
            measured = list(measure(row, seed, arguments, dataset, recipe.model.imgsz))
            machine = {"date": datetime.now(timezone.utc).date().isoformat(), "machine": fingerprint()}
            append([entry | machine for entry in measured], header)
    print(table(stored_entries(header)))


if __name__ == "__main__":
    main()
