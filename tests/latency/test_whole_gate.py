"""A gate from the files to the verdict. Oracle: workers that play known durations (played_target); one real gate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from played_target import PlayedTarget

pytest.importorskip("onnx")

from edgegd.errors import (
    BaselineNotFoundError,
    EmulatedTargetError,
    InconclusiveError,
    InvalidMeasurementError,
    MeasurementFileError,
    RegressedError,
    WorkerError,
)
from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.baseline.history import read_history
from edgegd.latency.measuring.recording import load_measurement
from edgegd.pipeline import gate as gate_module
from edgegd.pipeline.gate import GateOutcome, gate, replay, replay_file
from edgegd.pipeline.gate_request import GateRequest
from edgegd.recipe.schema import GateSection, LatencySection
from edgegd.verify.static_gate import static_facts

MS = 1_000_000
RECIPE = """\
version: 1
data: {source: streets, path: set, train_images: 1, val_images: 1}
gate: {quads: 2, block_s: 0.02, warmup_s: 5}
"""
QUICK = GateSection(quads=2, block_s=0.02, warmup_s=2)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No calibration, target or lock of whoever runs the tests."""
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("EDGEGD_DEVICE_LOCK", str(tmp_path / "lock"))


@pytest.fixture
def shipped(make_model: Any, tmp_path: Path) -> Baseline:
    model = make_model("shipped", products=5)
    return Baseline.set(model, "shipped", static=static_facts(model), root=tmp_path / "baselines")


@pytest.fixture
def new(make_model: Any) -> Path:
    path: Path = make_model("new", products=5)
    return path


def slower_by(change: float, noise: float = 0.004, seed: int = 0) -> Callable[[str, int], list[int]]:
    """`new` is slower by `change`; every block's machine is another, launches differ by `noise`."""
    generator = np.random.default_rng(seed)

    def play(model: str, launch: int) -> list[int]:
        factor = (1 + change) * np.exp(np.random.default_rng([seed, launch]).normal(0, noise)) if model == "new" else 1
        return [round(10 * MS * factor * generator.uniform(0.999, 1.001)) for _ in range(5)]

    return play


def asked(candidate: Path, place: Path, targets: list[str], **others: Any) -> GateRequest:
    """The request to gate `candidate` against the baseline `shipped` below `place`."""
    defaults = {"baseline": "shipped", "section": QUICK, "latency": LatencySection()}
    return GateRequest(candidate=candidate, root=place / "baselines", targets=targets, **(defaults | others))


@pytest.fixture
def judged(shipped: Baseline, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GateOutcome]:
    """judged(name=target, ...) gates `new` on played targets; judged.folder is where."""

    def run(section: GateSection = QUICK, **targets: PlayedTarget) -> GateOutcome:
        for name, target in targets.items():
            target.name = name
        monkeypatch.setattr(gate_module, "find_target", targets.__getitem__)
        return gate(asked(new, tmp_path, list(targets), section=section), tmp_path / "gate")

    return run


@pytest.mark.parametrize(
    ("change", "verdict", "exit_code", "error"),
    [
        (0.0, "PASS", 0, None),
        (-0.05, "PASS", 0, None),
        (0.08, "REGRESSED", 90, RegressedError),
        (0.03, "INCONCLUSIVE", 91, InconclusiveError),
    ],
    ids=["equal", "faster", "slower", "at the margin"],
)
def test_verdict_exit_code_and_files(
    judged: Any, shipped: Baseline, tmp_path: Path, change: float, verdict: str, exit_code: int, error: Any
) -> None:
    outcome = judged(pi=PlayedTarget(slower_by(change, noise=0.002)))
    assert (outcome.verdict.value, outcome.exit_code) == (verdict, exit_code)
    (relative,) = outcome.run.relative
    assert relative.ratio == pytest.approx(1 + change, abs=0.003) and relative.target == "pi"
    assert outcome.static.verdict.value == "PASS"
    if error is None:
        outcome.require_pass()
    else:
        with pytest.raises(error, match=verdict):
            outcome.require_pass()
    stored = json.loads((tmp_path / "gate/gate.json").read_text())
    assert stored["outcome"] == json.loads(json.dumps(outcome.to_json()))
    assert verdict in (tmp_path / "gate/gate.md").read_text() and (tmp_path / "gate/pi.png").stat().st_size > 10_000
    (entry,) = read_history(shipped)
    assert (entry.verdict, entry.target) == (verdict, "pi")
    assert entry.candidate_ms / entry.baseline_ms == pytest.approx(1 + change, abs=0.01)
    assert ("pi" in Baseline.load("shipped", tmp_path / "baselines").accepted_on) == (verdict == "PASS")


