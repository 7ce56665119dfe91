"""Cold burst and sustained latency. Oracles: played durations for what is reported, hand-made blocks for steadiness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgegd.latency.measuring.endurance import SustainedBlock, is_steady, measure_burst, measure_sustained
from edgegd.latency.measuring.record import Design
from edgegd.targets.local import LocalTarget

DESIGN = Design(launches=3, quads=1, block_s=0.05, warmup_s=0, threads=1, spinning=False)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEGD_DEVICE_LOCK", str(tmp_path / "lock"))


def block(at_s: float, celsius: float | None) -> SustainedBlock:
    return SustainedBlock(at_s, 10.0, celsius, None, ())


@pytest.mark.parametrize(
    ("celsius", "steady"),
    [
        ([50.0] * 70, True),
        ([50.0] * 59, False),
        ([50.0 + 0.02 * i for i in range(200)], False),
        ([50.0 + min(i, 100) * 0.2 for i in range(200)], True),
        ([50.0] * 69 + [None], False),
        ([None] * 100, False),
    ],
    ids=["constant", "too short", "rising", "risen, then constant", "unknown at last", "no zone"],
)
def test_steady_is_one_degree_within_a_minute(celsius: list[float | None], steady: bool) -> None:
    assert is_steady([block(float(second), value) for second, value in enumerate(celsius)]) is steady


def test_burst_is_of_fresh_processes_and_not_warmed_up(make_model: Any) -> None:
    burst = measure_burst(make_model("burst", products=50), DESIGN, LocalTarget(), inferences=4)
    assert len(burst.load_ms) == 3 and [len(launch) for launch in burst.durations_ms] == [4, 4, 4]
    assert all(ms > 0 for launch in burst.durations_ms for ms in launch)
    answer = json.loads(json.dumps(burst.to_json()))
    assert answer["median_ms"][0] == sorted(launch[0] for launch in burst.durations_ms)[1]


def test_sustained_runs_without_a_pause_until_the_limit(make_model: Any) -> None:
    seen: list[SustainedBlock] = []
    result = measure_sustained(make_model("sustained", products=50), DESIGN, LocalTarget(), 1.0, seen.append)
    assert tuple(seen) == result.blocks and len(seen) >= 3 and not result.steady
    starts = [one.at_s for one in seen]
    assert starts == sorted(starts) and starts[-1] < 1.0
    assert result.first_ms == seen[0].median_ms or len(seen) >= 20
    assert json.loads(json.dumps(result.to_json()))["last_ms"] == result.last_ms


def test_commands_print_them(make_model: Any, edgegd_command: Any) -> None:
    model = make_model("printed", products=50)
    burst = edgegd_command("latency", "burst", model, "--launches", 2, "--inferences", 3, "--json")
    assert burst.code == 0 and len(json.loads(burst.out)["durations_ms"]) == 2, burst.err
    sustained = edgegd_command("latency", "sustained", model, "--limit", 1)
    assert sustained.code == 0 and "ms at first" in sustained.out, sustained.err
    missing = edgegd_command("latency", "burst", "missing.onnx")
    assert missing.code == 40 and "missing.onnx" in missing.err
