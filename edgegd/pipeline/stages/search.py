"""The stage `search`: which operations run in integers, chosen by measurement. Only where the recipe has a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import onnx

from edgegd.data.calibration import ImageBatches, batches, calibration_images
from edgegd.device.fingerprint import fingerprint
from edgegd.errors import MetadataError, MissingArtifactError, OnnxUnreadableError, PlanError, PrecisionBudgetError
from edgegd.export.traced_graph import read_trace
from edgegd.pipeline.artifacts import DATA, FLOAT_MODEL, PRECISION, Artifact
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage, code_version
from edgegd.pipeline.stored import adapted_reads, checkpoint_to_quantize, float_origin, stored_dataset, stored_graph
from edgegd.plan.planning import build_plan
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import Addresses
from edgegd.precision.budget import choose, nearest
from edgegd.precision.float_values import count_values
from edgegd.precision.result import SearchResult, other_device
from edgegd.precision.search import search
from edgegd.precision.sensitivity import head_tensors
from edgegd.precision.subject import Subject, calibrated_state
from edgegd.progress import Progress
from edgegd.quant.growing_set import MOST, grow
from edgegd.quant.histogram import Histogram
from edgegd.quant.ranges import choose_ranges
from edgegd.recipe.dump import section_hash
from edgegd.recipe.schema import AUTO_IMAGES
from edgegd.runtime.contract import Preprocessing
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
        "model": sha256_of(folder.artifact(checkpoint_to_quantize(folder))),
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
    section, profile = recipe.quant, recipe.target.profile
    graph = _float_graph(folder)
    traced = read_trace(graph)

    def replan(addresses: Addresses) -> QuantPlan:
        patterns = (*section.float, *addresses)
        return build_plan(
            traced.ops, traced.head, profile, imgsz=recipe.model.size, float_patterns=patterns, rules=section.rules
        )

    channels = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    preprocessing = Preprocessing.of_images(recipe.model.size, channels)
    plan = replan(())
    paths, histograms = _counted(folder, graph, plan, preprocessing, progress)
    ranges = choose_ranges(plan, histograms, section.observer, section.percentile)
    shown = paths[: recipe.precision.images]
    subject = Subject(
        graph,
        plan,
        calibrated_state(graph, plan, ranges),
        traced.ops,
        head_tensors(traced.ops, traced.head),
        list(batches(shown, preprocessing, _BATCH)),
        replan,
    )
    return search(subject, LocalTarget(), recipe.latency, progress, images=tuple(map(str, shown)), made_from=made_from)


def _counted(
    folder: RunFolder, graph: onnx.ModelProto, plan: QuantPlan, preprocessing: Preprocessing, progress: Progress
) -> tuple[Sequence[Path], dict[str, Histogram]]:
    """The drawn images, and the histograms of what calibration's share of them shows; see stage `ptq`."""
    recipe, dataset = folder.recipe, stored_dataset(folder)
    section, shown = recipe.quant, recipe.precision.images
    most = section.calibration_images if isinstance(section.calibration_images, int) else MOST
    paths = calibration_images(dataset, max(most, shown), recipe.train.seed)

    images = ImageBatches(preprocessing, _BATCH)

    def count(start: int, end: int) -> dict[str, Histogram]:
        return count_values(
            graph,
            plan,
            images.of(paths[start:end]),
            lambda done: progress.update(start + done, end, "calibrating"),
        )

    if section.calibration_images == AUTO_IMAGES:
        grown = grow(count, len(paths), plan, section.observer, section.percentile, fewest=shown)
        progress.note(f"calibrated on {grown.reason()}")
        histograms = grown.histograms
    else:
        histograms = count(0, len(paths))
    images.require_contrast()
    return paths, histograms


def _float_graph(folder: RunFolder) -> onnx.ModelProto:
    """The float graph of what is quantized: that of an earlier export of the same checkpoint, or a new one."""
    recipe = folder.recipe
    try:
        graph = stored_graph(folder)
        if read_trace(graph).origin == float_origin(folder, checkpoint_to_quantize(folder)):
            return graph
    except (MissingArtifactError, OnnxUnreadableError, MetadataError):
        pass
    from edgegd.export.float_graph import float_graph  # torch is needed for a run's first float graph alone
    from edgegd.pipeline.models import model_to_quantize

    return float_graph(model_to_quantize(folder), recipe.model.size, recipe.export.opset)


STAGE = Stage(
    "search",
    "precision by measurement",
    (DATA, FLOAT_MODEL),
    (PRECISION,),
    (*_MEASURED, "precision"),
    run_search,
    reads_also=adapted_reads,
)
