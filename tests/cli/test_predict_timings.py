"""`edgegd predict --timings`: the steps of every image, and their medians."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")
STEPS = ["decode", "letterbox", "inference", "postprocess"]


def test_medians_are_those_of_the_images(
    edgegd_command: Callable[..., Any], finished_run: Path, tiny_set: Path
) -> None:
    images = sorted((tiny_set / "images/val").iterdir())
    plain = edgegd_command("predict", finished_run / "qat.onnx", *images, "--json")
    timed = edgegd_command("predict", finished_run / "qat.onnx", *images, "--json", "--timings")
    assert plain.code == timed.code == 0
    result = json.loads(timed.out)
    timings = [entry.pop("timings") for entry in result["images"]]
    assert result["images"] == json.loads(plain.out) and len(timings) == len(images) > 2
    assert result["median_ms"] == {step: statistics.median(one[f"{step}_ms"] for one in timings) for step in STEPS}
    assert min(result["median_ms"].values()) > 0
    text = edgegd_command("predict", finished_run / "qat.onnx", *images, "--timings").out.splitlines()[-1]
    assert text.startswith(f"medians of {len(images)} images, ms: ") and all(f"{step} " in text for step in STEPS)