def test_latency_alone_for_a_graph_that_was_changed_on_purpose(
    shipped: Baseline, make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edgegd_command: Any
) -> None:
    monkeypatch.setattr(gate_module, "find_target", lambda name: PlayedTarget(slower_by(0.0), name=name))
    for static, verdict in ((True, "REGRESSED"), (False, "PASS")):
        request = asked(make_model("new", products=6), tmp_path, ["pi"], static=static)
        outcome = gate(request, tmp_path / str(static))
        assert (outcome.verdict.value, outcome.static is not None) == (verdict, static)
    nothing = edgegd_command("gate", "new.onnx", "--no-timing", "--no-static")
    assert nothing.code == 2 and "nothing to compare" in nothing.err


def test_a_clear_case_ends_at_the_first_look(judged: Any) -> None:
    target = PlayedTarget(slower_by(0.0))
    assert len(judged(pi=target).run.relative[0].launch_ratios) == 8 and target.started == 16


def test_replay_gives_the_same_from_the_raw_data(judged: Any, tmp_path: Path) -> None:
    outcome = judged(QUICK, pi=PlayedTarget(slower_by(0.08)), server=PlayedTarget(slower_by(0.0, seed=4)))
    again = replay(tmp_path / "gate")
    assert again.run.to_json() == outcome.run.to_json()
    raw = tmp_path / "gate/pi.jsonl"
    assert replay_file(raw).verdict.value == "REGRESSED"
    raw.write_text(raw.read_text().replace('"durations_ns": [1', '"durations_ns": [2', 300))
    assert replay(tmp_path / "gate").run.to_json() != outcome.run.to_json(), "the verdict comes from the samples"
    (tmp_path / "gate/gate.json").write_text("{}")
    with pytest.raises(MeasurementFileError, match="no gate that can be replayed"):
        replay(tmp_path / "gate")


def dying(model: str, launch: int) -> list[int]:
    if launch == 2:
        raise WorkerError("The latency worker died.")
    return [10 * MS] * 5


@pytest.mark.parametrize(
    ("path", "lie"),
    [
        (("asked", "rule", "margin"), math.nan),
        (("asked", "rule", "margin"), 1e9),
        (("asked", "rule", "alpha"), True),
        (("asked", "rule", "budget"), math.inf),
        (("asked", "rule", "looks"), [8, math.nan, 20]),
        (("asked", "rule", "split"), [math.nan, 0.1, 0.1]),
        (("asked", "limit"), {"ms": math.nan, "quantile": 0.95}),
        (("asked", "limit"), {"ms": 5.0, "quantile": 2.0}),
        (("asked", "design", "quads"), -1),
        (("targets",), [5]),
        (("calibrations",), {"pi5": {"launch_ratios": [math.nan] * 10}}),
        (("outcome", "candidate"), 7),
    ],
    ids=str,
)
def test_a_stored_gate_is_believed_no_more_than_a_device(
    judged: Any, tmp_path: Path, path: tuple[str, ...], lie: Any
) -> None:
    judged(pi=PlayedTarget(slower_by(0.0)))
    folder = tmp_path / "gate"
    replay(folder)
    stored = json.loads((folder / "gate.json").read_text())
    place = stored
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = lie
    (folder / "gate.json").write_text(json.dumps(stored))
    with pytest.raises(MeasurementFileError, match="no gate that can be replayed"):
        replay(folder)


def test_a_device_that_dies_does_not_take_the_others_along(judged: Any, tmp_path: Path) -> None:
    outcome = judged(QUICK, dead=PlayedTarget(dying), pi=PlayedTarget(slower_by(0.0)))
    assert [gate.target for gate in outcome.run.relative] == ["pi"]
    assert outcome.run.relative[0].verdict.value == "PASS" and "died" in outcome.run.errors["dead"].what
    assert outcome.verdict.value == "INVALID" and outcome.exit_code == 92
    partial = load_measurement(tmp_path / "gate/dead.jsonl")
    assert not partial.complete and len(partial.log_ratios("candidate")) == 2


def test_the_error_of_a_single_device_is_raised_and_its_data_kept(judged: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="died"):
        judged(pi=PlayedTarget(dying))
    assert len(load_measurement(tmp_path / "gate/pi.jsonl").blocks) == 16
    assert replay_file(tmp_path / "gate/pi.jsonl").verdict.value == "INVALID"


