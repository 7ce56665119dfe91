"""Latency of a run's files on several devices, and the calibration of a device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from edgegd.errors import EdgegdError
from edgegd.latency.gate.calibration import Calibration, calibrate, save
from edgegd.latency.gate.sampling import sample
from edgegd.latency.measuring.parallel import on_each
from edgegd.latency.measuring.result import LatencyResult
from edgegd.pipeline.artifacts import of_target
from edgegd.pipeline.gate_request import gate_design
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stages.latency import latency_json, measure_run, profile_of_machine
from edgegd.progress import Progress
from edgegd.recipe.schema import GateSection, LatencySection
from edgegd.safe_outputs import require_appendable
from edgegd.targets.base import Target, require_real
from edgegd.targets.registry import find_target


def latency_on(
    folder: RunFolder, targets: Sequence[str], progress: Progress
) -> tuple[dict[str, LatencyResult], dict[str, EdgegdError]]:
    """The same on several targets at once, stored as latency-TARGET.json: results and errors by target.

    Raises the error of a target that is unknown or emulated, and of a result that could not be stored, before anything
    is measured.
    """
    files = {name: folder.artifact(of_target("latency", name, "latency")) for name in targets}
    for file in files.values():
        require_appendable(file)
    with ExitStack() as stack:
        found = [stack.enter_context(closing(find_target(name))) for name in dict.fromkeys(targets)]
        for target in found:
            require_real(target)
        outcome = on_each(found, lambda target: measure_run(folder, target, progress))
    results = {name: result for name, result in outcome.items() if isinstance(result, LatencyResult)}
    for name, result in results.items():
        folder.write_json(files[name].name, latency_json(result, folder.recipe.target.profile))
    return results, {name: error for name, error in outcome.items() if isinstance(error, EdgegdError)}


def other_profiles(results: Mapping[str, LatencyResult], run_dir: Path, profile: str) -> list[str]:
    """A sentence for every target whose CPU needs files of another profile than those that were measured."""
    needed = {name: profile_of_machine(result) for name, result in results.items()}
    return [
        f"{name}: {results[name].fingerprint['cpu']} needs the profile {other}, the files are for {profile}: this is "
        f"its own latency of them, not that of files made for it (`edgegd export {run_dir} --profile {other}`)"
        for name, other in needed.items()
        if other not in (None, profile)
    ]


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
    design = gate_design(gate, latency, launches)
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
