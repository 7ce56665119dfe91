"""mAP against milliseconds: edgegd's files, its peers' and OpenVINO on the sets of finished runs, with a picture.

    python benchmarks/pareto.py --run bccd/silu=RUN0 bccd/silu=RUN1 bccd/relu=RUN2 streets/auto=RUN3 \\
        --peers bccd=runs/accuracy_vs_peers/bccd --peer-python PEERS/bin/python

--run names finished run folders by set and label; several of one name are seeds: the mAP is their mean, the latency
that of the first one's files (one graph). --peers names the set's folder below the --work of accuracy_vs_peers.py,
whose results have the peers' mAP. The mAP is onnxruntime's of the same file, for OpenVINO too. Each launch runs all
files of a set in fresh processes, in alternating blocks, on one thread; it is an entry of
benchmarks/results/pareto.json, so a killed benchmark goes on where it was. The picture is pareto.png beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import matplotlib
from interleaved import measure_launch, median_ms, missing, ratio, require_same_files
from peers.accuracy_table import EXACT, newest
from peers.target import PeerTarget
from result_file import ResultFile
from tabulate import tabulate

from edgegd.recipe.schema import LatencySection

matplotlib.use("Agg")
from matplotlib import pyplot

OWN_FILES = {"fp32": "fp32.onnx", "portable": "qat.onnx", "edge": "qat.edge.onnx"}
# A point's maker, as its name begins -> colour and marker. Those of edgegd are told apart by their last word.
STYLES = {
    "ultralytics": ("tab:orange", "s"),
    "onnxruntime": ("tab:green", "^"),
    "openvino": ("tab:purple", "D"),
    "edgegd": ("tab:blue", "o"),
}


class Point(NamedTuple):
    """One file: its name, mAP50-95 of every seed in 0..1, median latency in ms, and the names it is stored under."""

    name: str
    maps: tuple[float, ...]
    median_ms: float
    stored: tuple[str, ...] = ()


def own_files(label: str, runs: Sequence[Path]) -> tuple[dict[str, Path], dict[str, list[float]]]:
    """The files of the first run of a label, by the name of their point, and the mAPs of all its runs."""
    accuracies = [json.loads((run / "accuracy.json").read_text()) for run in runs]
    files, maps = {}, {}
    for kind, file in OWN_FILES.items():
        variant = "fp32" if kind == "fp32" else "qat"  # the edge file computes the portable one's very numbers
        name = f"edgegd {label} {kind}"
        files[name], maps[name] = runs[0] / file, [one[variant]["map50_95"] for one in accuracies]
        if kind != "edge":
            name = f"openvino {label} {kind}"
            files[name], maps[name] = runs[0] / file, maps[f"edgegd {label} {kind}"]
    return files, maps


def peer_files(of_set: str, folder: Path) -> tuple[dict[str, Path], dict[str, list[float]]]:
    """The peers' ONNX files of accuracy_vs_peers.py and the mAPs of their best epochs, every seed."""
    files: dict[str, Path] = {}
    maps = defaultdict(list)
    for entry in newest(results.entries for results in ResultFile.of_all_machines("accuracy_vs_peers")):
        file = folder / f"{entry['row']}-0/best.onnx"
        if (entry["set"], entry["file"], entry["arithmetic"]) != (of_set, "best", EXACT):
            continue
        if entry["row"].startswith(("edgegd", "nncf", "openvino")) or entry["row"].endswith("-float"):
            continue
        if not file.exists():
            print(f"there is no {file}: {entry['row']} is left out", file=sys.stderr)
            continue
        files[entry["row"]] = file
        maps[entry["row"]].append(entry["map50_95"])
    return files, dict(maps)


