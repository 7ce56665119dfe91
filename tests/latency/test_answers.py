"""Devices that lie: every message with one value changed. Oracle: the worker's own answers, which must all pass."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgegd.device import latency_worker as worker_module
from edgegd.device.answers import check_answer
from edgegd.device.latency_worker import device_state, machine_facts, serve
from edgegd.errors import OnnxUnreadableError, ProtocolError, WorkerError
from edgegd.latency.measuring.endurance import measure_burst, measure_sustained
from edgegd.latency.measuring.record import Design
from edgegd.precision.timing import profile_models
from edgegd.recipe.schema import LatencySection
from edgegd.targets.check import examine
from edgegd.targets.lock import device_lock
from edgegd.targets.worker_protocol import ask, configure

DESIGN = Design(launches=1, quads=1, block_s=0.01, warmup_s=0.1, threads=1, spinning=False)
REQUIRED = {
    "hello": ("protocol", "machine", "state", "free_bytes"),
    "warm_up": ("stable",),
    "memory": ("peak_bytes",),
    "configure": ("protocol", "load_ms", "machine", "inputs", "session"),
    "burst": ("durations_ns",),
    "run": ("first_ns", "durations_ns", "before", "after"),
    "concurrent": ("counts", "walls_ns", "cpu_ns", "before", "after"),
    "paced": ("durations_ns", "idle_wall_ns", "idle_cpu_ns", "cpu_ns"),
    "profile": ("nodes", "run_us", "plain_us"),
}
ABSURD = [None, True, False, -1, -0.5, math.nan, math.inf, -math.inf, 1e300, 10**30, "", "\ud800", [], {}, [[]], [None]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of one operation that has no address."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("true") / "model.onnx"
    tensors = [onnx.helper.make_tensor_value_info(name, 1, [1, 8, 8]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "x"], ["y"], name="product")], "g", tensors[:1], tensors[1:]
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def true_answers(model: Path) -> dict[str, dict[str, Any]]:
    """kind -> what the worker answers on this machine."""
    asked = {"model": str(model), "threads": 1, "spinning": False, "optimization": "all", "seed": 0, "input": None}
    messages = [
        {"hello": worker_module.PROTOCOL},
        {"configure": asked},
        {"warm_up": 0.1},
        {"run": 0.02},
        {"burst": 3},
        {"concurrent": {"workers": 2, "seconds": 0.02}},
        {"paced": {"inferences": 3, "pause_s": 0.001}},
        {"memory": True},
        {"profile": 3},
    ]
    answers: list[dict[str, Any]] = []
    serve([json.dumps(message) for message in messages], lambda answer: answers.append(json.loads(json.dumps(answer))))
    return {next(iter(message)): answer for message, answer in zip(messages, answers, strict=True)}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside an answer."""
    inside_of = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in inside_of:
        yield (*path, key)
        yield from places(inside, (*path, key))


def changed(answer: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    answer = copy.deepcopy(answer)
    place: Any = answer
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return answer


@pytest.mark.parametrize("kind", REQUIRED)
def test_what_the_worker_answers_is_accepted(true_answers: dict[str, dict[str, Any]], kind: str) -> None:
    check_answer(kind, true_answers[kind], "board")


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in REQUIRED.items() for key in keys])
def test_every_key_that_is_used_must_be_there(true_answers: dict[str, dict[str, Any]], kind: str, key: str) -> None:
    without = {name: value for name, value in true_answers[kind].items() if name != key}
    with pytest.raises(WorkerError, match=rf"(?s)board.*{key}"):
        check_answer(kind, without, "board")


@pytest.mark.parametrize("kind", REQUIRED)
def test_absurd_values_are_refused_wherever_they_stand(true_answers: dict[str, dict[str, Any]], kind: str) -> None:
    answer, tried = true_answers[kind], 0
    for path in list(places(answer))[:400]:
        for absurd in (math.nan, math.inf, -1e300, 10**30, "\ud800", [None], {"": None}):
            if path[-1] == "onnxruntime_build":  # any text
                continue
            with pytest.raises(WorkerError, match="board"):
                check_answer(kind, changed(answer, path, absurd), "board")
            tried += 1
    assert tried >= 7


@pytest.mark.parametrize("absurd", ABSURD, ids=repr)
@pytest.mark.parametrize("kind", ["run", "burst"])
def test_no_absurd_value_is_a_duration(true_answers: dict[str, dict[str, Any]], kind: str, absurd: Any) -> None:
    with pytest.raises(WorkerError, match=r"(?s)board returned samples that are no durations.*durations_ns\[0\]"):
        check_answer(kind, changed(true_answers[kind], ("durations_ns", 0), absurd), "board")