def test_a_throttled_device_is_invalid(judged: Any) -> None:
    outcome = judged(pi=PlayedTarget(slower_by(0.08), throttled=tuple(range(0, 40, 2))))
    (relative,) = outcome.run.relative
    assert relative.verdict.value == "INVALID" and "discarded" in relative.reason
    with pytest.raises(InvalidMeasurementError):
        outcome.require_pass()


def test_a_limit_is_judged_beside_the_baseline(judged: Any) -> None:
    from dataclasses import replace

    section = replace(QUICK, limit_ms=12.0)
    outcome = judged(section, pi=PlayedTarget(slower_by(0.0)))
    assert [gate.verdict.value for gate in outcome.gates] == ["PASS", "PASS", "PASS"]
    assert outcome.run.absolute[0].limit_ms == 12.0 and outcome.run.absolute[0].quantile == 0.95


def test_an_emulated_target_and_an_unknown_baseline_are_refused_before_anything_runs(
    judged: Any, new: Path, tmp_path: Path
) -> None:
    target = PlayedTarget(slower_by(0.0), emulated=True)
    with pytest.raises(EmulatedTargetError, match="emulated"):
        judged(pi=target)
    assert target.started == 0
    with pytest.raises(BaselineNotFoundError, match="shipped"):
        gate(asked(new, tmp_path, ["local"], baseline="shiped"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def run_folder(folder: Path, model: Path) -> Path:
    """What a gate reads of a run folder: the model, and the recipe with few and short blocks."""
    folder.mkdir()
    (folder / "qat.edge.onnx").write_bytes(model.read_bytes())
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.mark.slow
def test_a_real_gate_on_this_machine_and_its_report(make_model: Any, edgegd_command: Any, tmp_path: Path) -> None:
    quick, slow = (
        run_folder(tmp_path / name, make_model(name, products=products))
        for name, products in (("quick", 300), ("slow", 900))
    )
    junit = tmp_path / "gate.xml"
    # A third of the work is far below any margin, three times of it far above, on however busy a machine.
    gates = tmp_path / "gates"
    regressed = edgegd_command(
        "gate", slow, "--baseline", quick / "qat.edge.onnx", "--out", gates, "--junit", junit, "--json"
    )
    answer = json.loads(regressed.out)
    assert regressed.code == 90 == answer["exit_code"], regressed.err
    assert answer["relative"][0]["low"] > 1.03 and answer["static"]["verdict"] == "REGRESSED"
    cases = ElementTree.parse(junit).getroot().findall(".//testcase")
    assert [case.find("failure") is not None for case in cases] == [True, True]
    again = edgegd_command("latency", "replay", answer["folder"], "--json")
    assert again.code == 90 and json.loads(again.out)["relative"] == answer["relative"]
    passed = edgegd_command("gate", quick, "--baseline", slow / "qat.edge.onnx", "--out", gates)
    assert passed.code == 0 and "PASS" in passed.out, passed.err


@pytest.mark.slow
def test_a_real_calibration_by_the_recipe_counts_for_gates_of_its_thread_count(
    make_model: Any, edgegd_command: Any, tmp_path: Path
) -> None:
    run = run_folder(tmp_path / "run", make_model("run", products=300))
    made = edgegd_command("latency", "calibrate", run, "--launches", "10", "--json")
    assert made.code == 0, made.err
    answer = json.loads(made.out)
    assert Path(answer["file"]).name == "local-1-threads.json" and answer["launches"] == 10
    stored = json.loads(Path(answer["file"]).read_text())
    assert (stored["quads"], stored["block_s"], stored["threads"]) == (2, 0.02, 1), "as the recipe says"
    # So great a budget is never exceeded, however busy the machine is.
    gated = edgegd_command("gate", run, "--baseline", run / "qat.edge.onnx", "--detectable", "100", "--json")
    (relative,) = json.loads(gated.out)["relative"]
    assert relative["detectable"] == pytest.approx(answer["detectable"])
    strict = edgegd_command("gate", run, "--baseline", run / "qat.edge.onnx", "--detectable", "0.001", "--json")
    assert strict.code == 92 and "refuses to answer" in strict.out


def test_a_target_named_twice_is_measured_once(
    shipped: Baseline, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = PlayedTarget(slower_by(0.0), name="pi")
    monkeypatch.setattr(gate_module, "find_target", lambda name: target)
    outcome = gate(asked(new, tmp_path, ["pi", "pi"]), tmp_path / "gate")
    assert outcome.verdict.value == "PASS" and len(outcome.run.relative) == 1 and target.started == 16
