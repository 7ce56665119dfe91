"""Draws the pictures of docs/descent.md, from committed runs and from examples of one weight that are computed here.

    python benchmarks/descent_pictures.py [--only rates]

They are docs/pictures/descent-NAME.svg. benchmarks/descent_runs.py makes benchmarks/results/descent/, of which
landscape.json is what `edgegd descent landscape` wrote for a run of the same recipe. The description inside a picture
is the hash of what was drawn, so that a test can tell an old one; what matplotlib writes differs between its versions.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
from descent_examples import full_and_rounded, one_weight, rounded_weight
from descent_tables import RESULTS, by_epoch, landscape, runs
from result_file import ROOT

matplotlib.use("svg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PICTURES = ROOT / "docs/pictures"
BLUE, ORANGE, GREEN, GREY = "tab:blue", "tab:orange", "tab:green", "dimgrey"


def draw_step(figure: Figure) -> None:
    """One step down the parabola, and those that follow it."""
    axis: Axes = figure.subplots()
    w = np.linspace(-0.5, 6, 100)
    axis.plot(w, (w - 2) ** 2, color=GREY, label="the loss (w - 2)²")
    steps = one_weight(5.0, 0.1, 12)
    axis.plot(
        steps, [(x - 2) ** 2 for x in steps], "o-", color=BLUE, markersize=4, linewidth=1, label="steps of rate 0.1"
    )
    tangent = np.array([4.1, 5.9])
    axis.plot(tangent, 9 + 6 * (tangent - 5), color=ORANGE, label="the slope at w = 5: 6")
    axis.annotate("5 → 4.4", (4.7, 7.0), (3.0, 8.5), arrowprops={"arrowstyle": "->", "color": GREY})
    axis.set(xlabel="weight w", ylabel="loss")
    axis.legend(fontsize=8)


def draw_toy_rates(figure: Figure) -> None:
    """The same weight at four rates."""
    axes = figure.subplots(1, 4, sharey=True)
    w = np.linspace(-1.6, 5.6, 100)
    for axis, rate in zip(axes, (0.01, 0.1, 0.9, 1.05), strict=True):
        steps = one_weight(5.0, rate, 12)
        axis.plot(w, (w - 2) ** 2, color="lightgrey")
        axis.plot(steps, [(x - 2) ** 2 for x in steps], ".-", color=BLUE, linewidth=0.8)
        axis.set(title=f"rate {rate:g}", xlabel="w", ylim=(-0.5, 16), xlim=(-1.8, 6))
    axes[0].set_ylabel("loss")


def draw_rates(figure: Figure) -> None:
    """AdamW at three rates, epoch by epoch."""
    axis = figure.subplots()
    found = runs("optimizers")
    for rate, color in ((1e-5, GREEN), (1e-4, BLUE), (1e-3, ORANGE), (1e-2, "tab:red")):
        losses = by_epoch(found[f"AdamW {rate:g}"])
        axis.plot(range(1, len(losses) + 1), losses, ".-", color=color, label=f"{rate:g}")
    axis.set(xlabel="epoch (2 steps)", ylabel="mean loss of the 16 images")
    axis.legend(title="learning rate", fontsize=8)


def draw_optimizers(figure: Figure) -> None:
    """The last epoch's loss of each optimizer by its rate."""
    axis = figure.subplots()
    found = runs("optimizers")
    kinds = list(dict.fromkeys(name.rpartition(" ")[0] for name in found))
    for kind, color in zip(kinds, (BLUE, ORANGE), strict=True):
        rates = [run["settings"]["lr0"] for name, run in found.items() if name.startswith(f"{kind} ")]
        losses = [by_epoch(run)[-1] for name, run in found.items() if name.startswith(f"{kind} ")]
        axis.plot(rates, losses, ".-", color=color, label=kind)
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss of the last epoch")
    axis.legend(fontsize=8)


