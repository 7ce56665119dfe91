"""What each pass of the edge file gains: the file with all of them beside files with one left out, in one run.

    python benchmarks/passes.py --form raw end2end --activation silu relu --launches 5
    python benchmarks/passes.py --threads 2 --spinning

The files are made for the profile of this CPU, with every pass, also those that edgegd leaves out for that profile
because they were measured to be slower there (`slower_on` of a pass). Each launch runs all files of a detector in fresh
processes, in alternating blocks; it is an entry of benchmarks/results/passes/CPU-PROFILE.json, so a killed benchmark
goes on where it was. Before it measures, it compares the output of every file with the portable file's on drawn scenes,
number for number.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
from detectors import made
from interleaved import measure_launch, median_ms, missing, ratio, require_same_files
from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.data.streets import render_scene
from edgegd.export.edge import PASS_NAMES, build_edge, left_out_with
from edgegd.recipe.schema import LatencySection
from edgegd.runtime.contract import INPUT_NAME
from edgegd.runtime.letterbox import network_input
from edgegd.runtime.session import load_model
from edgegd.targets.local import LocalTarget

ALL, PORTABLE = "all passes", "portable"
SCENES = 2


def files_without(portable: Path) -> dict[str, Path]:
    """The edge files of a portable file: with all passes (the reference), the portable one, and each pass left out."""
    graph = onnx.load(portable)
    files = {ALL: portable.with_suffix(".edge.onnx"), PORTABLE: portable}
    onnx.save(build_edge(graph, portable.name, slower_too=True)[0], files[ALL])
    for name in PASS_NAMES:
        file = files[f"without {name}"] = portable.with_name(f"{portable.stem}.without-{name}.onnx")
        onnx.save(build_edge(graph, portable.name, without=left_out_with(name), slower_too=True)[0], file)
    return files


def outputs(file: Path) -> np.ndarray:
    """The file's output of each drawn scene."""
    session, contract = load_model(file)
    images = [render_scene(np.random.default_rng(100 + seed)).image for seed in range(SCENES)]
    inputs = [network_input(image, contract.preprocessing)[0] for image in images]
    return np.concatenate([session.run(None, {INPUT_NAME: pixels})[0] for pixels in inputs])


def require_exact(files: dict[str, Path]) -> None:
    """Ends the benchmark where a file's output is not the portable file's."""
    expected = outputs(files[PORTABLE])
    differing = [name for name, file in files.items() if not np.array_equal(outputs(file), expected)]
    if differing:
        sys.exit(f"other outputs than the portable file's: {', '.join(differing)}")


def table(results: ResultFile) -> str:
    """A line a file: its time, and how many times longer it takes than with all passes."""
    lines = []
    keys = ("model", "form", "activation", "imgsz", "threads", "spinning")
    for group in dict.fromkeys(tuple(entry[name] for name in keys) for entry in results.entries):
        entries = results.find(**dict(zip(keys, group, strict=True)))
        for name in entries[0]["files"]:
            longer, low, high = ratio(entries, name, ALL)
            lines.append(
                [
                    *group,
                    name,
                    f"{median_ms(entries, name):.2f}",
                    f"{longer:.3f}",
                    f"{low:.3f}-{high:.3f}",
                    len(entries),
                ]
            )
    headers = [
        "model",
        "form",
        "activation",
        "px",
        "threads",
        "spinning",
        "file",
        "ms",
        "x all passes",
        "95 %",
        "launches",
    ]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    """Measures what is missing, and prints the table of all that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--models", nargs="+", default=["yolo26n"], help="architectures")
    option("--form", nargs="+", choices=("raw", "end2end"), default=["raw", "end2end"])
    option("--activation", nargs="+", choices=("silu", "relu"), default=["silu", "relu"])
    option("--imgsz", type=int, default=640)
    option("--threads", type=int, default=1)
    option("--spinning", action="store_true", help="let idle threads of onnxruntime spin, as is its default")
    option("--launches", type=int, default=5)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--work", type=Path, default=ROOT / "runs/passes", help="folder of all files made")
    option("--result", type=Path, help="another file than benchmarks/results/passes/CPU-PROFILE.json")
    arguments = parser.parse_args()
    results, imgsz = ResultFile.of_this_machine("passes", arguments.result), arguments.imgsz
    settings = LatencySection(
        threads=arguments.threads, spinning=arguments.spinning, quads=arguments.quads, block_s=arguments.block_s
    )
    detectors = [(model, form) for model in arguments.models for form in arguments.form]
    for model, form in detectors:
        folder = made(model, imgsz, arguments.work / f"{model}-{form}-{imgsz}", end2end=form == "end2end")
        for activation in arguments.activation:
            files = files_without(folder / f"{activation}.onnx")
            require_exact(files)
            key = {
                "model": model,
                "form": form,
                "activation": activation,
                "imgsz": imgsz,
                "threads": arguments.threads,
                "spinning": arguments.spinning,
            }
            hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
            require_same_files(results, key, hashes)
            for launch in missing(results, key, arguments.launches):
                measure_launch(results, {**key, "launch": launch}, files, settings, LocalTarget())
    print(table(results))


if __name__ == "__main__":
    main()
