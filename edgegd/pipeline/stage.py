"""A stage: a function from artifacts to artifacts, with a manifest of what it was run on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import edgegd
from edgegd.pipeline.artifacts import Artifact
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.progress import Progress
from edgegd.recipe.dump import section_hash
from edgegd.safe_outputs import own_folder

_SOURCES = (".py", ".jinja", ".css", ".js")
_PACKAGES = ("torch", "ultralytics", "onnx", "onnxruntime", "numpy", "opencv-python", "pycocotools")


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    `reads` are the artifacts of other stages that it reads, `makes` are its own, `sections` the recipe keys it depends
    on. `outside(folder)` returns what else it depends on (files of the user, this machine) as plain data;
    `reads_also(folder)` and `makes_also(folder)` what it reads and makes under this run's recipe beside those.
    """

    name: str
    text: str
    reads: tuple[Artifact, ...]
    makes: tuple[Artifact, ...]
    sections: tuple[str, ...]
    run: Callable[[RunFolder, Progress], None]
    outside: Callable[[RunFolder], Any] = lambda folder: None
    reads_also: Callable[[RunFolder], tuple[Artifact, ...]] = lambda folder: ()
    makes_also: Callable[[RunFolder], tuple[Artifact, ...]] = lambda folder: ()


def sources_hash(*excluded: str, only: str = "") -> str:
    """Hash of edgegd's own sources without the folders named, or of the one folder `only`."""
    digest = hashlib.sha256()
    root = Path(edgegd.__file__).parent
    for file in sorted((root / only).rglob("*")):
        if file.suffix in _SOURCES and file.relative_to(root).parts[0] not in excluded:
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def code_version() -> dict[str, str]:
    """The versions of everything that computes: edgegd's own sources by hash, the packages by version."""
    versions = {"edgegd": edgegd.__version__, "sources": sources_hash("cli", "report")}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions


def run_stage(
    stage: Stage,
    folder: RunFolder,
    progress: Progress,
    *,
    force: bool = False,
    run: Callable[[RunFolder, Progress], None] | None = None,
) -> bool:
    """Runs a stage whose inputs changed, or whose artifacts are gone or damaged; returns whether it ran.

    `run` does what `stage.run` does, elsewhere.
    Raises MissingArtifactError where an artifact that it reads is missing, damaged or out of date.
    """
    reads, makes = (*stage.reads, *stage.reads_also(folder)), (*stage.makes, *stage.makes_also(folder))
    inputs = {
        "code": code_version(),
        "recipe": section_hash(folder.recipe, *stage.sections) if stage.sections else "",
        "artifacts": {str(artifact): require_current(folder, artifact) for artifact in reads},
        "outside": stage.outside(folder),
    }
    if not force and _is_current(stage, folder, inputs):
        return False
    own_folder(folder.path / "manifests")
    folder.artifact(_manifest(stage.name)).unlink(missing_ok=True)
    (run or stage.run)(folder, progress)
    outputs = {str(artifact): sha256_of(folder.artifact(artifact)) for artifact in makes}
    inputs["outside"] = stage.outside(folder)  # a data set drawn or fetched just now counts as it is now
    folder.write_json(_manifest(stage.name), {"schema": 1, "stage": stage.name, "inputs": inputs, "outputs": outputs})
    return True


def require_current(folder: RunFolder, artifact: Artifact) -> str:
    """The hash of an artifact that its stage finished from artifacts that are still the same.

    Raises MissingArtifactError where it is missing, damaged, half of an interrupted stage, or older than its inputs.
    """
    digest, maker = sha256_of(folder.require(artifact)), artifact.stage
    manifest = _read_manifest(folder, maker)
    if manifest is None:
        raise folder.missing(f"Stage {maker}, which makes {artifact}, was interrupted.", maker)
    if manifest["outputs"].get(artifact) != digest:
        raise folder.missing(f"{folder.artifact(artifact)} is not as stage {maker} left it.", maker)
    for source, expected in manifest["inputs"]["artifacts"].items():
        if not folder.artifact(source).exists() or sha256_of(folder.artifact(source)) != expected:
            raise folder.missing(f"{folder.artifact(artifact)} is out of date: {source} has changed since.", maker)
    return digest


def _manifest(stage_name: str) -> str:
    return f"manifests/{stage_name.replace(' --profile ', '-').replace(' --beside ', '-beside-')}.json"


def _read_manifest(folder: RunFolder, stage_name: str) -> Any:
    """A stage's manifest, None where there is none that can be read: the stage then counts as not run."""
    try:
        manifest = folder.read_json(_manifest(stage_name))
        parts = (manifest["outputs"], manifest["inputs"], manifest["inputs"]["artifacts"])
        return manifest if manifest["schema"] == 1 and all(isinstance(part, dict) for part in parts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_current(stage: Stage, folder: RunFolder, inputs: dict[str, Any]) -> bool:
    recorded = _read_manifest(folder, stage.name)
    return (
        recorded is not None
        and recorded["inputs"] == inputs
        and all(
            folder.artifact(name).exists() and sha256_of(folder.artifact(name)) == digest
            for name, digest in recorded["outputs"].items()
        )
    )