def draw_batches(figure: Figure) -> None:
    """The loss of every step by the images seen, for three batch sizes."""
    axis = figure.subplots()
    for (name, run), color in zip(reversed(runs("batches").items()), ("lightgrey", ORANGE, BLUE), strict=True):
        batch = run["settings"]["batch"]
        seen = np.arange(1, len(run["loss"]) + 1) * batch
        axis.plot(seen, run["loss"], color=color, linewidth=2 if batch == 16 else 1, label=f"{name} a step")
    axis.set(xlabel="images seen (16 an epoch)", ylabel="loss of the step's batch")
    axis.legend(fontsize=8)


def draw_rounding(figure: Figure) -> None:
    """One weight that is rounded: the staircase, and how the straight-through gradient swings at its best step."""
    left, right = figure.subplots(1, 2)
    w = np.linspace(0, 5, 1001)
    smooth, stairs = full_and_rounded(w)
    left.plot(w, smooth, color=BLUE, label="in float: (w - 2.3)²")
    left.plot(w, stairs, color=ORANGE, label="rounded: (round(w) - 2.3)²")
    left.set(xlabel="weight w", ylabel="loss", ylim=(-0.3, 8))
    left.legend(fontsize=8)
    steps = rounded_weight(5.0, 0.1, 60)
    right.plot(steps, color=BLUE, label="the weight w")
    right.step(range(len(steps)), np.round(steps), color=ORANGE, linewidth=1, where="mid", label="its code round(w)")
    right.axhline(2.3, color="lightgrey", linestyle="--", linewidth=1, label="best in float")
    right.set(xlabel="step", ylabel="w")
    right.legend(fontsize=8)


def draw_mountain(figure: Figure) -> None:
    """The plane through start, best and last point of a real run, in float and quantized."""
    found = landscape()
    maps = figure.subplots(1, 2, sharex=True, sharey=True)
    surfaces = {form: np.array(found["grid"]["losses"][form], dtype=float) for form in ("float", "quantized")}
    xs, ys = (100 * np.array(found["grid"][name]) for name in "xy")
    scale = [f(surface.flatten().tolist()) for f, surface in ((min, surfaces["float"]), (max, surfaces["quantized"]))]
    levels = np.linspace(*scale, 12)
    for axis, (form, surface) in zip(maps, surfaces.items(), strict=True):
        image = axis.imshow(
            surface,
            extent=(xs[0], xs[-1], ys[0], ys[-1]),
            origin="lower",
            aspect="auto",
            vmin=scale[0],
            vmax=scale[1],
        )
        axis.contour(xs, ys, surface, levels=levels, colors="white", linewidths=0.4)
        path = found["path"]["weights"]
        axis.plot(100 * np.array(path["x"]), 100 * np.array(path["y"]), color="black", linewidth=1)
        for name, marker in (("start", "o"), ("best", "*"), ("last", "s")):
            point = found["points"][name]
            axis.plot(100 * point["x"], 100 * point["y"], marker, color="tab:red", markeredgecolor="white", label=name)
        axis.set(title={"float": "in float", "quantized": "under fake quantization"}[form])
        axis.set_xlabel("towards the best epoch, % of every filter")
    maps[0].set_ylabel("towards the last step, across, %")
    handles, labels = maps[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside upper center", ncols=3)
    figure.colorbar(image, ax=maps, label=f"loss of {found['images']} images")


def draw_cut(figure: Figure) -> None:
    """The loss along one real step."""
    axis = figure.subplots()
    cut = landscape()["cut"]
    t = np.array(cut["t"])
    for form, color, label in (("float", BLUE, "in float"), ("quantized", ORANGE, "under fake quantization")):
        values = np.array(cut["losses"][form], dtype=float)
        axis.plot(t, values - np.interp(0, t, values), color=color, linewidth=1, label=label)
    _, slope, bend = cut["step_length"]["parabola"]
    axis.plot(t, slope * t + bend * t * t, "--", color=GREY, linewidth=1, label="parabola of the step's length")
    for place in (0, 1):
        axis.axvline(place, color="lightgrey", linewidth=0.8, zorder=0)
    axis.set(xlabel="along the step: 0 before it, 1 after it", ylabel="loss less that before the step")
    length = cut["step_length"]
    axis.set_title(f"step {cut['step']}, alpha {length['alpha']:.2f}: {length['kind']}", fontsize=10)
    axis.legend(fontsize=8)


def draw_swing(figure: Figure) -> None:
    """A real weight that swings between two codes."""
    axis = figure.subplots()
    swing = runs("ranges")["AdamW"]["swinging"]
    codes = np.array(swing["codes"])
    axis.plot(codes, color=BLUE, label="the weight over its scale")
    axis.step(range(len(codes)), np.round(codes), color=ORANGE, linewidth=1, where="mid", label="its code")
    axis.set(xlabel="step", ylabel="codes", title=swing["weight"])
    axis.legend(fontsize=8)


def draw_ranges(figure: Figure) -> None:
    """The scales that moved most."""
    axis = figure.subplots()
    for group, values in runs("ranges")["AdamW"]["scales"].items():
        axis.plot(100 * (np.array(values) - 1), linewidth=1, label=group.split(":")[0])
    axis.set(xlabel="step", ylabel="change of the scale, %")
    axis.legend(fontsize=7)


def draw_validation(figure: Figure) -> None:
    """Training loss, validation loss and mAP by epoch."""
    left = figure.subplots()
    run = runs("validation")["AdamW"]
    epochs = range(len(run["validated"]))
    left.plot(epochs[1:], by_epoch(run), ".-", color=BLUE, label="loss, 16 training images")
    left.plot(epochs, [row["loss"] for row in run["validated"]], ".-", color=ORANGE, label="loss, 60 validation images")
    left.set(xlabel="epoch", ylabel="loss")
    right = left.twinx()
    maps = [100 * row["map50_95"] for row in run["validated"]]
    right.plot(epochs, maps, ".-", color=GREEN, label="mAP50-95 (right)")
    right.set_ylabel("mAP50-95")
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)


