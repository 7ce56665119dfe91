"""What can be known at the start is refused there: by the recipe, or in stage `data`, before any image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegd.errors import EdgegdError, PlanError, RecipeError, UnsupportedModelError
from edgegd.recipe.load import parse_recipe

START = "version: 1\ndata: {source: yaml, path: x.yaml}\ntarget: {profile: x86-vnni}\n"


@pytest.mark.parametrize(
    "override",
    [
        "train.momentum=1",
        "train.seed=4294967296",
        "model.float.optimizer=adamw2",
        "train.optimizer=Lion",
    ],
)
def test_recipes(override: str) -> None:
    with pytest.raises(RecipeError, match=override.split("=")[0]):
        parse_recipe(START, [override])


def test_rules_and_plans(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgegd.pipeline.make_plan import require_plan_section

    for overrides in (
        ["quant.rules={no-such-rule: float}"],
        [f"quant.plan={tmp_path / 'none.json'}"],
        [f"quant.plan={tmp_path / 'none.json'}", "quant.float=[a]"],
    ):
        with pytest.raises(PlanError):
            require_plan_section(parse_recipe(START, overrides))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(PlanError):
        require_plan_section(parse_recipe(START, [f"quant.plan={tmp_path / 'deep.json'}"]))
    require_plan_section(parse_recipe(START))


def test_a_shared_parameter_is_refused_before_the_data(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from ultralytics import YOLO

    from edgegd.pipeline.run_folder import RunFolder
    from edgegd.pipeline.stages.data import run_data
    from edgegd.pipeline.weights import open_weights
    from edgegd.progress import Silent

    yolo = YOLO("yolov8n.yaml")
    shared = torch.nn.PReLU()
    for module in yolo.model.modules():
        if isinstance(getattr(module, "act", None), torch.nn.SiLU):
            module.act = shared
    yolo.ckpt = {}
    yolo.save(tmp_path / "shared.pt")
    recipe = parse_recipe(START, [f"model.weights={tmp_path / 'shared.pt'}", "model.imgsz=64"])
    folder = RunFolder.create(tmp_path / "run", recipe, "r")
    with pytest.raises(UnsupportedModelError, match="share a parameter"):
        open_weights(folder)
    with pytest.raises(EdgegdError, match="share a parameter"):
        run_data(folder, Silent())


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolo26n", "yolov9t", "yolov10n", "yolo12n"])
def test_families_have_parameters_of_their_own(name: str) -> None:
    pytest.importorskip("torch")
    from ultralytics.nn.tasks import DetectionModel

    from edgegd.detectors.own_parameters import require_own_parameters

    require_own_parameters(DetectionModel(f"{name}.yaml", verbose=False), name)


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        (["quant.float=[no.such.operation*]"], "matches no operation"),
        (["quant.rules={nothing: float}"], "is no rule"),
        (["precision.latency_ratio=0.5", "quant.plan={plan}"], "nothing to search"),
    ],
    ids=["pattern", "rule", "plan and budget"],
)
def test_stage_data_refuses_what_ptq_would(
    tiny_checkpoint: Path, tmp_path: Path, overrides: list[str], fragment: str
) -> None:
    from edgegd.detectors.deployment import deploy
    from edgegd.pipeline.early_checks import require_possible
    from edgegd.pipeline.make_plan import make_plan
    from edgegd.pipeline.run_folder import RunFolder
    from edgegd.pipeline.weights import open_weights

    sound = parse_recipe(START, [f"model.weights={tiny_checkpoint}", "model.imgsz=64"])
    folder = RunFolder.create(tmp_path / "run", sound, "r")
    require_possible(folder, open_weights(folder))
    (tmp_path / "plan.json").write_text(make_plan(folder, deploy(open_weights(folder), end2end=None)).to_json())
    given = [override.replace("{plan}", str(tmp_path / "plan.json")) for override in overrides]
    folder.recipe = parse_recipe(START, [f"model.weights={tiny_checkpoint}", "model.imgsz=64", *given])
    with pytest.raises(PlanError, match=fragment):
        require_possible(folder, open_weights(folder))


def test_head_distillation_of_rtdetr(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ultralytics.nn.tasks import RTDETRDetectionModel

    from edgegd.pipeline.early_checks import require_possible
    from edgegd.pipeline.run_folder import RunFolder

    recipe = parse_recipe(START, ["train.distill.head=1", "model.imgsz=320"])
    model = RTDETRDetectionModel("rtdetr-l.yaml", verbose=False)
    with pytest.raises(UnsupportedModelError, match=r"train\.distill\.head"):
        require_possible(RunFolder.create(tmp_path / "run", recipe, "r"), model)
