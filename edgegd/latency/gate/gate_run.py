"""A whole gate: a candidate against its baseline on one or several targets, measured now, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgegd.errors import EdgegdError, InvalidMeasurementError
from edgegd.latency.gate.absolute import absolute_gate
from edgegd.latency.gate.calibration import Calibration
from edgegd.latency.gate.relative import adjust, refusal, relative_gate
from edgegd.latency.gate.sampling import sample
from edgegd.latency.measuring.parallel import on_each
from edgegd.latency.measuring.record import Design, Measurement
from edgegd.latency.measuring.validity import unsound
from edgegd.latency.statistics.sequential_test import GateRule
from edgegd.latency.statistics.verdict import AbsoluteGate, RelativeGate
from edgegd.targets.base import Target, require_real
from edgegd.verdict import Verdict, worst

BASELINE, CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True)
class Limit:
    """A latency in ms that a quantile of the candidate's inferences must stay below."""

    ms: float
    quantile: float


@dataclass(frozen=True)
class Question:
    """What a gate asks: is `candidate` slower than `baseline`, and is it within `limit`?"""

    baseline: Path
    candidate: Path
    design: Design
    rule: GateRule
    limit: Limit | None = None


@dataclass(frozen=True)
class GateRun:
    """The answers by target, the errors of targets that gave none, and the measurements they rest on."""

    relative: tuple[RelativeGate, ...]
    absolute: tuple[AbsoluteGate, ...]
    errors: Mapping[str, EdgegdError]
    measurements: Mapping[str, Measurement]

    @property
    def verdict(self) -> Verdict:
        """The worst of all; a target without an answer is INVALID."""
        verdicts = [gate.verdict for gate in self.relative] + [gate.verdict for gate in self.absolute]
        return worst(verdicts + [Verdict.INVALID] * len(self.errors))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict: the verdict and every gate; of an error its class, exit code and message."""
        return {
            "verdict": self.verdict.value,
            "relative": [gate.to_json() for gate in self.relative],
            "absolute": [gate.to_json() for gate in self.absolute],
            "errors": {
                name: {"error": type(error).__name__, "exit_code": error.exit_code, "message": error.message()}
                for name, error in self.errors.items()
            },
        }


def run_gate(
    question: Question,
    targets: Sequence[Target],
    folder: Path,
    calibrations: Mapping[str, Calibration],
    progress: Callable[[str, int, int], None] = lambda target, done, total: None,
) -> GateRun:
    """Measures on all targets at once, raw data in `folder`/TARGET.jsonl, and judges.

    `calibrations` are by the target's name. `progress(target, launches done, launches at most)` is called from the
    targets' threads. A calibration of other conditions does not count. Raises EmulatedTargetError, before anything is
    measured, where a target is emulated.
    """
    for target in targets:
        require_real(target)
    models = {BASELINE: question.baseline, CANDIDATE: question.candidate}

    def measured(target: Target) -> Measurement:
        calibration = calibrations.get(target.name)
        refused = refusal(calibration, question.rule) if calibration is not None else ""
        if refused:
            raise InvalidMeasurementError(f"A gate on {target.name} refuses to answer.", found=refused)

        def enough(measurement: Measurement) -> str:
            # The relative gate alone ends a measurement: its looks are planned, those at a quantile are not.
            verdict = relative_gate(measurement, CANDIDATE, question.rule, calibration).verdict
            return unsound(measurement) or ("decided" if verdict in (Verdict.PASS, Verdict.REGRESSED) else "")

        return sample(
            models,
            question.design,
            target,
            raw_file(folder, target.name),
            enough=enough,
            progress=lambda done, total: progress(target.name, done, total),
        )

    results = on_each(targets, measured)
    measurements = {name: result for name, result in results.items() if isinstance(result, Measurement)}
    errors = {name: result for name, result in results.items() if isinstance(result, EdgegdError)}
    return assemble(measurements, errors, question, calibrations)


def assemble(
    measurements: Mapping[str, Measurement],
    errors: Mapping[str, EdgegdError],
    question: Question,
    calibrations: Mapping[str, Calibration],
) -> GateRun:
    """The answers from raw data, the same whenever it is asked; Holm's correction over the targets."""
    relative = [
        relative_gate(measurement, CANDIDATE, question.rule, calibrations.get(name))
        for name, measurement in measurements.items()
    ]
    limit = question.limit
    absolute = (
        ()
        if limit is None
        else tuple(
            absolute_gate(measurement, CANDIDATE, limit.quantile, limit.ms) for measurement in measurements.values()
        )
    )
    return GateRun(adjust(relative), absolute, errors, measurements)


def raw_file(folder: Path, target: str) -> Path:
    """Where the raw data of a target lies: its name, with what no file's name may have escaped."""
    return folder / f"{quote(target, safe='')}.jsonl"
