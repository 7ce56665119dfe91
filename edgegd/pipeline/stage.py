"""A stage: a function from artifacts to artifacts, with a manifest of what it was run on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import edgegd
from edgegd.pipeline.run_folder import RunFolder, sha256_of
from edgegd.recipe.dump import section_hash

_PACKAGES = ("torch", "ultralytics", "onnx", "onnxruntime", "numpy", "opencv-python", "pycocotools")


class Progress(Protocol):
    """Where a stage tells how far it is."""

    def update(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps of what `text` names."""

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""


class Silent:
    """A Progress that tells nothing."""

    def update(self, done: int, total: int, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    `reads` maps the artifacts it reads to the stages that make them, `makes` are its own, `sections` the recipe keys
    it depends on. `outside(folder)` returns what else it depends on (files of the user, this machine) as plain data.
    """

    name: str
    text: str
    reads: dict[str, str]
    makes: tuple[str, ...]
    sections: tuple[str, ...]
    run: Callable[[RunFolder, Progress], None]
    outside: Callable[[RunFolder], Any] = lambda folder: None


@cache
def code_version() -> dict[str, str]:
    """The versions of everything that computes: edgegd's own sources by hash, the packages by version."""
    digest = hashlib.sha256()
    root = Path(edgegd.__file__).parent
    for file in sorted(root.rglob("*.py")):
        if file.relative_to(root).parts[0] not in ("cli", "report"):
            digest.update(file.read_bytes())
    versions = {"edgegd": edgegd.__version__, "sources": digest.hexdigest()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions


def run_stage(stage: Stage, folder: RunFolder, progress: Progress, *, force: bool = False) -> bool:
    """Runs a stage whose inputs changed, or whose artifacts are gone or damaged; returns whether it ran.

    Raises MissingArtifactError where a stage before it was not run yet.
    """
    inputs = {
        "code": code_version(),
        "recipe": section_hash(folder.recipe, *stage.sections) if stage.sections else "",
        "artifacts": {name: sha256_of(folder.require(name, maker)) for name, maker in stage.reads.items()},
        "outside": stage.outside(folder),
    }
    if not force and _is_current(stage, folder, inputs):
        return False
    manifest = f"manifests/{stage.name}.json"
    (folder.path / "manifests").mkdir(exist_ok=True)
    folder.artifact(manifest).unlink(missing_ok=True)
    stage.run(folder, progress)
    outputs = {name: sha256_of(folder.artifact(name)) for name in stage.makes}
    inputs["outside"] = stage.outside(folder)  # a data set drawn or fetched just now counts as it is now
    folder.write_json(manifest, {"schema": 1, "stage": stage.name, "inputs": inputs, "outputs": outputs})
    return True


def _is_current(stage: Stage, folder: RunFolder, inputs: dict[str, Any]) -> bool:
    manifest = folder.artifact(f"manifests/{stage.name}.json")
    if not manifest.exists():
        return False
    recorded = json.loads(manifest.read_text())
    return recorded["inputs"] == inputs and all(
        folder.artifact(name).exists() and sha256_of(folder.artifact(name)) == digest
        for name, digest in recorded["outputs"].items()
    )
