"""The stages of a run, in their order: the one list of them.

An entry is plain data, so that the command line knows all stages without importing what they run on; `load` imports the
stage's own module, whose STAGE says what it reads, makes and does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgegd.recipe.schema import Recipe

if TYPE_CHECKING:
    from edgegd.pipeline.stage import Stage


def _always(recipe: Recipe) -> bool:
    return True


def _swaps(recipe: Recipe) -> bool:
    return recipe.quant.activation != "silu"


def _has_budget(recipe: Recipe) -> bool:
    return recipe.precision.has_budget


def _has_control(recipe: Recipe) -> bool:
    return recipe.train.control


@dataclass(frozen=True)
class StageEntry:
    """A stage: its name, the module below edgegd.pipeline.stages that holds it, the help text of its command (empty
    where it has none, or one that is more than a stage), whether it trains or may train on `train.device`, whether on
    several `train.devices`, and which recipes need it."""

    name: str
    module: str
    help: str = ""
    trains: bool = False
    in_parallel: bool = False
    needed: Callable[[Recipe], bool] = _always

    def load(self) -> Stage:
        """The stage itself."""
        return cast("Stage", import_module(f"edgegd.pipeline.stages.{self.module}").STAGE)


STAGES: dict[str, StageEntry] = {
    entry.name: entry
    for entry in (
        StageEntry("data", "data"),
        StageEntry(
            "float",
            "float_model",
            "Take the recipe's float checkpoint, or train one with Ultralytics.",
            trains=True,
        ),
        StageEntry(
            "activation",
            "activation",
            "Choose which SiLUs become ReLU, where the recipe's quant.activation is relu or auto.",
            needed=_swaps,
        ),
        StageEntry(
            "adapt",
            "adapt",
            "Train the float model with these ReLUs, distilled from the SiLU model.",
            trains=True,
            in_parallel=True,
            needed=_swaps,
        ),
        StageEntry("search", "search", needed=_has_budget),
        StageEntry("ptq", "ptq", "Trace the float model, plan its quantization and calibrate the ranges."),
        StageEntry(
            "qat",
            "qat",
            "Fine-tune the calibrated model by gradient descent under fake quantization.",
            trains=True,
            in_parallel=True,
        ),
        StageEntry(
            "control",
            "control",
            "Train the float model for the same steps as QAT, where the recipe's train.control asks for it.",
            trains=True,
            in_parallel=True,
            needed=_has_control,
        ),
        StageEntry(
            "export",
            "export",
            "Write fp32.onnx, ptq.onnx and qat.onnx, or both quantized ones for another kind of CPU.",
        ),
        StageEntry(
            "verify",
            "verify",
            "Count integer convolutions in onnxruntime, compare every code with torch on real images, catch a silent "
            "model.",
        ),
        StageEntry(
            "accuracy",
            "accuracy",
            "Measure mAP of all three ONNX files in onnxruntime, with intervals of each and of their differences.",
        ),
        StageEntry("latency", "latency"),
        StageEntry(
            "report",
            "report",
            "Write report.json and report.md and print the table, and which of PTQ and QAT to ship.",
        ),
    )
}
"""Stages by name. Those of further profiles are run by name only (edgegd.pipeline.stages.profiles)."""


def stages_of(recipe: Recipe, until: str) -> list[str]:
    """The names of the stages that a recipe needs, in order, up to the one named."""
    names = list(STAGES)[: list(STAGES).index(until) + 1]
    return [name for name in names if STAGES[name].needed(recipe)]
