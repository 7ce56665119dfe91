"""The stage `search`: which operations run in integers, chosen by measurement. Only where the recipe has a budget."""

from __future__ import annotations

import dataclasses

import torch

from edgegd.data.calibration import batches, calibration_images
from edgegd.detectors.deployment import head_paths, plan_detector, trace_detector
from edgegd.device.fingerprint import fingerprint
from edgegd.errors import PlanError, PrecisionBudgetError
from edgegd.pipeline.artifacts import ADAPTED_MODEL, DATA, FLOAT_MODEL, PRECISION, Artifact
from edgegd.pipeline.models import adapted_reads, model_to_quantize, run_preprocessing, stored_dataset
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage, code_version
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import Addresses
from edgegd.precision.budget import choose, nearest
from edgegd.precision.result import SearchResult, other_device
from edgegd.precision.search import Subject, search
from edgegd.precision.sensitivity import head_tensors
from edgegd.progress import Progress
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.recipe.dump import section_hash
from edgegd.targets.local import LocalTarget

_BATCH = 4  # images at a time: little memory
_MEASURED = ("model.imgsz", "model.end2end", "quant", "export", "latency", "target", "train.seed", "precision.images")


def searched_reads(folder: RunFolder) -> tuple[Artifact, ...]:
    """What the stage `ptq` reads of the search: nothing without a budget."""
    return (PRECISION,) if folder.recipe.precision.has_budget else ()


def searched_float(folder: RunFolder, progress: Progress) -> Addresses:
    """The addresses that the recipe's budget keeps float, none without a budget; tells where it is another device's.

    Raises PrecisionBudgetError where no searched plan meets the budget.
    """
    budget = folder.recipe.precision
    if not budget.has_budget:
        return ()
    result = SearchResult.from_json(folder.read_json(PRECISION))
    _tell_other_device(result, progress)
    point = choose(result.points, budget)
    progress.note(f"the searched plan {point.name}: {point.measured_ms:.2f} ms, {point.head_db:.1f} dB at the head")
    return point.float_addresses


def run_search(folder: RunFolder, progress: Progress) -> None:
    """Measures the front, or keeps the measured one if only the budget has changed, and takes the budget's plan.

    precision.json is written before PrecisionBudgetError is raised. Raises PlanError for a recipe with a plan of its
    own, and what measuring raises.
    """
    if folder.recipe.quant.plan:
        raise PlanError(
            "The recipe has a plan of its own, which leaves nothing to search.",
            expected="no quant.plan",
            found=f"quant.plan {folder.recipe.quant.plan}",
            mend="leave quant.plan or precision out",
        )
    made_from = {
        "data": sha256_of(folder.artifact(DATA)),
        "sources": code_version()["sources"],
        "model": sha256_of(folder.artifact(ADAPTED_MODEL if adapted_reads(folder) else FLOAT_MODEL)),
        "recipe": section_hash(folder.recipe, *_MEASURED),
    }
    result = _kept(folder, made_from)
    if result is None:
        result = _search(folder, made_from, progress)
    else:
        progress.note("the measured front is kept: nothing that it was made from has changed")
        _tell_other_device(result, progress)
    budget = folder.recipe.precision
    chosen, refused = None, None
    if budget.has_budget:
        try:
            chosen = choose(result.points, budget).name
        except PrecisionBudgetError as error:
            refused = error
    folder.write_json(
        PRECISION,
        {
            **result.to_json(),
            "budget": dataclasses.asdict(budget),
            "chosen": chosen,
            "nearest": nearest(result.points, budget).name if refused else None,
        },
    )
    if refused:
        raise refused


def _kept(folder: RunFolder, made_from: dict[str, str]) -> SearchResult | None:
    try:
        result = SearchResult.from_json(folder.read_json(PRECISION))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if result.made_from == made_from else None


def _tell_other_device(result: SearchResult, progress: Progress) -> None:
    if warning := other_device(result.fingerprint, fingerprint()):
        progress.note(f"warning: {warning}\n  `edgegd search --force` measures here")


def _search(folder: RunFolder, made_from: dict[str, str], progress: Progress) -> SearchResult:
    recipe = folder.recipe
    section, imgsz, profile = recipe.quant, recipe.model.size, recipe.target.profile
    model = model_to_quantize(folder)

    def replan(addresses: Addresses) -> QuantPlan:
        return plan_detector(model, imgsz, profile, float_patterns=(*section.float, *addresses), rules=section.rules)

    quantized = QuantizedModel(model, replan(()))
    paths = calibration_images(
        stored_dataset(folder), max(section.calibration_images, recipe.precision.images), recipe.train.seed
    )
    preprocessing = run_preprocessing(folder, model)
    calibrate(
        quantized,
        map(torch.from_numpy, batches(paths, preprocessing, _BATCH)),
        section.observer,
        lambda done: progress.update(done, len(paths), "calibrating"),
        percentile=section.percentile,
    )
    shown = paths[: recipe.precision.images]
    ops = trace_detector(model, imgsz)
    subject = Subject(
        quantized.eval(),
        ops,
        head_tensors(ops, head_paths(model)),
        [torch.from_numpy(batch) for batch in batches(shown, preprocessing, _BATCH)],
        replan,
        recipe.export.opset,
    )
    return search(subject, LocalTarget(), recipe.latency, progress, images=tuple(map(str, shown)), made_from=made_from)


STAGE = Stage(
    "search",
    "precision by measurement",
    (DATA, FLOAT_MODEL),
    (PRECISION,),
    (*_MEASURED, "precision"),
    run_search,
    reads_also=adapted_reads,
)
