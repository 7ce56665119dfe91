"""The stage `report`: report.json, report.md, and report.html with report-data.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegd.pipeline.artifacts import (
    ACCURACY,
    ACTIVATION,
    ADAPTATION,
    ADAPTATION_STEPS,
    CALIBRATION,
    DATA,
    DESCENT,
    DESCENT_STEPS,
    IMAGES,
    LATENCY,
    PASSES,
    REPORT,
    REPORT_DATA,
    REPORT_PAGE,
    REPORT_TEXT,
    TRAINING_IMAGES,
    VERIFICATION,
    Artifact,
    as_made,
)
from edgegd.pipeline.beside_latency import stored_beside
from edgegd.pipeline.diagnosis import findings
from edgegd.pipeline.images import reported_images
from edgegd.pipeline.operating_point import stored_operating_point
from edgegd.pipeline.report_page import analysis_files, shown
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.pipeline.stage import Stage, sources_hash
from edgegd.pipeline.stages.profiles import verified_profiles
from edgegd.pipeline.stored import adapted_reads
from edgegd.pipeline.stored_curve import stored_curve
from edgegd.pipeline.training_images import reported_training_images
from edgegd.pipeline.tuning import tunings
from edgegd.progress import Progress
from edgegd.recipe.schema import Recipe
from edgegd.report.build import build_report
from edgegd.report.device import device_blocks
from edgegd.report.markdown import to_markdown
from edgegd.report.page import render

_REPORTED = {
    "data": DATA,
    "calibration": CALIBRATION,
    "descent": DESCENT,
    "verify": VERIFICATION,
    "accuracy": ACCURACY,
    "latency": LATENCY,
}


def run_report(folder: RunFolder, progress: Progress) -> None:
    """Puts everything into report.json, and shows it in report.md and report.html."""
    with as_made(folder, *_REPORTED.values(), *tunings(folder)):
        _write_report(folder)


def _write_report(folder: RunFolder) -> None:
    stages = {name: folder.read_json(artifact) for name, artifact in _REPORTED.items()}
    stages["profiles"] = {profile: folder.read_json(f"verify-{profile}.json") for profile in verified_profiles(folder)}
    stages["devices"] = {}
    for artifact in proofs(folder):
        with as_made(folder, artifact):
            proof = folder.read_json(artifact)
            device_blocks(proof)
            stages["devices"][proof["target"]] = proof
    stages["tuning"] = [folder.read_json(artifact) for artifact in tunings(folder)]
    stages["beside"] = stored_beside(folder)
    if folder.artifact(PASSES).exists():
        with as_made(folder, PASSES):
            stages["passes"] = folder.read_json(PASSES)["qat"]
    stages["operating_point"] = stored_operating_point(folder)
    stages["calibration_curve"] = stored_curve(folder)
    stages["images"] = reported_images(folder)
    stages["training_images"] = reported_training_images(folder)
    if any(folder.artifact(steps).exists() for steps in (DESCENT_STEPS, ADAPTATION_STEPS)):
        stages["diagnosis"] = findings(folder)
    if _swap_reads(folder):
        stages["swap"] = {
            "choice": folder.read_json(ACTIVATION),
            "adaptation": folder.read_json(ADAPTATION),
        }
    report = build_report(folder.recipe, folder.owner(), stages, folder.target.to_json())
    folder.write_json(REPORT, report)
    whole = shown(folder, report)
    folder.write(REPORT_TEXT, to_markdown(whole).encode())
    page = render(whole, folder.path.resolve().name)
    folder.write_json(REPORT_DATA, page.data)
    folder.write(REPORT_PAGE, page.html.encode())


def proofs(folder: RunFolder) -> list[Artifact]:
    """What `edgegd prove` has left in the folder, a file a target."""
    return [Artifact(path.name, "prove") for path in sorted(folder.path.glob("device-*.json"))]


def _swap_reads(folder: RunFolder) -> tuple[Artifact, ...]:
    return (ACTIVATION, ADAPTATION, ADAPTATION_STEPS) if adapted_reads(folder) else ()


def _report_sources(folder: RunFolder) -> Any:
    # The report's own sources, which the code version of the other stages leaves out, and what it shows where it is.
    return {
        "sources": sources_hash(only="report"),
        "profiles": verified_profiles(folder),
        "devices": {artifact: sha256_of(folder.artifact(artifact)) for artifact in proofs(folder)},
        "beside": stored_beside(folder),
        "operating_point": stored_operating_point(folder),
        "calibration_curve": stored_curve(folder),
        "target": folder.target.to_json(),
        "tunings": {name: sha256_of(folder.artifact(name)) for name in tunings(folder)},
        "also": {name: sha256_of(folder.artifact(name)) for name in (*_there(folder), *analysis_files(folder))},
    }


def _there(folder: RunFolder) -> list[Artifact]:
    """What the page shows where it is: folders of earlier versions do without."""
    artifacts = (PASSES, DESCENT_STEPS, ADAPTATION_STEPS, IMAGES, TRAINING_IMAGES)
    return [artifact for artifact in artifacts if folder.artifact(artifact).exists()]


STAGE = Stage(
    "report",
    "report.json, report.md and report.html",
    tuple(_REPORTED.values()),
    (REPORT, REPORT_TEXT, REPORT_DATA, REPORT_PAGE),
    tuple(field.name for field in dataclasses.fields(Recipe)),
    run_report,
    _report_sources,
    _swap_reads,
)