def points_of(entries: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The points of one set, fastest first; a maker's float files of equal content are one.

    A run stores its float file under its label, but swaps activations in the quantized ones only: it is the SiLU model.
    """
    maps, files = entries[-1]["map50_95"], entries[0]["files"]
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, file in files.items():
        same[name.split()[0] if name.endswith(" fp32") else name, file["sha256"]].append(name)
    points = []
    for (maker, _), names in same.items():
        alone = sum(other == maker for other, _ in same) == 1
        shown = maker if maker in files else f"{maker} silu fp32" + ("" if alone else f" ({names[0].split()[1]})")
        points.append(Point(shown, tuple(maps[names[0]]), mean(median_ms(entries, name) for name in names), (*names,)))
    return sorted(points, key=lambda point: point.median_ms)


def front(points: Sequence[Point]) -> list[Point]:
    """Those of the points, fastest first, that no faster point equals or exceeds in mAP."""
    best, chosen = -1.0, []
    for point in points:
        if mean(point.maps) > best:
            best = mean(point.maps)
            chosen.append(point)
    return chosen


def draw(points_by_set: Mapping[str, Sequence[Point]], path: Path) -> None:
    """One diagram a set: every point with its number, seeds as a bar from least to best, and the front as a line.

    Numbers, because several files of one mAP lie side by side and their names would not fit; the legend has the names.
    """
    figure, axes = pyplot.subplots(
        len(points_by_set), 1, figsize=(11, 6 * len(points_by_set)), squeeze=False, layout="constrained"
    )
    for axis, (name, points) in zip(axes[:, 0], points_by_set.items(), strict=True):
        on_front = front(points)
        axis.plot(
            [point.median_ms for point in on_front],
            [100 * mean(point.maps) for point in on_front],
            color="lightgrey",
            drawstyle="steps-post",
            zorder=0,
        )
        for number, point in enumerate(points, start=1):
            color, marker = STYLES[point.name.replace("-", " ").split()[0]]
            height, values = 100 * mean(point.maps), [100 * value for value in point.maps]
            spread = [[height - min(values)], [max(values) - height]]
            axis.errorbar(
                point.median_ms,
                height,
                spread,
                color=color,
                marker=marker,
                capsize=2,
                linestyle="none",
                markerfacecolor=color if point in on_front else "white",
                label=f"{number}  {point.name}: {point.median_ms:.1f} ms, {height:.1f}",
            )
        axis.set(
            title=f"{name}: filled points are on the front",
            xlabel="median latency on one thread, ms",
            ylabel="mAP50-95",
            xscale="log",
        )
        axis.margins(0.1)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.grid(True, which="both", color="whitesmoke")
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
        figure.canvas.draw()  # numbers are placed in pixels: the layout must be there
        _number(axis, points)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _number(axis: Any, points: Sequence[Point]) -> None:
    """Writes each point's number at the first of some places around it that no point and no number takes."""
    pixels = axis.transData.transform([(point.median_ms, 100 * mean(point.maps)) for point in points])
    taken = [(x, y) for x, y in pixels]
    scale = axis.figure.dpi / 72  # pixels a point of type
    for number, (point, (x, y)) in enumerate(zip(points, pixels, strict=True), start=1):
        places = [
            (dx, dy)
            for far in (12, 22, 32)
            for dx, dy in ((0, far), (0, -far), (far, 0), (-far, 0), (far, far), (-far, far), (far, -far), (-far, -far))
        ]
        free = next(
            (
                place
                for place in places
                if all(
                    abs(x + place[0] * scale - tx) > 13 * scale or abs(y + place[1] * scale - ty) > 9 * scale
                    for tx, ty in taken
                )
            ),
            places[0],
        )
        taken.append((x + free[0] * scale, y + free[1] * scale))
        axis.annotate(
            str(number),
            (point.median_ms, 100 * mean(point.maps)),
            free,
            textcoords="offset points",
            fontsize=9,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "silver", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
            if max(map(abs, free)) > 12
            else None,
        )


def table(results: ResultFile) -> str:
    """A line a point: time, ratio to the first FP32 file, mAP of every seed, and whether it is on the front."""
    lines = []
    for name in dict.fromkeys(entry["set"] for entry in results.entries):
        entries = results.find(set=name)
        points = points_of(entries)
        reference = next(file for file in entries[0]["files"] if "fp32" in file)
        for point in points:
            times = mean(ratio(entries, reference, stored)[0] for stored in point.stored)
            lines.append(
                [
                    name,
                    point.name,
                    f"{point.median_ms:.2f}",
                    f"{times:.2f}",
                    f"{100 * mean(point.maps):.2f}",
                    " ".join(f"{100 * value:.2f}" for value in point.maps),
                    "front" if point in front(points) else "",
                    len(entries),
                ]
            )
    headers = ["set", "file", "ms", "x FP32", "mAP50-95", "each seed", "", "launches"]
    return tabulate(lines, headers, disable_numparse=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--run", nargs="*", default=[], metavar="SET/LABEL=FOLDER", help="finished run folders")
    option("--peers", nargs="*", default=[], metavar="SET=FOLDER", help="the set's folder of accuracy_vs_peers.py")
    option("--peer-python", default=sys.executable, help="a Python with edgegd[train,bench] installed")
    option("--launches", type=int, default=5)
    option("--quads", type=int, default=2)
    option("--block-s", type=float, default=0.5)
    option("--result", type=Path, help="another file than benchmarks/results/pareto.json")
    return parser.parse_args()


def main() -> None:
    """Measures what is missing, draws the picture and prints the table of all that is measured."""
    arguments = parse_arguments()
    runs: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for name, folder in (pair.split("=", 1) for pair in arguments.run):
        of_set, label = name.split("/", 1)
        runs[of_set][label].append(Path(folder).resolve())
    peers = {of_set: Path(folder).resolve() for of_set, folder in (pair.split("=", 1) for pair in arguments.peers)}
    results = ResultFile("pareto", arguments.result)
    settings = LatencySection(threads=1, quads=arguments.quads, block_s=arguments.block_s)
    for of_set, labels in runs.items():
        files, maps = peer_files(of_set, peers[of_set]) if of_set in peers else ({}, {})
        for label, folders in labels.items():
            own, own_maps = own_files(label, folders)
            files, maps = files | own, maps | own_maps
        hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        require_same_files(results, {"set": of_set}, hashes)
        results.amend({"set": of_set}, {"map50_95": maps})  # a further seed changes no latency
        for launch in missing(results, {"set": of_set}, arguments.launches):
            measure_launch(
                results,
                {"set": of_set, "launch": launch},
                files,
                settings,
                PeerTarget(arguments.peer_python),
                more={"map50_95": maps},
                runtimes={name: "openvino-f32" for name in files if name.startswith("openvino ")},
            )
    print(table(results))
    names = dict.fromkeys(entry["set"] for entry in results.entries)
    draw({name: points_of(results.find(set=name)) for name in names}, results.path.with_suffix(".png"))


if __name__ == "__main__":
    main()
