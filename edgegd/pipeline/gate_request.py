"""From what a user names (a run folder, a baseline, a section of a recipe) to the question that a gate answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegd.errors import BaselineNotFoundError, BaselineShapeError, OnnxUnreadableError
from edgegd.home import home
from edgegd.latency.baseline.baseline import MODEL, ROOT, Baseline
from edgegd.latency.baseline.history import HistoryEntry, append_history, fingerprint_hash
from edgegd.latency.gate.calibration import Calibration, load
from edgegd.latency.gate.gate_run import GateRun, Limit, Question
from edgegd.latency.measuring.model_signature import read_signature, shape_differences
from edgegd.latency.measuring.record import Design
from edgegd.latency.statistics.sequential_test import GateRule
from edgegd.pipeline.artifacts import EDGE
from edgegd.recipe.schema import GateSection, LatencySection
from edgegd.targets.base import Target

GATED = EDGE["qat"]


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """What is asked of a gate.

    `candidate` is a model, or a run folder; `baseline` a name below `root`, or a path of an ONNX file. `section` and
    `latency` are those of a recipe. It is timed on `targets`, if there are any, and compared without a clock unless
    `static` is False.
    """

    candidate: Path
    baseline: str
    root: Path
    section: GateSection
    latency: LatencySection
    targets: Sequence[str] = ()
    static: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Reference:
    """What a candidate is held against: a stored baseline, or (`baseline` None) any model file."""

    model: Path
    baseline: Baseline | None


def candidate_file(path: Path) -> Path:
    """The model to gate: the file itself, or the QAT edge file of a run folder."""
    file = path / GATED if path.is_dir() else path
    if not file.is_file():
        raise OnnxUnreadableError(
            f"There is no model {file} to gate.",
            found="nothing there",
            expected=f"an ONNX file, or a run folder with {GATED}",
            mend="run `edgegd export RUN_DIR`, or correct the path",
        )
    return file


def reference(name: str, candidate: Path, root: Path = ROOT) -> Reference:
    """The baseline of this name, or the ONNX file at this path, which must take and give what `candidate` does.

    Raises BaselineNotFoundError, BaselineDamagedError, BaselineShapeError or OnnxUnreadableError.
    """
    if not name:
        raise BaselineNotFoundError(
            "A gate needs something to hold the candidate against.",
            found="no baseline",
            expected="the name of a baseline, or an ONNX file",
            mend="give --baseline, or gate.baseline in the recipe",
        )
    if name.endswith(".onnx"):
        file = candidate_file(Path(name))
        differing = shape_differences(read_signature(file), read_signature(candidate))
        if differing:
            raise BaselineShapeError(
                f"{candidate} cannot be gated against {file}: it has another shape.",
                found="; ".join(differing),
                mend="gate the file of the same kind",
                expected="inputs and outputs of the same shapes and types",
            )
        return Reference(file, None)
    baseline = Baseline.load(name, root)
    baseline.require_same_shape(candidate)
    return Reference(baseline.folder / MODEL, baseline)


def gate_design(gate: GateSection, latency: LatencySection, launches: int, seed: int = 0) -> Design:
    """How a gate measures, by the recipe's sections: blocks as short as can be, threads and spinning as in a run."""
    return Design(
        launches=launches,
        quads=gate.quads,
        block_s=gate.block_s,
        warmup_s=gate.warmup_s,
        threads=latency.threads,
        spinning=latency.spinning,
        seed=seed,
    )


def question(against: Reference, candidate: Path, request: GateRequest, devices: int = 1) -> Question:
    """What the request asks of so many devices, of the model files."""
    gate, latency = request.section, request.latency
    rule = GateRule(margin=gate.margin, budget=gate.detectable, devices=devices)
    design = gate_design(gate, latency, rule.looks[-1], request.seed)
    limit = Limit(gate.limit_ms, gate.limit_quantile) if gate.limit_ms else None
    return Question(against.model, candidate, design, rule, limit)


def calibration_folder() -> Path:
    """Where calibrations of devices are kept: ${XDG_DATA_HOME:-~/.local/share}/edgegd/calibrations."""
    return home("XDG_DATA_HOME", ".local/share") / "edgegd" / "calibrations"


def calibrations_of(targets: Sequence[Target], design: Design) -> Mapping[str, Calibration]:
    """The stored calibrations of those targets that have one for the design's thread count and spinning.

    Raises DeviceCalibrationError for a damaged file.
    """
    found = {
        target.name: load(target.name, design.threads, design.spinning, calibration_folder()) for target in targets
    }
    return {name: calibration for name, calibration in found.items() if calibration is not None}


def remember(baseline: Baseline, run: GateRun) -> None:
    """Appends the gate to the baseline's history, a line a target; a device on which it first passed is noted."""
    for gate in run.relative:
        measurement = run.measurements[gate.target]
        fingerprint = measurement.launches[0].fingerprint if measurement.launches else {}
        medians = measurement.medians_ms()
        files = measurement.models
        append_history(
            baseline,
            HistoryEntry(
                measurement.started,
                gate.target,
                fingerprint_hash(fingerprint),
                medians.get(gate.reference),
                medians.get(gate.model),
                gate.ratio,
                gate.verdict.value,
                files[gate.model].sha256,
                files[gate.reference].sha256,
            ),
        )
        if gate.verdict.value == "PASS" and gate.target not in baseline.accepted_on:
            baseline = baseline.accepted(gate.target, fingerprint)
