"""The tuned threads of a run's files: measured on a target (`edgegd latency tune`), stored in the run, read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgegd.atomic_files import write_atomically
from edgegd.device.profile import needed_profile
from edgegd.device.threads import ThreadSetting
from edgegd.errors import MissingArtifactError, OnnxUnreadableError
from edgegd.foreign_text import one_line
from edgegd.latency.measuring.launch import model_file
from edgegd.latency.measuring.tuning import QUESTIONS, Tuning, tune
from edgegd.pipeline.artifacts import EDGE, PORTABLE, Artifact, as_made, of_target
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.shipped import variant_to_ship
from edgegd.progress import Progress
from edgegd.runtime.tuned import METADATA_KEY, TunedThreads, metadata_text, read_tuned_file, store_tuned, tuned_file
from edgegd.safe_outputs import refuse_link, require_appendable
from edgegd.targets.base import require_real
from edgegd.targets.registry import find_target

SCHEMA = 1
FP32 = PORTABLE["fp32"]
_KIND, _STAGE = "tune", "latency tune"


def tuning_file(target: str) -> Artifact:
    """The artifact of a target's tuning."""
    return of_target(_KIND, target, _STAGE)


def tuned_setting(folder: RunFolder, target: str) -> ThreadSetting | None:
    """The threads that `edgegd latency tune` found best for latency on this target; None where it was never tuned.

    The setting is that of the quantized file; `stored_tuning` has all. Raises MissingArtifactError for a damaged file.
    """
    tuning = stored_tuning(folder, target)
    return None if tuning is None else ThreadSetting.from_json(tuning["latency"]["setting"])


def stored_tuning(folder: RunFolder, target: str) -> dict[str, Any] | None:
    """What was stored for a target, or None. Raises MissingArtifactError for a damaged file."""
    artifact = tuning_file(target)
    if not folder.artifact(artifact).exists():
        return None
    with as_made(folder, artifact):
        tuning: dict[str, Any] = folder.read_json(artifact)
        for question in QUESTIONS:
            ThreadSetting.from_json(tuning[question]["setting"])
        return tuning


def tunings(folder: RunFolder) -> tuple[Artifact, ...]:
    """The artifacts of all tunings in a run folder, a file a target."""
    return tuple(Artifact(path.name, _STAGE) for path in sorted(folder.path.glob(f"{_KIND}-*.json")))


def tuned_model(folder: RunFolder, name: str | None) -> str:
    """The file to tune: the one named, or the edge file of the model to ship, or without mAPs that of QAT.

    Raises OnnxUnreadableError where the run folder has no such file.
    """
    if name is None:
        edge = EDGE[variant_to_ship(folder)]
        folder.require(edge)
        name = edge
    if Path(name).name != name or not name.endswith(".onnx") or not folder.artifact(name).is_file():
        raise OnnxUnreadableError(
            f"There is no model {name} in {folder.path} to tune.",
            expected="the name of an ONNX file in the run folder, such as qat.edge.onnx",
            found=", ".join(sorted(path.name for path in folder.path.glob("*.onnx"))) or "no ONNX file",
            mend="correct the name, or run `edgegd export RUN_DIR`",
        )
    return name


def tune_on(
    folder: RunFolder, target_name: str, progress: Progress, *, file: str | None = None, launches: int | None = None
) -> dict[str, Any]:
    """Tunes a run's file, and FP32 beside it, on a target; stores tune-TARGET.json and a small file beside each model.

    Raises the error of a target that is unknown or emulated, of a file that is missing, and of a result that could not
    be stored, before anything is measured; otherwise as edgegd.latency.measuring.tuning.tune.
    """
    name = tuned_model(folder, file)
    paths = {one: folder.artifact(one) for one in dict.fromkeys((name, FP32))}
    folder.require(FP32)
    require_appendable(folder.artifact(tuning_file(target_name)))
    for path in paths.values():
        refuse_link(tuned_file(path))
    settings = folder.recipe.latency
    settings = replace(settings, launches=launches or settings.launches)
    with closing(find_target(target_name)) as target:
        require_real(target)
        text = f"tuning threads on {target.name}"
        result = tune(paths, settings, target, progress=lambda done, total: progress.update(done, total, text))
    stored = {**_json(result, name), "launches": settings.launches, "models": _hashes(paths)}
    folder.write_json(tuning_file(target_name), stored)
    for one, path in paths.items():
        store_tuned(path, _tuned(result, target_name, one))
    return stored


def embed(folder: RunFolder, stored: Mapping[str, Any], out: Path) -> None:
    """Writes a copy of the tuned file with what is known of its threads in its metadata: one file to ship.

    Raises MissingArtifactError where the small file beside the model is gone, TuningError where it is damaged.
    """
    import onnx

    from edgegd.export.load_onnx import load_onnx

    path = folder.artifact(stored["file"])
    try:
        devices = read_tuned_file(path)
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{tuned_file(path)} is gone.", mend="tune again") from error
    model = load_onnx(path)
    keys = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**keys, METADATA_KEY: metadata_text(devices)})
    write_atomically(out, model.SerializeToString())


def profile_note(folder: RunFolder, stored: Mapping[str, Any]) -> str:
    """A sentence where the target's CPU needs files of another profile than the run's; empty otherwise."""
    machine, profile = stored["machine"], folder.recipe.target.profile
    needed = needed_profile(machine["architecture"], machine["instruction_sets"])
    if needed in (None, profile) or needed in stored["file"]:
        return ""
    return (
        f"{one_line(machine['cpu'])} needs the profile {needed}, {stored['file']} is for {profile}: "
        f"`edgegd export {folder.path} --profile {needed}`, then tune with --file"
    )


def _hashes(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: model_file(path).sha256 for name, path in paths.items()}


def _tuned(result: Tuning, target: str, file: str) -> TunedThreads:
    settings = (result.best(question, file).setting for question in QUESTIONS)
    return TunedThreads(target, result.machine["cpu"], result.machine["logical_cores"], *settings)


def _json(result: Tuning, file: str) -> dict[str, Any]:
    """tune-TARGET.json: both recommendations, what they rest on, and every candidate."""
    return {
        "schema": SCHEMA,
        "target": result.target,
        "machine": dict(result.machine),
        "big_cores": list(result.big_cores),
        "file": file,
        **{question: dict(_answers(result, question, file)) for question in QUESTIONS},
        "candidates": {question: [one.to_json() for one in result.candidates[question]] for question in QUESTIONS},
        "stable": result.stable,
        "faults": list(result.faults),
    }


def _answers(result: Tuning, question: Any, file: str) -> Iterator[tuple[str, Any]]:
    """The recommendation for one question. `fp32` has FP32's own best, and how the file compares with it."""
    yield from result.best(question, file).to_json().items()
    if question in result.against:
        ratio, low, high = result.against[question]
        best = result.best(question, FP32).to_json()
        yield "fp32", {**best, "speedup": ratio, "speedup_low": low, "speedup_high": high, "as_good": low <= 1}
