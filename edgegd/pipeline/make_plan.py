"""The plan that a recipe asks for: from the rules and its changes to them, or from an edited file."""

from __future__ import annotations

from typing import Any

from edgegd.bounded_read import read_bounded
from edgegd.detectors.deployment import plan_detector, trace_detector
from edgegd.errors import PlanError
from edgegd.limits import JSON_BYTES
from edgegd.pipeline.run_folder import RunFolder
from edgegd.plan.planning import changed_rules
from edgegd.plan.profiles import TABLES
from edgegd.plan.quant_plan import QuantPlan, require_plan_fits
from edgegd.precision.assembly import Addresses
from edgegd.recipe.paths import resolve_path
from edgegd.recipe.schema import QuantSection, Recipe


def make_plan(folder: RunFolder, model: Any, searched: Addresses = ()) -> QuantPlan:
    """The plan that the recipe asks for: from the rules and its changes to them, or from an edited file.

    `searched` are addresses that stay float beside those of the recipe. Raises PlanError where the changes, or the
    file, do not fit the model.
    """
    recipe = folder.recipe
    section, size, profile = recipe.quant, recipe.model.size, recipe.target.profile
    if not section.plan:
        return plan_detector(model, size, profile, float_patterns=(*section.float, *searched), rules=section.rules)
    plan = _read_plan(section).for_profile(profile)
    require_plan_fits(plan, trace_detector(model, size), size)
    return plan


def require_plan_section(recipe: Recipe) -> None:
    """PlanError for what is wrong with quant.rules and quant.plan before any model is looked at."""
    section = recipe.quant
    changed_rules(TABLES.get(recipe.target.profile) or next(iter(TABLES.values())), section.rules)
    if section.plan:
        _read_plan(section)


def _read_plan(section: QuantSection) -> QuantPlan:
    """The plan of quant.plan; PlanError."""
    path = resolve_path(section.plan)
    if section.float or section.rules:
        raise PlanError(
            "The recipe has both a plan of its own and changes to the rules' plan.",
            expected="quant.plan, or quant.float and quant.rules",
            found=f"quant.plan {path} and the others",
            mend="make the changes in the plan's file, or leave quant.plan out",
        )
    try:
        content = read_bounded(path, JSON_BYTES)
        if content is None:
            raise ValueError(f"more than {JSON_BYTES >> 20} MiB")
        text = content.decode()
    except (OSError, ValueError) as error:
        raise PlanError(
            f"The plan {path} cannot be read.",
            expected="a plan.json that the stage `ptq` wrote",
            found=str(error),
            mend="correct quant.plan",
        ) from error
    return QuantPlan.from_json(text)
