"""What would fail hours later, and can be known before the first image is read."""

from __future__ import annotations

import copy

from torch import nn

from edgegd.data.image_files import require_plain_name
from edgegd.detectors.activation_swap import require_silu
from edgegd.detectors.deployment import deploy, model_stride, plan_detector
from edgegd.detectors.families.registry import family_of
from edgegd.detectors.own_parameters import require_own_parameters
from edgegd.detectors.shared_memory import require_shared_memory
from edgegd.errors import PlanError, UnsupportedModelError
from edgegd.pipeline.make_plan import require_plan_section
from edgegd.pipeline.run_folder import RunFolder
from edgegd.plan.profiles import TABLES

_TRACED_PX = 320  # the plan does not depend on the size; RT-DETR needs a few hundred places for its queries


def require_possible(folder: RunFolder, model: nn.Module) -> None:
    """Raises the error that a later stage would raise for this recipe, machine and model (which stays as it is).

    PlanError for quant.rules, quant.plan and quant.float, and a plan beside a budget; ActivationError for a swap
    without SiLUs; UnsupportedModelError for shared parameters, for operations that cannot be traced, and for head
    distillation where heads cannot be compared (RT-DETR); NoSpaceError for train.workers without shared memory;
    NoImagesError for the run's folder.
    """
    recipe = folder.recipe
    require_plan_section(recipe)
    if recipe.quant.plan and recipe.precision.has_budget:
        raise PlanError(
            "The recipe has a plan of its own, which leaves nothing to search.",
            expected="no quant.plan",
            found=f"quant.plan {recipe.quant.plan}",
            mend="leave quant.plan or precision out",
        )
    require_shared_memory(recipe.train.workers, recipe.train.batch, recipe.model.imgsz)
    require_plain_name(folder.artifact("view").absolute())
    require_own_parameters(model, recipe.model.weights)
    swaps = recipe.quant.activation != "silu"
    if swaps:
        require_silu(model)
    family = family_of(model)
    weight = max(recipe.train.distill.head, recipe.train.adapt.distill.head if swaps else 0)
    if family.no_head_distillation and weight > 0:
        raise UnsupportedModelError(
            f"train.distill.head is not possible for {family.name}: {family.no_head_distillation}.",
            expected="train.distill.head 0, and train.adapt.distill.head 0 where activations are swapped",
            found=f"{weight:g}",
            mend="set it to 0, and use neck",
        )
    distills = [recipe.train.distill, *([recipe.train.adapt.distill] if swaps else [])]
    mixed = recipe.data.unlabelled_images and any(one.asks and one.labels for one in distills)
    if family.no_mixed_labels and mixed:
        raise UnsupportedModelError(
            f"{family.name} cannot learn from labelled and unlabelled images in one step: {family.no_mixed_labels}.",
            expected="train.distill.labels false, or no data.unlabelled_images",
            found="both",
            mend="set it to false (in an adaptation train.adapt.distill.labels), or leave the images out",
        )
    if not swaps and not recipe.quant.plan and recipe.target.profile in TABLES:
        _require_plan(folder, model)


def _require_plan(folder: RunFolder, model: nn.Module) -> None:
    recipe = folder.recipe
    imgsz = recipe.model.imgsz
    size = min(imgsz, _TRACED_PX) if isinstance(imgsz, int) and _TRACED_PX % model_stride(model) == 0 else imgsz
    deployed = deploy(copy.deepcopy(model), end2end=recipe.model.end2end)
    plan_detector(deployed, size, recipe.target.profile, float_patterns=recipe.quant.float, rules=recipe.quant.rules)
