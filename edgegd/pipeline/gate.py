"""A gate from end to end: the files, the targets, the measurement, the verdicts, and the folder that keeps them.

FOLDER/TARGET.jsonl     every sample (edgegd.latency.measuring.record)
FOLDER/gate.json        what was asked, the calibrations that counted, every gate
FOLDER/gate.md          the tables, for a pull request
FOLDER/TARGET.png       ratios, latencies, temperature and frequency
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgegd.accuracy.gate import AccuracyGate
from edgegd.atomic_files import write_atomically
from edgegd.device.answers import by_name, many, number, or_none, problem_of, record, text, whole
from edgegd.errors import (
    EdgegdError,
    InconclusiveError,
    InvalidMeasurementError,
    MeasurementFileError,
    RegressedError,
)
from edgegd.json_files import read_json, write_json
from edgegd.latency.baseline.history import require_history
from edgegd.latency.gate.calibration import Calibration, from_json
from edgegd.latency.gate.gate_run import BASELINE, CANDIDATE, GateRun, Limit, Question, assemble, raw_file, run_gate
from edgegd.latency.gate.relative import relative_gate
from edgegd.latency.measuring.launch import deliver, run_launch
from edgegd.latency.measuring.record import Block, Design, Launch
from edgegd.latency.measuring.recording import DESIGN, load_measurement
from edgegd.latency.statistics.sequential_test import LARGEST_MARGIN, GateRule
from edgegd.latency.statistics.verdict import AbsoluteGate, RelativeGate, StaticGate
from edgegd.pipeline.gate_request import (
    GateRequest,
    Reference,
    calibrations_of,
    candidate_file,
    question,
    reference,
    remember,
)
from edgegd.report.latency_pictures import draw
from edgegd.report.latency_table import gates_markdown
from edgegd.safe_outputs import own_folder, refuse_link
from edgegd.targets.local import LocalTarget
from edgegd.targets.registry import find_target
from edgegd.verdict import Verdict, worst
from edgegd.verify.static_gate import facts_of, static_facts, static_gate

RESULT, MARKDOWN = "gate.json", "gate.md"
SCHEMA = 1
_ERRORS: Mapping[Verdict, type[EdgegdError]] = {
    Verdict.REGRESSED: RegressedError,
    Verdict.INCONCLUSIVE: InconclusiveError,
    Verdict.INVALID: InvalidMeasurementError,
}


@dataclass(frozen=True)
class GateOutcome:
    """Every gate of a candidate: without timing, by target, of accuracy; `run` is None where nothing was timed."""

    candidate: str
    baseline: str
    static: StaticGate | None
    run: GateRun | None
    accuracy: AccuracyGate | None = None

    @property
    def gates(self) -> tuple[RelativeGate | AbsoluteGate | StaticGate | AccuracyGate, ...]:
        """All that have an answer, those with a time first."""
        timed = (*self.run.relative, *self.run.absolute) if self.run else ()
        static = (self.static,) if self.static else ()
        return (*timed, *static, *((self.accuracy,) if self.accuracy else ()))

    @property
    def verdict(self) -> Verdict:
        """The worst of all; a target without an answer is INVALID."""
        return worst([gate.verdict for gate in self.gates] + ([self.run.verdict] if self.run else []))

    @property
    def exit_code(self) -> int:
        """0 for PASS, else the verdict's (docs/errors.md)."""
        return _ERRORS[self.verdict].exit_code if self.verdict in _ERRORS else 0

    def require_pass(self) -> None:
        """Raises RegressedError, InconclusiveError or InvalidMeasurementError for another verdict than PASS."""
        if self.verdict not in _ERRORS:
            return
        reasons = [
            gate.reason for gate in self.gates if not isinstance(gate, StaticGate) and gate.verdict is self.verdict
        ]
        if self.static and self.static.verdict is self.verdict:
            reasons += [f"{one.name}: {one.reason}" for one in self.static.findings if not one.passed]
        reasons += [f"{name}: {error.what}" for name, error in (self.run.errors if self.run else {}).items()]
        raise _ERRORS[self.verdict](
            f"{self.candidate} against {self.baseline}: {self.verdict.value}.",
            expected="PASS",
            found="\n".join(reasons),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the verdict and every gate."""
        timed = self.run.to_json() if self.run else {"relative": [], "absolute": [], "errors": {}}
        return {
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "candidate": self.candidate,
            "baseline": self.baseline,
            **{key: timed[key] for key in ("relative", "absolute", "errors")},
            "static": self.static.to_json() if self.static else None,
            "accuracy": self.accuracy.to_json() if self.accuracy else None,
        }


def gate(
    request: GateRequest,
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda target, done, total: None,
) -> GateOutcome:
    """Gates a candidate against a baseline: without a clock, and by latency on the request's targets.

    `folder` must not hold a gate yet; whatever ends the measurement, its raw data stays there. Of a single target whose
    measurement fails the error is raised; of several, it is part of the outcome. Raises the errors of `reference` and
    `find_target`, and those of a folder or a history that cannot be written, before anything is measured.
    """
    targets, name = request.targets, str(request.candidate)
    file = candidate_file(request.candidate)
    refuse_link(folder.parent)
    against = reference(request.baseline, file, request.root)
    if against.baseline is not None and targets:
        require_history(against.baseline)
    outcome = GateOutcome(name, request.baseline, _without_time(against, file) if request.static else None, None)
    own_folder(folder)
    if not targets:
        store_outcome(folder, outcome, None, {})
        return outcome
    with ExitStack() as stack:
        found = [stack.enter_context(closing(find_target(name))) for name in dict.fromkeys(targets)]
        asked = question(against, file, request, len(found))
        calibrations = calibrations_of(found, asked.design)
        run = run_gate(asked, found, folder, calibrations, progress)
    if len(found) == 1 and run.errors:
        raise next(iter(run.errors.values()))
    outcome = GateOutcome(name, request.baseline, outcome.static, run)
    store_outcome(folder, outcome, asked, calibrations)
    if against.baseline is not None:
        remember(against.baseline, run)
    return outcome


_NAME = text(10_000)
_RULE = record(
    {
        **{key: number(0, LARGEST_MARGIN) for key in ("margin", "budget", "alpha", "max_discarded")},
        "looks": many(whole(1, 1000), 1, 100),
        "split": many(number(0, 1), 1, 100),
        "devices": whole(1, 1000),
    }
)
_STORED = record(
    {
        "asked": record(
            {
                "design": DESIGN,
                "rule": _RULE,
                "limit": or_none(record({"ms": number(1e-6, 1e6), "quantile": number(0.5, 0.999)})),
            }
        ),
        "targets": many(_NAME, 0, 1000),
        "outcome": record({"candidate": _NAME, "baseline": _NAME}),
        "calibrations": by_name(lambda value, where: None, 1000),
    }
)


def replay(folder: Path) -> GateOutcome:
    """The verdicts anew from the raw data of a gate's folder; they are those that it gave.

    Raises MeasurementFileError where the folder holds no gate, or its files are damaged.
    """
    try:
        stored = read_json(folder / RESULT)
        if stored["schema"] != SCHEMA or stored["asked"] is None:
            raise ValueError("a gate without timing" if stored["schema"] == SCHEMA else f"schema {stored['schema']}")
        if wrong := problem_of(_STORED, stored):
            raise ValueError(wrong)
        asked, outcome = stored["asked"], stored["outcome"]
        lists = {key: tuple(asked["rule"][key]) for key in ("looks", "split")}
        wanted = Question(
            Path(),
            Path(),
            Design(**asked["design"]),
            GateRule(**asked["rule"] | lists),
            Limit(**asked["limit"]) if asked["limit"] else None,
        )
        calibrations = {name: from_json(fields) for name, fields in stored["calibrations"].items()}
        names = stored["targets"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeasurementFileError(
            f"{folder} holds no gate that can be replayed.",
            found=f"{type(error).__name__}: {error}",
            expected=f"a folder with {RESULT} and raw data that `edgegd gate` wrote",
            mend="name the folder that the gate printed",
        ) from error
    measurements = {name: load_measurement(raw_file(folder, name)) for name in names}
    try:
        run = assemble(measurements, {}, wanted, calibrations)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise MeasurementFileError(
            f"{folder} holds numbers that no gate can be made of.",
            found=str(error),
            expected=f"{RESULT} as `edgegd gate` wrote it",
        ) from error
    return GateOutcome(outcome["candidate"], outcome["baseline"], None, run)


def replay_file(file: Path) -> GateOutcome:
    """The verdict on raw data alone, that of a partial measurement too, by the rule's defaults."""
    measurement = load_measurement(file)
    names = list(measurement.models)
    relative = tuple(relative_gate(measurement, name, GateRule()) for name in names[1:])
    run = GateRun(relative, (), {}, {measurement.target: measurement})
    return GateOutcome(", ".join(names[1:]), names[0], None, run)


def new_folder(parent: Path) -> Path:
    """A folder for a gate that starts now, named by the time in UTC; not made yet."""
    return parent / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")


def _without_time(against: Reference, candidate: Path) -> StaticGate:
    facts = static_facts(against.model) if against.baseline is None else facts_of(against.baseline)
    peaks = _peak_bytes({BASELINE: against.model, CANDIDATE: candidate})
    return static_gate(
        candidate,
        facts,
        model=CANDIDATE,
        reference=BASELINE,
        peak_bytes=peaks[CANDIDATE],
        baseline_peak_bytes=peaks[BASELINE],
    )


def _peak_bytes(models: Mapping[str, Path]) -> dict[str, int]:
    """Model -> resident bytes of a fresh worker on this machine after it loaded the model and ran it."""
    launches: list[Launch | Block] = []
    design = Design(launches=1, quads=0, block_s=0, warmup_s=0, threads=1, spinning=False)
    run_launch(deliver(models, LocalTarget()), design, 0, launches.append, require_stable=False)
    launch = launches[0]
    assert isinstance(launch, Launch)
    return {name: worker["peak_bytes"] for name, worker in launch.workers.items()}


def store_outcome(
    folder: Path, outcome: GateOutcome, asked: Question | None, calibrations: Mapping[str, Calibration]
) -> None:
    """Writes the answers into their folder; `asked` is None where nothing was timed."""
    measurements = outcome.run.measurements if outcome.run else {}
    stored = {
        "schema": SCHEMA,
        "asked": None
        if asked is None
        else {
            "design": asdict(asked.design),
            "rule": asdict(asked.rule),
            "limit": asdict(asked.limit) if asked.limit else None,
        },
        "targets": list(measurements),
        "calibrations": {name: asdict(one) for name, one in calibrations.items()},
        "outcome": outcome.to_json(),
    }
    write_json(folder / RESULT, stored)
    write_atomically(folder / MARKDOWN, gates_markdown(outcome.gates).encode())
    for name, measurement in measurements.items():
        if measurement.blocks and outcome.run:
            draw(measurement, outcome.run.relative, raw_file(folder, name).with_suffix(".png"))
