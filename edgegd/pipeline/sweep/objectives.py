"""What a sweep makes better: numbers of a run, each with its direction and the stage after which it is there."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegd.errors import SweepError
from edgegd.json_files import read_json
from edgegd.pipeline.artifacts import ACCURACY, DESCENT, LATENCY, MODELS, Artifact
from edgegd.pipeline.registry import STAGES
from edgegd.variants import QUANTIZED, VARIANTS

_FILES = tuple(name.removesuffix(".onnx") for name in MODELS)


@dataclass(frozen=True)
class Objective:
    """A number of a run: `artifact` holds it under the keys of `path`, and as its size in bytes without any.

    `by_epoch` says that the mAP after each epoch of QAT foretells it.
    """

    name: str
    maximize: bool
    artifact: Artifact
    path: tuple[str, ...] = ()
    unit: str = ""
    by_epoch: bool = False

    def of(self, run_dir: Path) -> float:
        """The number in a run folder. Raises SweepError where the run does not have it."""
        file = run_dir / self.artifact
        try:
            value: Any = read_json(file) if self.path else file.stat().st_size
            for key in self.path:
                value = value[key]
            number = float(value)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{file} does not hold {self.name}.", found=f"{type(error).__name__}: {error}") from error
        if not math.isfinite(number):
            raise SweepError(f"{self.name} of {run_dir} is not finite.", found=str(number))
        return number


def _all() -> dict[str, Objective]:
    found = [
        *(
            Objective(f"accuracy.{variant}.{metric}", True, ACCURACY, (variant, metric), by_epoch=variant == "qat")
            for variant in VARIANTS
            for metric in ("map50_95", "map50")
        ),
        *(
            Objective(f"descent.{which}_map50_95", True, DESCENT, (f"{which}_map50_95",), by_epoch=which != "start")
            for which in ("best", "last", "start")
        ),
        *(Objective(f"latency.{file}", False, LATENCY, ("models", file, "median_ms"), unit="ms") for file in _FILES),
        *(Objective(f"size.{name.removesuffix('.onnx')}", False, name, unit="bytes") for name in MODELS),
    ]
    return {one.name: one for one in found}


OBJECTIVES = _all()
"""Objectives by name. `latency` and `size` alone are those of the edge file whose mAP is an objective, else QAT's."""


def parse_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of `--objective` options. Raises SweepError for a name that is none, or is there twice."""
    variants = [name.split(".")[1] for name in names if name.startswith("accuracy.") and name.count(".") == 2]
    variant = next((one for one in variants if one in QUANTIZED), "qat")
    full = [f"{name}.{variant}.edge" if name in ("latency", "size") else name for name in names]
    for name in full:
        if name not in OBJECTIVES:
            close = difflib.get_close_matches(name, OBJECTIVES, n=1, cutoff=0.4)
            raise SweepError(
                f"{name!r} is no objective.",
                expected=f"latency, size, or one of {', '.join(OBJECTIVES)}",
                mend=f"did you mean {close[0]}?" if close else "",
            )
    if len(set(full)) < len(full):
        raise SweepError("An objective is given twice.", found=", ".join(full))
    return tuple(OBJECTIVES[name] for name in full)


def last_stage(objectives: Sequence[Objective]) -> str:
    """The stage after which a run has all objectives."""
    return max((one.artifact.stage for one in objectives), key=list(STAGES).index)
