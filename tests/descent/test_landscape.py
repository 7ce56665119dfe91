"""The loss around a descent. Oracles: the states' own losses, computed apart; the descent's own steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from descent_listener import scores_of

from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.landscape import along_step, over_plane, repeat_step, roughness, surface
from edgegd.descent.listener import Storage
from edgegd.descent.path import filters_of
from edgegd.descent.plane import Plane
from edgegd.descent.random_state import capture_random_state
from edgegd.descent.training import Training
from edgegd.detectors.losses import label_loss, predict
from edgegd.detectors.student import FloatStudent
from edgegd.progress import Silent
from edgegd.recipe.training import TrainSection

SECTION = TrainSection(epochs=2, lr0=1e-3, warmup_epochs=0.5, grad_clip=0.0)


def real_loss(quantized: Any, state: dict[str, torch.Tensor], batch: dict[str, Any], form: str) -> float:
    """The loss of a state in a model of its own."""
    quantized.load_state_dict(state)
    student = FloatStudent(quantized.model) if form == "float" else quantized
    ready = {**batch, "img": batch["img"].float() / 255}
    with torch.no_grad():
        return float(label_loss(student, ready, predict(student.train(), ready))[0])


@pytest.fixture(scope="module")
def descended(calibrated: Any, batches: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The states before and after a descent of four steps, and its rows."""
    student, log = calibrated(), tmp_path_factory.mktemp("log") / "steps.jsonl"
    start = {name: value.clone() for name, value in student.state_dict().items()}
    fine_tune(student, batches, SECTION, scores_of(), storage=Storage(log=log))
    last = {name: value.clone() for name, value in student.state_dict().items()}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {"start": start, "last": last, "rows": rows}


def test_losses_in_the_plane_are_those_of_the_states(calibrated: Any, batches: Any, descended: dict[str, Any]) -> None:
    student = calibrated()
    plane = Plane(descended["start"], {"last": descended["last"]}, list(filters_of(student.model)), 0)
    x, _ = plane.coordinates(descended["last"])
    with surface(Training(student, SECTION, None), batches[0]) as losses:
        found = over_plane(losses, plane, [0.0, x], [0.0, 0.05], Silent())
    for form in ("float", "quantized"):
        for column, name in enumerate(("start", "last")):
            expected = real_loss(calibrated(), descended[name], batches[0], form)
            assert found[form][0][column] == pytest.approx(expected, rel=1e-5)
        assert [len(row) for row in found[form]] == [2, 2]
        assert found[form][1][0] != found[form][0][0]  # the random direction leads somewhere
    assert found["float"][0][0] != found["quantized"][0][0]


def test_nothing_is_left_changed(calibrated: Any, batches: Any, descended: dict[str, Any]) -> None:
    student = calibrated().eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    plane = Plane(descended["start"], {"last": descended["last"]}, list(filters_of(student.model)), 0)
    generators = capture_random_state()
    with surface(Training(student, SECTION, None), batches[0]) as losses:
        losses.at(plane.state(0.02, 0.02))
        torch.rand(3)
    tensors, numbers = capture_random_state()
    assert numbers == generators[1] and all(torch.equal(value, tensors[name]) for name, value in generators[0].items())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not student.training


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_step_made_again_is_the_descents_own(
    calibrated: Any, batches: Any, descended: dict[str, Any], number: int
) -> None:
    student = calibrated()
    step = repeat_step(Training(student, SECTION, None), batches, number, Silent())
    assert step.loss == descended["rows"][number - 1]["loss"]
    if number == 4:
        assert all(
            torch.equal(value, step.after[name]) for name, value in descended["last"].items() if name[:6] == "model."
        )
    if number == 1:
        weight = next(name for name, _ in student.model.named_parameters())
        assert torch.equal(step.before[f"model.{weight}"], descended["start"][f"model.{weight}"])
    assert step.length["losses"][0] == step.loss
    with pytest.raises(ValueError, match="4 steps"):
        repeat_step(Training(calibrated(), SECTION, None), batches, 5, Silent())


def test_rounding_cuts_steps_into_the_slope(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    step = repeat_step(Training(student, SECTION, None), batches, 2, Silent())
    with surface(Training(student, SECTION, None), step.batch) as losses:
        # From 0 to 1 and on past it, in steps so small that the float loss is a straight line between neighbours.
        found = along_step(losses, step, [i / 50 for i in range(61)], Silent())
    assert found["quantized"][0] == pytest.approx(step.length["losses"][0], rel=1e-5)
    assert found["quantized"][50] == pytest.approx(step.length["losses"][1], rel=1e-5)
    rough = {form: roughness(values) for form, values in found.items()}
    assert rough["quantized"] > 5 * rough["float"] > 0  # type: ignore[operator]


def test_the_parabola_is_the_one_that_alpha_comes_from(calibrated: Any, batches: Any) -> None:
    length = repeat_step(Training(calibrated(), SECTION, None), batches, 2, Silent()).length
    _, slope, bend = length["parabola"]
    assert length["alpha"] == pytest.approx(-(slope + 2 * bend) / slope)


def test_roughness_is_the_deviation_of_independent_errors() -> None:
    assert roughness([3 * i / 7 for i in range(20)]) == pytest.approx(0, abs=1e-12)
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    assert roughness(noise.tolist()) == pytest.approx(0.3, rel=0.03)
    assert roughness([1.0, 2.0]) is None and roughness([1.0, None, 2.0, 3.0]) is None


def test_a_loss_that_is_not_finite_is_none(calibrated: Any, batches: Any, tmp_path: Path) -> None:
    student = calibrated()
    state = {name: value.clone() for name, value in student.state_dict().items()}
    weight = f"model.{next(iter(filters_of(student.model)))}"
    with surface(Training(student, SECTION, None), batches[0]) as losses:
        assert losses.at({**state, weight: torch.full_like(state[weight], float("inf"))})["float"] is None
