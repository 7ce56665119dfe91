"""Limits of a recipe against what a device was found to do."""

from __future__ import annotations

from dataclasses import fields

import pytest

from edgegd.recipe.load import parse_recipe
from edgegd.recipe.prove import ProveLimits
from edgegd.verify.acceptance import LEAST, judge

FOUND = {"p95_ms": 40.0, "load_ms": 100.0, "peak_mb": 80.0, "bytes": 3_000_000.0, "map50_95": 0.42}


def test_without_limits_there_is_no_verdict() -> None:
    assert judge(ProveLimits(), FOUND, {}) == ()


@pytest.mark.parametrize("name", [field.name for field in fields(ProveLimits)])
@pytest.mark.parametrize("factor", [0.999, 1.0, 1.001])
def test_a_limit_is_met_up_to_itself(name: str, factor: float) -> None:
    (verdict,) = judge(ProveLimits(**{name: FOUND[name] * factor}), FOUND, {})
    assert verdict.passed == (factor <= 1 if name in LEAST else factor >= 1)
    assert (verdict.name, verdict.found) == (name, FOUND[name])
    words = {"reached", "missed"} if name in LEAST else {"kept", "exceeded"}
    assert len([word for word in words if verdict.reason.endswith(f"is {word}.")]) == 1


def test_what_was_not_measured_is_not_met_and_says_why() -> None:
    verdicts = judge(ProveLimits(p95_ms=1e6, bytes=4_000_000), {"bytes": 3e6}, {"p95_ms": "pi5 is emulated."})
    assert [(one.name, one.passed, one.found) for one in verdicts] == [("p95_ms", False, None), ("bytes", True, 3e6)]
    assert verdicts[0].reason == "Not measured. pi5 is emulated."


def test_a_recipe_says_the_limits() -> None:
    recipe = parse_recipe(
        "version: 1\ndata: {path: coco.yaml}\nprove: {limits: {p95_ms: 40, bytes: 3000000, map50_95: 0.4}}\n"
    )
    assert recipe.prove.limits == ProveLimits(p95_ms=40.0, bytes=3_000_000, map50_95=0.4)
