"""mAP of edgegd's INT8 files beside its peers', on several sets, by one evaluator on the same images.

    python benchmarks/accuracy_vs_peers.py --peer-python PEERS/bin/python
    python benchmarks/accuracy_vs_peers.py --peer-python PEERS/bin/python --sets bccd --data bccd=MY/bccd --seeds 0

Rows: Ultralytics' FP32 export, PTQ and QAT (its published settings); onnxruntime's quantize_static; NNCF's PTQ in
OpenVINO; OpenVINO, ncnn, MNN and LiteRT as `edgegd latency --beside` runs them; edgegd's PTQ with every refinement and
its QAT, run as a user runs them, for CPUs with VNNI (8-bit weights) and with AVX2 (7-bit weights). `--rows` names
others, which explain them: float training of the same length (ultralytics-float, edgegd-float), Ultralytics' QAT with
the recipe's settings, NNCF's defaults. PEERS is an environment with edgegd[train,bench], nncf, litert-torch and
ai-edge-quantizer. All calibrate on the same training images.

Files are measured in exact arithmetic (sums in 32 bits), and those with 8-bit weights also in the kernels of an x86 CPU
without VNNI, which saturate (`x86-avx2`; on a CPU with VNNI by tests/without_vnni.py). Every mAP has its bootstrap
interval, and the paired difference to FP32, to NNCF and, for QAT, to its own PTQ with theirs. Rows with chance are
measured for every seed; of trainings, the best epoch is chosen on the images on which it is reported.

Files are made by subprocesses in `--work`, whose seconds and memory are recorded, and results are appended to
benchmarks/results/accuracy_vs_peers/CPU-PROFILE.json: a killed benchmark goes on where it was. `--again` measures rows
anew.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.accuracy_table import HEADERS, accuracy_lines, table
from peers.comparison_sets import ROOT, SETS, ComparisonSet, chosen_sets
from peers.making import StepFailedError
from peers.measuring import Bench
from peers.rows import CONTROLS, ROWS, Row
from result_file import ResultFile

NAME = "accuracy_vs_peers"


def results_of(path: Path | None) -> ResultFile:
    """What is measured so far on this kind of CPU."""
    return ResultFile(NAME, path) if path else ResultFile.of_this_machine(NAME)


def is_measured(results: ResultFile, of: ComparisonSet, row: Row, seed: int) -> bool:
    """Whether a row's measurement of this checkpoint with these settings is stored."""
    wanted = {**of.identity, "row": row.name, "seed": seed}
    return any(all(entry.get(key) == value for key, value in wanted.items()) for entry in results.entries)


def is_replaced(entry: dict[str, Any], by: dict[str, Any]) -> bool:
    """Whether an entry is of the same row and seed, or of the row with another checkpoint or other settings."""
    identity = ("weights_sha256", "set_options")
    return all(entry[key] == by[key] for key in ("set", "row")) and (
        entry["seed"] == by["seed"] or any(entry.get(key) != by[key] for key in identity)
    )


def store(path: Path | None, measured: Sequence[dict[str, Any]]) -> None:
    """Adds a row's entries in the place of older ones; other processes may add theirs at the same time."""
    folder_path = results_of(path).path.parent
    folder_path.mkdir(parents=True, exist_ok=True)
    folder = os.open(folder_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        results = results_of(path)
        results.drop(lambda entry: any(is_replaced(entry, by) for by in measured))
        for entry in measured:
            results.add(entry, entry.pop("versions", {}))
    finally:
        os.close(folder)  # and the lock with it


def run_set(of: ComparisonSet, arguments: argparse.Namespace) -> list[str]:
    """Measures what is missing of one set; returns what failed."""
    bench, failed = Bench(of, arguments.work, arguments.peer_python), []
    for row in (ROWS[name] for name in arguments.rows):
        for seed in arguments.seeds if row.has_chance else [0]:
            title = f"{of.name}: {row.name}, seed {seed}"
            if arguments.again:
                bench.discard(row, seed)
            elif is_measured(results_of(arguments.result), of, row, seed):
                continue
            print(f"{title} ...", file=sys.stderr, flush=True)
            try:
                store(arguments.result, [of.identity | entry for entry in bench.measure(row, seed)])
            except StepFailedError as error:  # the other rows do not depend on it
                print(error, file=sys.stderr, flush=True)
                failed.append(title)
    return failed


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets to measure; absent ones are left out")
    option("--weights", nargs="*", default=[], metavar="SET=FILE", help="other float checkpoints than the sets' own")
    option("--data", nargs="*", default=[], metavar="SET=FOLDER", help="other folders of the images")
    option("--set", action="append", default=[], metavar="KEY=VALUE", help="other values of the sets' recipes")
    option("--peer-python", default=sys.executable, help="a Python with edgegd[train,bench] and nncf installed")
    option(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=[name for name in ROWS if name not in CONTROLS],
        help="rows to measure, if not yet measured",
    )
    option("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of rows with chance")
    option("--again", action="store_true", help="make and measure the rows anew, even if they are measured")
    option("--work", type=Path, default=ROOT / "runs/accuracy_vs_peers", help="folder of all files made")
    option("--result", type=Path, help="another file than this kind of CPU's below benchmarks/results/")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    for name in ("weights", "data"):
        pairs = [pair.partition("=")[::2] for pair in getattr(arguments, name)]
        if unknown := [key for key, value in pairs if key not in SETS or not value]:
            parser.error(f"--{name} takes SET=PATH with one of the sets {', '.join(SETS)}, not {unknown[0]}")
        setattr(arguments, name, {key: Path(value) for key, value in pairs})
    return arguments


def main() -> None:
    """Measures what is missing, set by set, and prints the table of all that is measured."""
    arguments = parse_arguments()
    if shutil.which(arguments.peer_python) is None:
        sys.exit(f"there is no program {arguments.peer_python} (--peer-python)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the running command ends too
    failed = []
    for of in chosen_sets(arguments.sets, arguments.weights, arguments.data, arguments.set):
        if absent := of.absent():
            print(
                f"{of.name} is left out: there is no {' and no '.join(map(str, absent))} (--weights, --data)",
                file=sys.stderr,
            )
            continue
        failed += run_set(of, arguments)
    print(table(HEADERS, accuracy_lines(results_of(arguments.result).entries)))
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