Draw = Callable[[Figure], None]
_NOTHING: tuple[str, ...] = ()
DRAWN: dict[str, tuple[Draw, tuple[float, float], tuple[str, ...]]] = {
    "step": (draw_step, (6.5, 3.0), _NOTHING),
    "toy-rates": (draw_toy_rates, (8.0, 2.6), _NOTHING),
    "rates": (draw_rates, (6.5, 3.2), ("optimizers",)),
    "batches": (draw_batches, (6.5, 3.2), ("batches",)),
    "optimizers": (draw_optimizers, (6.5, 3.2), ("optimizers",)),
    "rounding": (draw_rounding, (8.0, 3.0), _NOTHING),
    "mountain": (draw_mountain, (8.0, 3.6), ("landscape",)),
    "cut": (draw_cut, (6.5, 3.2), ("landscape",)),
    "swing": (draw_swing, (6.5, 2.8), ("ranges",)),
    "ranges": (draw_ranges, (6.5, 3.2), ("ranges",)),
    "validation": (draw_validation, (6.5, 3.4), ("validation",)),
}
"""Picture -> how it is drawn, its size in inches, and the results that it shows (none: an example of one weight)."""


def description(name: str) -> str:
    """The hash of the results that a picture shows, or of the examples' code."""
    files = [RESULTS / f"{result}.json" for result in DRAWN[name][2]] or [ROOT / "benchmarks/descent_examples.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def described(path: Path) -> str:
    """The description inside a picture."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(encoding="utf-8"), re.DOTALL)
    return found[1].strip() if found else ""


def draw(name: str, path: Path) -> None:
    """One picture on a white ground, which GitHub's dark theme needs."""
    function, size, _ = DRAWN[name]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgegd", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        function(figure)
        figure.savefig(path, format="svg", metadata={"Date": None, "Description": description(name)})


def main() -> None:
    """Draws all pictures, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=DRAWN)
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    for name in [arguments.only] if arguments.only else DRAWN:
        draw(name, PICTURES / f"descent-{name}.svg")


if __name__ == "__main__":
    main()
