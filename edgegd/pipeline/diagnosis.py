"""Diagnosing the descents of a run folder: finished ones, running ones, and those that failed or were killed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegd.descent.record import CHECKPOINT_KEY
from edgegd.json_files import JsonProblem, load_json, read_lines
from edgegd.limits import RECORD_BYTES
from edgegd.pipeline.artifacts import (
    ADAPTATION,
    ADAPTATION_CHECKPOINT,
    ADAPTATION_STEPS,
    DATA,
    DESCENT,
    DESCENT_STEPS,
    QAT_CHECKPOINT,
    Artifact,
    as_made,
)
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.training import adaptation_settings
from edgegd.report.diagnosis import diagnose
from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.text import Diagnosis


@dataclass(frozen=True)
class Kept:
    """Where a descent's facts are; `stage` names it."""

    stage: str
    steps: Artifact
    record: Artifact
    checkpoint: Artifact


DESCENTS = (
    Kept("adapt", ADAPTATION_STEPS, ADAPTATION, ADAPTATION_CHECKPOINT),
    Kept("qat", DESCENT_STEPS, DESCENT, QAT_CHECKPOINT),
)


def diagnose_folder(folder: RunFolder) -> list[Diagnosis]:
    """The diagnosis of each descent that has left lines, in their order.

    Raises MissingArtifactError where none has, or where what is there is not what its stage writes.
    """
    found = [_diagnosed(folder, kept) for kept in DESCENTS if folder.artifact(kept.steps).exists()]
    if not found:
        folder.require(DESCENT_STEPS)
    return found


def findings(folder: RunFolder) -> list[dict[str, Any]]:
    """What report.json holds: the findings of every descent, each with its stage as `descent`."""
    return [{"descent": one.stage} | finding for one in diagnose_folder(folder) for finding in one.findings]


def _diagnosed(folder: RunFolder, kept: Kept) -> Diagnosis:
    with as_made(folder, kept.steps, DATA, *([kept.record] if _ended(folder, kept) else [])):
        facts = facts_of(folder, kept)
        telemetry = not facts.steps or any("gradient" in row for row in facts.steps)
        return Diagnosis(
            kept.stage, len(facts.steps), facts.planned, facts.ended, telemetry, facts.unrecorded, diagnose(facts)
        )


def facts_of(folder: RunFolder, kept: Kept) -> Facts:
    """What the folder holds of a descent. Raises whatever reading files that nobody has checked raises."""
    ended = _ended(folder, kept)
    rows = list(read_rows(folder.artifact(kept.steps)))
    record = folder.read_json(kept.record) if ended else epochs_in_checkpoint(folder.artifact(kept.checkpoint))
    adaptation = kept.stage == "adapt"
    return dataclasses.replace(
        before_the_first_step(folder, adaptation=adaptation),
        rows=rows,
        epochs=record.get("epochs", []),
        start_map50_95=record.get("start_map50_95"),
        ended=ended,
        unrecorded=str(record.get("unrecorded", "")),
    )


def _ended(folder: RunFolder, kept: Kept) -> bool:
    # A checkpoint is there until the end; beside it, a record is that of an earlier training.
    return folder.artifact(kept.record).exists() and not folder.artifact(kept.checkpoint).exists()


def before_the_first_step(folder: RunFolder, *, adaptation: bool) -> Facts:
    """The facts of a descent that has no line yet."""
    train = adaptation_settings(folder.recipe.train) if adaptation else folder.recipe.train
    data = folder.read_json(DATA)
    images = len(data["train_images"]) + (len(data.get("unlabelled_images", ())) if train.distill.asks else 0)
    return Facts([], dataclasses.asdict(train), images, adaptation=adaptation)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a descent's log; a last one that is not whole yet is left out. Raises ValueError and OSError."""
    for text, whole in read_lines(path, RECORD_BYTES):
        if whole:
            row = load_json(text)
            if not isinstance(row, dict):
                raise JsonProblem(f"a line of {path.name} is no object")
            yield row


def epochs_in_checkpoint(path: Path) -> dict[str, Any]:
    """Epochs and mAPs that the checkpoint of a running or failed descent holds; nothing where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            record = json.loads((file.metadata() or {})[CHECKPOINT_KEY])["record"]
        return {"epochs": list(record["epochs"]), "start_map50_95": float(record["start_map50_95"])}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}