def test_inferences_cannot_take_longer_than_their_block(true_answers: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(WorkerError, match="which the block took"):
        check_answer("run", changed(true_answers["run"], ("durations_ns", 0), 3_000_000_000), "board")


def test_callers_cannot_take_longer_than_all_of_them(true_answers: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(WorkerError, match="which it took"):
        check_answer("concurrent", changed(true_answers["concurrent"], ("walls_ns", 1), 3_000_000_000), "board")


@pytest.mark.parametrize(
    ("path", "lie"),
    [
        (("nodes", 0, "median_us"), 5e8),
        (("run_us",), 0.002),
        (("run_us",), 3e9),
        (("plain_us",), 6e8),
        (("plain_us",), 0.001),
    ],
    ids=str,
)
def test_nodes_cannot_take_longer_than_their_run(
    true_answers: dict[str, dict[str, Any]], path: tuple[str, ...], lie: float
) -> None:
    node = true_answers["profile"]["nodes"][0] | {"median_us": 900.0}
    sound = true_answers["profile"] | {"nodes": [node], "run_us": 1000.0, "plain_us": 800.0}
    check_answer("profile", sound, "board")
    with pytest.raises(WorkerError, match=r"(?s)board.*(nodes|plain_us): "):
        check_answer("profile", changed(sound, path, lie), "board")


class Liar:
    """A worker, or a keeper of the lock, whose answers are given; it is its own target."""

    name = device = "board"
    emulated = False

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.kind = answers, ""

    def send(self, message: dict[str, Any]) -> None:
        self.kind = "unlock" if message == {"lock": None} else next(iter(message), "")

    def receive(self, timeout_s: float) -> Any:
        return self.answers[self.kind]

    def close(self) -> None:
        """Nothing is open."""

    def start_worker(self, worker_file: Path) -> Liar:
        return self

    def deliver(self, file: Path) -> str:
        return str(file)

    def lock(self) -> Any:
        return device_lock(self)


@pytest.fixture
def liar(true_answers: dict[str, dict[str, Any]]) -> Liar:
    session = true_answers["configure"]["session"] | {"threads": 1, "spinning": False}
    honest = true_answers | {
        "lock": {"locked": True},
        "unlock": {"locked": False},
        "configure": true_answers["configure"] | {"session": session},
    }
    honest["configure"].pop("model_sha256", None)
    return Liar(copy.deepcopy(honest))


@pytest.mark.parametrize(
    "lie", [{}, {"locked": False}, {"locked": 1}, {"locked": None}, {"held_by": 3}, {"held_by": []}], ids=str
)
def test_a_lock_that_is_not_confirmed_is_not_held(liar: Liar, lie: dict[str, Any]) -> None:
    liar.answers["lock"] = lie
    with pytest.raises(WorkerError, match=r"[Bb]oard"), device_lock(liar):
        pytest.fail("the device is not locked")


@pytest.mark.parametrize("lie", [math.nan, 0, True, -5, "5", None, 2.5], ids=repr)
def test_no_command_believes_a_duration(liar: Liar, model: Path, lie: Any) -> None:
    for kind in ("burst", "run"):
        liar.answers[kind]["durations_ns"][0] = lie
    with pytest.raises(WorkerError, match="oard"):
        measure_burst(model, DESIGN, liar, inferences=3)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="oard"):
        measure_sustained(model, DESIGN, liar, 1.0)  # type: ignore[arg-type]
    for key in ("run_us", "plain_us"):
        other = Liar(liar.answers | {"profile": changed(liar.answers["profile"], (key,), lie)})
        if lie != 2.5:
            with pytest.raises(WorkerError, match="oard"):
                profile_models({"m": model}, other, LatencySection(), launches=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", [("machine", "onnxruntime"), ("machine",), ("free_bytes",), ("state", "clocks_ns")], ids=str
)
@pytest.mark.parametrize("lie", [True, -1, [1], "9" * 5000, math.inf], ids=lambda lie: repr(lie)[:9])
def test_target_check_believes_nothing(liar: Liar, path: tuple[str, ...], lie: Any) -> None:
    liar.answers["hello"] = changed(liar.answers["hello"], path, lie)
    with pytest.raises(WorkerError, match="oard"):
        examine(liar, "pip install")  # type: ignore[arg-type]


def test_more_answers_than_were_asked_for(liar: Liar) -> None:
    with pytest.raises(WorkerError, match=r"(?s)Board.*expected: 7.*found: 3"):
        ask(liar, {"burst": 7}, 0)


def test_another_version_is_said_and_a_boolean_is_none(liar: Liar) -> None:
    liar.answers["configure"]["protocol"] = 1
    with pytest.raises(ProtocolError, match="Board"):
        configure(liar, "m", DESIGN)
    liar.answers["configure"]["protocol"] = True
    with pytest.raises(WorkerError, match="protocol"):
        configure(liar, "m", DESIGN)


@pytest.mark.parametrize(
    "answer", [{"error": 5}, {"error": "x", "about": []}, {"error": None, "about": "model"}], ids=str
)
def test_reports_of_failures_are_checked_too(liar: Liar, answer: dict[str, Any]) -> None:
    liar.answers["run"] = answer
    with pytest.raises(WorkerError, match="oard"):
        ask(liar, {"run": 0.1}, 0)


def test_a_report_about_the_model_names_the_device(liar: Liar) -> None:
    liar.answers["configure"] = {"error": "no", "about": "model"}
    with pytest.raises(OnnxUnreadableError, match="Board"):
        configure(liar, "m", DESIGN)


def test_facts_and_states_of_this_machine_are_plausible() -> None:
    honest = {"protocol": 2, "machine": machine_facts(), "state": device_state(), "free_bytes": 1}
    check_answer("hello", honest, "this machine")
