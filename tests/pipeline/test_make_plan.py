"""The plan that a recipe asks for. Oracle: the plan of the rules alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.errors import PlanError
from edgegd.pipeline.make_plan import make_plan
from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import QuantPlan
from edgegd.recipe.schema import QuantSection, Recipe


@pytest.fixture(scope="module")
def model() -> Any:
    from ultralytics.nn.tasks import DetectionModel

    return deploy(DetectionModel("yolov8n.yaml", nc=2, verbose=False).eval())


def planned(model: Any, profile: str = "x86-vnni", imgsz: int = 64, **quant: Any) -> QuantPlan:
    recipe = dataclasses.replace(
        Recipe(),
        quant=QuantSection(**quant),
        model=dataclasses.replace(Recipe().model, imgsz=imgsz),
        target=dataclasses.replace(Recipe().target, profile=profile),
    )
    return make_plan(SimpleNamespace(recipe=recipe), model)  # type: ignore[arg-type]


def test_a_recipe_changes_what_the_rules_decide(model: Any) -> None:
    plain = planned(model)
    assert plain == plan_detector(model, 64, "x86-vnni")
    changed = planned(model, float=["model.1.*"])
    differ = [now.address for now, then in zip(changed.ops, plain.ops, strict=True) if now.decision != then.decision]
    assert differ and all(address.startswith("model.1.") for address in differ)
    with pytest.raises(PlanError):
        planned(model, float=["model.99.*"])


@pytest.mark.parametrize("profile", TABLES)
def test_an_edited_plan_is_taken_for_the_target_it_is_for(model: Any, tmp_path: Path, profile: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(planned(model, float=["model.1.*"]).to_json())
    assert planned(model, profile, plan=str(file)) == planned(model, profile, float=["model.1.*"])


@pytest.mark.parametrize(
    ("change", "arguments", "fragment"),
    [
        (lambda path: path.unlink(), {}, "cannot be read"),
        (lambda path: path.write_text(path.read_text()[:-50]), {}, "plan"),
        (lambda path: path.write_text(json.dumps({"schema": 0})), {}, "another schema"),
        (lambda path: None, {"imgsz": 96}, "traced for another image size"),
        (lambda path: None, {"rules": {"box-convolution": "integer"}}, "both a plan of its own and changes"),
    ],
    ids=["missing", "truncated", "schema", "imgsz", "both"],
)
def test_a_plan_that_cannot_be_used_is_a_plan_error(
    model: Any, tmp_path: Path, change: Any, arguments: Any, fragment: str
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(planned(model).to_json())
    change(file)
    with pytest.raises(PlanError, match=fragment) as caught:
        planned(model, plan=str(file), **arguments)
    assert caught.value.exit_code == 62
