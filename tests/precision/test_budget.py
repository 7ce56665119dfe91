"""Which plan a budget takes, on points made by hand; what a result keeps as JSON; warnings of other devices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgegd.errors import PrecisionBudgetError
from edgegd.precision.budget import choose, nearest
from edgegd.precision.result import Point, SearchResult, other_device
from edgegd.recipe.schema import PrecisionSection


def point(name: str, measured_ms: float, head_db: float) -> Point:
    return Point(name, 3, ("a:add:0",), measured_ms - 1, measured_ms, measured_ms / 20, head_db - 1, head_db)


FRONT = (point("rules", 11, 20), point("fast", 10, 21), point("middle", 12, 30), point("exact", 16, 45))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"latency_ms": 12.5}, "middle"),
        ({"latency_ms": 10}, "fast"),
        ({"latency_ratio": 0.9}, "exact"),
        ({"head_db": 0}, "fast"),
        ({"head_db": 30}, "middle"),
        ({"head_db": 31}, "exact"),
        ({"head_db": 21, "latency_ms": 13}, "middle"),
        ({"latency_ms": 13, "latency_ratio": 0.55}, "fast"),
    ],
    ids=str,
)
def test_a_latency_budget_takes_the_most_exact_plan_and_an_accuracy_budget_the_fastest(
    budget: dict[str, float], expected: str
) -> None:
    assert choose(FRONT, PrecisionSection(**budget)).name == expected


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"latency_ms": 5}, "fast"),
        ({"head_db": 60}, "exact"),
        ({"latency_ratio": 0.1}, "fast"),
        ({"latency_ms": 9.9, "head_db": 21}, "fast"),
        ({"latency_ms": 11.5, "head_db": 31}, "middle"),
    ],
    ids=str,
)
def test_where_no_plan_meets_the_budget_the_nearest_is_shown(budget: dict[str, float], expected: str) -> None:
    section = PrecisionSection(**budget)
    assert nearest(FRONT, section).name == expected
    with pytest.raises(PrecisionBudgetError) as refused:
        choose(FRONT, section)
    found = next(p for p in FRONT if p.name == expected)
    assert f"the nearest is {expected}: {found.measured_ms:.2f} ms" in refused.value.found
    assert f"{found.head_db:.1f} dB" in refused.value.found and refused.value.exit_code == 67
    assert all(str(limit) in refused.value.expected for limit in budget.values())


@pytest.mark.parametrize(("budget", "asked"), [({}, False), ({"head_db": 0.0}, True), ({"latency_ms": 3.0}, True)])
def test_zero_is_a_budget_and_nothing_is_none(budget: dict[str, Any], asked: bool) -> None:
    assert PrecisionSection(**budget).has_budget is asked


def test_a_result_is_read_back_from_json() -> None:
    operations = ({"addresses": ["a:add:0"], "integer_ms": 1.0, "float_ms": 2.0, "head_db": 40.0},)
    result = SearchResult(
        20.0, FRONT, operations, {"barrier": 1.0}, ("h:conv2d:0",), ("x.png",), 1, {"cpu": "c"}, {"model": "m"}
    )
    data = json.loads(json.dumps({**result.to_json(), "chosen": "fast"}))
    assert SearchResult.from_json(data) == result
    with pytest.raises(ValueError, match="schema 9"):
        SearchResult.from_json({**data, "schema": 9})
    with pytest.raises(KeyError):
        SearchResult.from_json({key: value for key, value in data.items() if key != "points"})


DEVICE = {
    "cpu": "EPYC",
    "instruction_sets": ["avx2", "avx512_vnni"],
    "architecture": "x86_64",
    "onnxruntime": "1.32.0",
    "kernel": "6.1",
    "python": "3.11",
}


@pytest.mark.parametrize(
    "changed",
    [
        {"cpu": "Cortex-A76"},
        {"instruction_sets": []},
        {"architecture": "aarch64"},
        {"onnxruntime": "1.23.0"},
    ],
    ids=str,
)
def test_another_device_is_told_with_both_fingerprints(changed: dict[str, Any]) -> None:
    warning = other_device(DEVICE, DEVICE | changed)
    searched, here = warning.splitlines()[1:]
    assert "EPYC (x86_64, avx2 avx512_vnni), onnxruntime 1.32.0" in searched
    value = next(iter(changed.values()))
    assert (str(value) if value else "no instruction set") in here


def test_another_kernel_is_the_same_device() -> None:
    assert other_device(DEVICE, DEVICE | {"kernel": "6.2", "python": "3.12"}) == ""
