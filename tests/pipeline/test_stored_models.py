"""What a run refuses to load; oracle: the damage done here by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

STATE = "qat.safetensors"


@pytest.fixture
def load(run_copy: Path) -> Callable[[], Any]:
    """Loads the QAT model of a copy of the finished run."""
    from edgegd.pipeline.models import quantized_model
    from edgegd.pipeline.run_folder import RunFolder

    return lambda: quantized_model(RunFolder.open_existing(run_copy), "qat")


def _rewritten(path: Path, change: Callable[[dict[str, Any]], None], **metadata: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        state, stored = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    change(state)
    save_file(state, path, {**stored, **metadata})


def _first(state: dict[str, Any], start: str, end: str) -> str:
    return next(key for key in sorted(state) if key.startswith(start) and key.endswith(end))


def test_an_undamaged_state_loads(load: Callable[[], Any], run_copy: Path) -> None:
    before = load().state_dict()
    _rewritten(run_copy / STATE, lambda state: None)
    assert all(torch.equal(value, before[name]) for name, value in load().state_dict().items())


def test_a_truncated_state(load: Callable[[], Any], run_copy: Path) -> None:
    from edgegd.errors import CheckpointUnreadableError

    whole = (run_copy / STATE).read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        (run_copy / STATE).write_bytes(whole[:length])
        with pytest.raises(CheckpointUnreadableError, match="truncated") as caught:
            load()
        assert STATE in str(caught.value) and f"edgegd qat --force {run_copy}" in str(caught.value)
    assert caught.value.exit_code == 31


def test_a_state_of_another_plan(load: Callable[[], Any], run_copy: Path) -> None:
    from edgegd.errors import PlanError

    _rewritten(run_copy / STATE, lambda state: None, plan_sha256="0123456789abcdef")
    with pytest.raises(PlanError, match="holds the ranges of another plan") as caught:
        load()
    assert "0123456789ab" in str(caught.value)


@pytest.mark.parametrize(
    ("start", "end", "value", "fragment"),
    [
        ("ranges.", ".scale", float("nan"), "values that are not finite"),
        ("ranges.", ".log_scale", float("inf"), "values that are not finite"),
        ("ranges.", ".scale", 0.0, "scales that are not positive"),
        ("weights.", ".scale", -1.0, "scales that are not positive"),
        ("ranges.", ".zero_point", 256, "no zero point of uint8"),
        ("model.", ".weight", float("nan"), "values that are not finite"),
    ],
)
def test_values_that_are_no_ranges_or_weights(
    load: Callable[[], Any], run_copy: Path, start: str, end: str, value: float, fragment: str
) -> None:
    from edgegd.errors import CheckpointUnreadableError

    named = []

    def damage(state: dict[str, Any]) -> None:
        named.append(_first(state, start, end))
        state[named[0]].view(-1)[0] = value

    _rewritten(run_copy / STATE, damage)
    with pytest.raises(CheckpointUnreadableError, match=fragment) as caught:
        load()
    assert named[0] in str(caught.value)


def test_a_state_of_another_version(load: Callable[[], Any], run_copy: Path) -> None:
    from edgegd.errors import CheckpointUnreadableError

    def rename(state: dict[str, Any]) -> None:
        state["old"] = state.pop(_first(state, "ranges.", ".shift"))

    _rewritten(run_copy / STATE, rename)
    with pytest.raises(CheckpointUnreadableError, match="another version of edgegd") as caught:
        load()
    assert "is missing" in str(caught.value) and "old is not of this model" in str(caught.value)


def test_a_plan_of_another_image_size_or_model(load: Callable[[], Any], run_copy: Path) -> None:
    from edgegd.errors import PlanError
    from edgegd.plan.quant_plan import QuantPlan

    path = run_copy / "plan.json"
    plan = QuantPlan.from_json(path.read_text())
    for changed, fragment in ((replace(plan, imgsz=(96, 96)), "96x96 px"), (replace(plan, model="0" * 64), "model")):
        path.write_text(changed.to_json())
        with pytest.raises(PlanError, match=fragment):
            load()
