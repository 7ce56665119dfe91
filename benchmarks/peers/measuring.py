"""mAP of a row's files with its interval, and the differences to other files on the same images."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.accuracy_table import EXACT, SATURATED
from peers.comparison_sets import ROOT, ComparisonSet
from peers.detect import read_detections
from peers.making import StepFailedError, make, measured
from peers.rows import REFERENCE, ROWS, SCRIPTS, X86, Row

from edgegd.accuracy.bootstrap import Comparison, Estimate, compare
from edgegd.accuracy.evaluate import AccuracyResult, score
from edgegd.device.profile import this_machine

COMPARED = {REFERENCE: (REFERENCE, EXACT), "nncf": ("nncf", EXACT), f"nncf in {SATURATED} kernels": ("nncf", SATURATED)}
"""Name of a comparison -> the row, of seed 0, and arithmetic that every file is compared with."""


class Bench:
    """Makes and measures the rows of one set; all files lie in `work` / SET / ROW-SEED."""

    def __init__(self, of: ComparisonSet, work: Path, peer_python: str) -> None:
        self.set, self.folder, self.peer_python = of, work / of.name, peer_python

    def row_folder(self, row: Row, seed: int) -> Path:
        """Where the row's files are."""
        return self.folder / f"{row.name}-{seed}"

    def discard(self, row: Row, seed: int) -> None:
        """Removes the row's files and the record of how they were made."""
        folder = self.row_folder(row, seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(folder.name + ".steps.json").unlink(missing_ok=True)

    def measure(self, row: Row, seed: int) -> Iterator[dict[str, Any]]:
        """Makes the files of a row and measures each, in every arithmetic: one entry each. Raises StepFailedError."""
        folder = self.row_folder(row, seed)
        steps = make(
            row.steps(
                self.set.recipe, self.set.overrides, self.set.weights, self.set.data, seed, folder, self.peer_python
            ),
            folder,
        )
        for name, arithmetic in ((name, kind) for name in row.files for kind in self._arithmetics(row)):
            file = folder / name
            if not file.exists():  # nothing was trained, so there is no last epoch
                continue
            try:
                result, facts = self._result(file, arithmetic)
            except StepFailedError as error:
                if arithmetic == EXACT:
                    raise
                print(f"{file} is not measured in {arithmetic} kernels: {error}", file=sys.stderr, flush=True)
                continue
            own_steps = {
                step: cost | {"command": self._shown(cost["command"])}
                for step, cost in steps.items()
                if name != "ptq.onnx" or step != "qat"
            }
            yield {
                "row": row.name,
                "seed": seed,
                "file": Path(name).stem,
                "arithmetic": arithmetic,
                "map50_95": result.map50_95,
                "map50": result.map50,
                "images": result.images,
                "imgsz": list(self.set.loaded.model.size),
                **self._intervals(file, arithmetic, result),
                **facts,
                **_costs(own_steps),
                **_record(folder),
            }

    def _shown(self, command: list[str]) -> str:
        """The command without what is of this machine alone: where things lie."""
        text = shlex.join(command)
        for path, word in (
            (self.peer_python, "PEERS/bin/python"),
            (sys.executable, "python"),
            (self.set.weights, "WEIGHTS"),
            (self.set.data, "DATA"),
            (self.folder.parent, "WORK"),
            (f"{ROOT}/", ""),
        ):
            text = text.replace(str(path), word)
        return text

    def _arithmetics(self, row: Row) -> tuple[str, ...]:
        """What the row's files are measured in on this machine."""
        is_x86 = this_machine().profile in X86
        return (EXACT, SATURATED) if row.saturates and is_x86 else (EXACT,)

    def _result(self, file: Path, arithmetic: str) -> tuple[AccuracyResult, dict[str, Any]]:
        """The file's accuracy from the detections beside it, which are made where they are older than the file."""
        stored = file.with_name(f"{file.name}.{arithmetic}.npz")
        if not stored.exists() or stored.stat().st_mtime < file.stat().st_mtime:
            self._detect(file, arithmetic, stored)
        found, facts = read_detections(stored, self.set.dataset.names)
        return score(found, self.set.truth, max_det=self.set.loaded.accuracy.max_det), facts

    def _detect(self, file: Path, arithmetic: str, stored: Path) -> None:
        partial = stored.with_name("partial.npz")
        in_openvino, is_peers = file.suffix == ".xml", file.suffix in (".xml", ".zip")
        command = [
            self.peer_python if is_peers else sys.executable,
            str(SCRIPTS / "detect.py"),
            str(file),
            "--recipe",
            self.set.recipe,
            "--out",
            str(partial),
            "--kernels",
            "exact" if arithmetic == EXACT else "own",
            *(part for override in self.set.overrides for part in ("--set", override)),
        ]
        more: dict[str, str] = {}
        if arithmetic == SATURATED and this_machine().profile != SATURATED:
            if in_openvino:
                more = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
            else:
                command = [sys.executable, str(ROOT / "tests/without_vnni.py"), *command]
        measured(command, file.with_suffix(".detect.log"), more)
        partial.replace(stored)

    def _intervals(self, file: Path, arithmetic: str, result: AccuracyResult) -> dict[str, Any]:
        """The interval of the mAP, and the differences to the rows compared with and to the same run's PTQ."""
        others = {
            name: (self._compared(row), kind)
            for name, (row, kind) in COMPARED.items()
            if kind in self._arithmetics(ROWS[row])
        }
        if file.name == "qat.onnx":
            others["ptq"] = (file.with_name("ptq.onnx"), arithmetic)
        models = {"": result.matches}
        for name, (other, kind) in others.items():
            if other is not None and (other, kind) != (file, arithmetic):
                models[name] = self._result(other, kind)[0].matches
        compared = compare(models, [("", name) for name in models if name])
        return {
            "interval": _bounds(compared.models[""]),
            "differences": _differences(compared),
            "bootstrap": compared.to_dict()["bootstrap"],
        }

    def _compared(self, name: str) -> Path | None:
        """The file of a row compared with: FP32 is made where it is not there, others are left out then."""
        row = ROWS[name]
        folder = self.row_folder(row, 0)
        file = folder / row.files[0]
        if not file.exists() and name == REFERENCE:
            make(
                row.steps(
                    self.set.recipe, self.set.overrides, self.set.weights, self.set.data, 0, folder, self.peer_python
                ),
                folder,
            )
        return file if file.exists() else None


def _costs(steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The seconds of all steps, the memory of the largest, and the steps themselves."""
    sums = {name: round(sum(step[name] for step in steps.values()), 1) for name in ("seconds", "cpu_seconds")}
    return {**sums, "peak_mb": max(step["peak_mb"] for step in steps.values()), "steps": steps}


def _bounds(estimates: dict[str, Estimate]) -> dict[str, list[float]]:
    return {name: [estimate.low, estimate.high] for name, estimate in estimates.items()}


def _differences(compared: Comparison) -> dict[str, dict[str, list[float]]]:
    """Name of the other file -> mAP -> difference, and its interval."""
    return {
        other: {name: [one.value, one.low, one.high] for name, one in estimates.items()}
        for (_, other), estimates in compared.differences.items()
    }


def _record(folder: Path) -> dict[str, Any]:
    """What the maker says of its files: a peer's made.json, a run's descent.json."""
    if (folder / "made.json").exists():
        made: dict[str, Any] = json.loads((folder / "made.json").read_text())
        return made
    if (folder / "descent.json").exists():
        descent = json.loads((folder / "descent.json").read_text())
        return {
            "best_epoch": descent["best_epoch"],
            "epochs_map50_95_in_torch": [epoch["map50_95"] for epoch in descent["epochs"]],
        }
    return {}
