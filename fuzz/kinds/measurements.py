"""What measurements leave: raw data, gates, baselines and their history, calibrations of devices."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.base import BOARD, SHIPPED
from fuzz.kinds.models import spoil_model
from fuzz.spoil import spoil
from fuzz.tree_mutations import change_json
from fuzz.trial import Kind, Trial

_TIMES = ("first_ns", "durations_ns")


def _raw(random: Random, place: Path, number: int) -> Trial:
    path = place / "gates/one/board.jsonl"
    lines, may = path.read_text().splitlines(), True
    if random.random() < 0.7:
        index = random.choice((0, 1, 2, len(lines) - 2, len(lines) - 1, random.randrange(len(lines))))
        change = change_json(random, lines[index])
        lines[index] = change.text.replace("\n", " ")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
        what = f"line {index}: {change.what}"
        if change.value is not None and change.steps and change.steps[0] in _TIMES and json.loads(lines[index]):
            may = change.value.raw in ("1", "100000000", "2147483648")  # durations that a slow device may have
    else:
        what, may, _ = spoil(random, path)
    commands = (
        ("latency", "replay", "gates/one"),
        ("latency", "replay", "gates/one/board.jsonl", "--json"),
        ("latency", "plot", "gates/one/board.jsonl", "--output", "new.png"),
    )
    return Trial(random.choice(commands), what, ("new.png",), may_succeed=may)


def _gate(random: Random, place: Path, number: int) -> Trial:
    what, _, _ = spoil(random, place / "gates/one/gate.json", "json")
    return Trial(("latency", "replay", "gates/one", *random.choice(((), ("--json",)))), what)


def _baseline(random: Random, place: Path, number: int) -> Trial:
    folder = place / "baselines" / SHIPPED
    path = folder / random.choice(("baseline.json", "baseline.json", "history.jsonl", "model.onnx"))
    may = True
    if path.name == "model.onnx":
        what, _ = spoil_model(random, path)
    elif path.name == "history.jsonl" and random.random() < 0.6:
        change = change_json(random, path.read_text().splitlines()[0])
        path.write_text(change.text + "\n", encoding="utf-8", errors="surrogatepass")
        what = f"history: {change.what}"
    else:
        what, may, _ = spoil(random, path, "json" if path.suffix == ".json" else "")
        may = may or path.name == "history.jsonl"
    one = ("baselines",)
    options = (
        Trial(("baseline", "ls"), ""),
        Trial(("baseline", "ls", "--json"), ""),
        Trial(("baseline", "diff", SHIPPED, "run/qat.edge.onnx"), "", may_succeed=may),
        Trial(("baseline", "trend", SHIPPED), ""),
        Trial(("baseline", "trend", SHIPPED, "--json"), ""),
        Trial(("baseline", "trend", SHIPPED, "--output", "new.png"), "", ("new.png",)),
        Trial(("baseline", "set", "run", "--name", SHIPPED), "", one),
        Trial(("baseline", "set", "run", "--name", SHIPPED, "--force"), "", one),
        Trial(("gate", "run", "--baseline", SHIPPED, "--no-timing", "--out", "new"), "", ("new", *one), ("new", *one)),
        Trial(
            ("gate", "run", "--baseline", SHIPPED, "--no-static", "--target", BOARD, "--out", "new"),
            "",
            ("new", *one),
            ("new", *one),
        ),
    )
    trial = random.choice(options)
    return Trial(trial.arguments, what, trial.owns, trial.owns_if_failed, trial.may_succeed)


def _calibration(random: Random, place: Path, number: int) -> Trial:
    path = next((place / "home/.local/share/edgegd/calibrations").iterdir())
    what, _, _ = spoil(random, path, "json")
    return Trial(
        ("gate", "run", "--baseline", SHIPPED, "--no-static", "--target", BOARD, "--out", "new"),
        what,
        ("new", "baselines"),
        ("new", "baselines"),
    )


KINDS = (
    Kind("raw data", 80, _raw),
    Kind("gates", 40, _gate),
    Kind("baselines", 70, _baseline),
    Kind("calibrations", 24, _calibration),
)
