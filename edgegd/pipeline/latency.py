"""Latency of a run's files on devices, and the calibration of a device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgegd.device.profile import needed_profile
from edgegd.errors import EdgegdError
from edgegd.latency.calibration import Calibration, calibrate, save
from edgegd.latency.laboratory import sample
from edgegd.latency.measure import measure
from edgegd.latency.parallel import on_each
from edgegd.latency.record import Design
from edgegd.latency.result import LatencyResult
from edgegd.pipeline.export import MODELS
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import Progress
from edgegd.recipe.schema import GateSection, LatencySection
from edgegd.safe_outputs import require_appendable
from edgegd.targets.base import Target, require_real
from edgegd.targets.registry import find_target


def run_latency(folder: RunFolder, progress: Progress) -> None:
    """Paired latency of the portable and the edge files where the recipe says, in fresh worker processes."""
    with closing(find_target(folder.recipe.target.host)) as target:
        require_real(target)
        result = _measured(folder, target, progress)
    folder.write_json("latency.json", latency_json(result, folder.recipe.target.profile))


def latency_on(
    folder: RunFolder, targets: Sequence[str], progress: Progress
) -> tuple[dict[str, LatencyResult], dict[str, EdgegdError]]:
    """The same on several targets at once, stored as latency-TARGET.json: results and errors by target.

    Raises the error of a target that is unknown or emulated, and of a result that could not be stored, before anything
    is measured.
    """
    files = {name: folder.artifact(f"latency-{quote(name, safe='')}.json") for name in targets}
    for file in files.values():
        require_appendable(file)
    with ExitStack() as stack:
        found = [stack.enter_context(closing(find_target(name))) for name in dict.fromkeys(targets)]
        for target in found:
            require_real(target)
        outcome = on_each(found, lambda target: _measured(folder, target, progress))
    results = {name: result for name, result in outcome.items() if isinstance(result, LatencyResult)}
    for name, result in results.items():
        folder.write_json(files[name].name, latency_json(result, folder.recipe.target.profile))
    return results, {name: error for name, error in outcome.items() if isinstance(error, EdgegdError)}


def latency_json(result: LatencyResult, profile: str) -> dict[str, Any]:
    """A JSON-able dict: the result, the profile of the files, and the one that the measured machine needs."""
    return result.to_json() | {"files_for": profile, "machine_profile": _needed_profile(result)}


def other_profiles(results: Mapping[str, LatencyResult], run_dir: Path, profile: str) -> list[str]:
    """A sentence for every target whose CPU needs files of another profile than those that were measured."""
    needed = {name: _needed_profile(result) for name, result in results.items()}
    return [
        f"{name}: {results[name].fingerprint['cpu']} needs the profile {other}, the files are for {profile}: this is "
        f"its own latency of them, not that of files made for it (`edgegd export {run_dir} --profile {other}`)"
        for name, other in needed.items()
        if other not in (None, profile)
    ]


def _needed_profile(result: LatencyResult) -> str | None:
    return needed_profile(result.fingerprint["architecture"], result.fingerprint["instruction_sets"])


def latency_table(results: Mapping[str, LatencyResult]) -> str:
    """A line a target and file: medians and percentiles in ms, and how many times faster than FP32."""
    from edgegd.report.table import table

    rows = [
        [
            target,
            name,
            f"{one.median_ms:.2f}",
            f"{one.p90_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.speedup_vs_fp32:.2f}x [{one.speedup_low:.2f}, {one.speedup_high:.2f}]",
            "" if result.stable and not result.faults else "; ".join(result.faults) or "not stable",
        ]
        for target, result in results.items()
        for name, one in result.models.items()
    ]
    return table(rows, ["target", "file", "median ms", "p90 ms", "p99 ms", "speed vs FP32", "disturbed"])


def calibrate_device(
    model: Path,
    target: Target,
    gate: GateSection,
    latency: LatencySection,
    launches: int,
    folder: Path,
    progress: Progress,
) -> tuple[Calibration, Path]:
    """Measures `model` against itself on `target` by the design of a gate; the calibration, and its file in `folder`.

    The raw data is kept beside it, the newest only. Raises InvalidMeasurementError where the device was too disturbed.
    """
    design = Design(launches, gate.quads, gate.block_s, gate.warmup_s, latency.threads, latency.spinning)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        raw = Path(scratch) / "raw.jsonl"
        measurement = sample(
            {"first": model, "second": model},
            design,
            target,
            raw,
            progress=lambda done, total: progress.update(done, total, f"launches on {target.name}"),
        )
        made = calibrate(measurement)
        file = save(made, folder)
        raw.replace(file.with_suffix(".jsonl"))
    return made, file


def _measured(folder: RunFolder, target: Target, progress: Progress) -> LatencyResult:
    models = {name.removesuffix(".onnx"): folder.require(name, "export") for name in MODELS}
    text = f"measuring latency on {target.name}"
    return measure(
        models, folder.recipe.latency, target, progress=lambda block, done, total: progress.update(done, total, text)
    )
