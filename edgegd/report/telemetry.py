"""The lines of a descent (docs/telemetry.md) as columns for pictures: read as they are appended, and thinned.

Needs no torch. A line that is not whole yet waits for the next reading; one that is no telemetry ends the reading.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from edgegd.json_files import load_json
from edgegd.limits import RECORD_BYTES
from edgegd.regular_files import require_regular
from edgegd.report.picture import Number

POINTS = 300
"""Of a line in a picture; more steps are averaged in groups."""
PROBES = 60
"""Columns of a picture of probes; of more, every so manyth is kept."""
_KEPT = ("step_length", "noise_scale", "ema_distance", "codes_changed", "ranges")
_NOT_PARTS = {"step", "epoch", "loss", "lr", "gradient", "clipped", "seconds", "memory_mb", "detail"}


@dataclass
class Steps:
    """The steps of a descent so far: `rows` without their details, `probes` (step, detail); `problem` is why lines are
    left out, where they are."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    probes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    problem: str = ""

    @property
    def parts(self) -> list[str]:
        """The names of the parts of the loss."""
        return [name for name in self.rows[0] if name not in _NOT_PARTS] if self.rows else []


class StepReader:
    """Reads a file of steps again and again, each time only what was appended; one that was replaced from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self.steps, self._offset, self._file = Steps(), 0, (0, 0)

    def update(self) -> Steps:
        """The steps of all whole lines that are there now; none where there is no file. Raises OSError."""
        require_regular(self._path)
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._begin()
            return self.steps
        with file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
                self._begin()
                self._file = (found.st_dev, found.st_ino)
            file.seek(self._offset)
            while self._offset < RECORD_BYTES and not self.steps.problem:
                line = file.readline(RECORD_BYTES - self._offset)
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._add(line)
            if self._offset >= RECORD_BYTES:
                self.steps.problem = f"{self._path.name} is longer than {RECORD_BYTES >> 20} MiB: its end is left out"
        return self.steps

    def _add(self, line: bytes) -> None:
        steps = self.steps
        try:
            row = load_json(line)
            detail = row.pop("detail", None)
            _require_row(row)
            if detail is not None:
                steps.probes.append((row["step"], _slim(detail)))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            number = len(steps.rows) + 1
            steps.problem = f"{self._path.name}: line {number} and those after it are left out ({type(error).__name__})"
            return
        steps.rows.append(row)


def read_steps(path: Path) -> Steps:
    """The steps of a file; none where it does not exist. Raises OSError."""
    return StepReader(path).update()


def thinned(rows: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    """The rows in at most POINTS groups of neighbours, all of one size but the last."""
    size = group_size(rows)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def group_size(rows: Sequence[Any]) -> int:
    """How many steps one point of a picture stands for."""
    return max(math.ceil(len(rows) / POINTS), 1)


def column(groups: Sequence[Sequence[dict[str, Any]]], value: Callable[[dict[str, Any]], Any]) -> list[Number]:
    """The mean of a value over each group, of those steps that have one; None where none has."""
    return [mean(value(row) for row in group) for group in groups]


def mean(values: Iterable[Any]) -> Number:
    """The mean of those that are finite numbers."""
    numbers = [float(value) for value in values if is_number(value)]
    return sum(numbers) / len(numbers) if numbers else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether something is a finite number (or a truth value, which counts as 0 or 1)."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def kept_probes(steps: Steps) -> list[tuple[int, dict[str, Any]]]:
    """At most PROBES of the probes, at equal distances, the last one among them."""
    every = max(math.ceil(len(steps.probes) / PROBES), 1)
    return steps.probes[::-1][::every][::-1]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies (the nearest one)."""
    return sorted(values)[round(share * (len(values) - 1))]


def _require_row(row: dict[str, Any]) -> None:
    """TypeError for what no step wrote: pictures rely on these and take all else where it is."""
    if not (is_number(row["step"]) and is_number(row["epoch"]) and isinstance(row.get("lr", {}), dict)):
        raise TypeError("no step")
    for name in ("gradient", "seconds", "memory_mb"):
        if not isinstance(row.get(name, {}), dict):
            raise TypeError(name)


def _slim(detail: dict[str, Any]) -> dict[str, Any]:
    """What pictures show of a probe."""
    slim = {name: detail.get(name) for name in _KEPT}
    slim["updates"] = {name: layer["update"] for name, layer in detail.get("layers", {}).items()}
    slim["step_length"] = {name: length.get("alpha") for name, length in (slim["step_length"] or {}).items()}
    slim["codes_changed"] = dict(slim["codes_changed"] or {})
    slim["ranges"] = {name: {**of_range} for name, of_range in (slim["ranges"] or {}).items()}
    return slim
