"""The stage `latency`: the run's files, paired, on the recipe's target."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.device.profile import needed_profile
from edgegd.latency.measuring.measure import measure
from edgegd.latency.measuring.result import LatencyResult
from edgegd.pipeline.artifacts import LATENCY, MODELS
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Stage
from edgegd.progress import Progress
from edgegd.targets.base import Target, require_real
from edgegd.targets.registry import find_target


def run_latency(folder: RunFolder, progress: Progress) -> None:
    """Paired latency of the portable and the edge files where the recipe says, in fresh worker processes."""
    with closing(find_target(folder.recipe.target.host)) as target:
        require_real(target)
        result = measure_run(folder, target, progress)
    folder.write_json(LATENCY, latency_json(result, folder.recipe.target.profile))


def measure_run(folder: RunFolder, target: Target, progress: Progress) -> LatencyResult:
    models = {name.removesuffix(".onnx"): folder.require(name) for name in MODELS}
    text = f"measuring latency on {target.name}"
    return measure(
        models, folder.recipe.latency, target, progress=lambda block, done, total: progress.update(done, total, text)
    )


def latency_json(result: LatencyResult, profile: str) -> dict[str, Any]:
    """A JSON-able dict: the result, the profile of the files, and the one that the measured machine needs."""
    return result.to_json() | {"files_for": profile, "machine_profile": profile_of_machine(result)}


def profile_of_machine(result: LatencyResult) -> str | None:
    return needed_profile(result.fingerprint["architecture"], result.fingerprint["instruction_sets"])


STAGE = Stage(
    "latency",
    "paired latency on the target",
    MODELS,
    (LATENCY,),
    ("latency", "target.host"),
    run_latency,
    lambda folder: fingerprint()["cpu"],
)
