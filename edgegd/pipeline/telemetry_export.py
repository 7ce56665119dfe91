"""A run's telemetry as the numbers that trackers take (docs/telemetry.md has what is recorded)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgegd.errors import MissingArtifactError, OutputFileError
from edgegd.json_files import read_lines
from edgegd.limits import RECORD_BYTES
from edgegd.pipeline.artifacts import DESCENT, DESCENT_STEPS, as_made
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stage import require_current
from edgegd.report.trackers import Point, TrackedRun, require_tracker, write_run
from edgegd.safe_outputs import own_folder, refuse_link


def export_telemetry(folder: RunFolder, tracker: str, out: Path | None, uri: str | None) -> dict[str, Any]:
    """Gives a run's telemetry to a tracker: `out` is the folder of tensorboard or trackio, `uri` mlflow's address.

    Without `out`, tensorboard's files go to the folder `tensorboard` of the run. Returns `tracker`, `place`, and the
    counts of `steps` and `values`. A run whose QAT goes on is exported as far as it is. Raises MissingExtraError,
    MissingArtifactError without telemetry, OutputFileError where the folder for event files has something in it.
    """
    require_tracker(tracker)
    points = list(_points(folder))
    place = uri
    if tracker == "tensorboard":
        place = str(_empty_folder(out or folder.path / "tensorboard"))
    elif tracker == "trackio" and out:
        place = str(own_folder(out).absolute())
    run = TrackedRun(folder.path.absolute().name, points, dict(_settings(dataclasses.asdict(folder.recipe))))
    where = write_run(tracker, run, place)
    return {
        "tracker": tracker,
        "place": where,
        "steps": len({point.step for point in points if point.step}),
        "values": sum(len(point.values) for point in points),
    }


def _empty_folder(path: Path) -> Path:
    refuse_link(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputFileError(
            f"{path} exists, and event files of two exports would be mixed.",
            expected="a new or empty folder",
            found="a folder with files" if path.is_dir() else "a file",
            mend="name another --out, or remove this one; nothing was changed",
        )
    return path


def _points(folder: RunFolder) -> Iterator[Point]:
    """The steps' numbers, each at the time at which it was taken, and the epochs' at their last steps."""
    path = folder.artifact(DESCENT_STEPS)
    if not path.exists():
        raise folder.missing(f"{path} does not exist yet.", DESCENT_STEPS.stage)
    with as_made(folder, DESCENT_STEPS):
        rows = [json.loads(line) for line, ended in read_lines(path, RECORD_BYTES) if ended]
        if not rows:
            raise folder.missing(f"{path} has no step yet.", DESCENT_STEPS.stage)
        scores = _epochs(folder, rows)
        seconds = [sum(row.get("seconds", {}).values()) for row in rows]  # none of a step that was not taken
        now = path.stat().st_mtime - sum(seconds)
        if 0 in scores:
            yield Point(0, now, scores[0])
        for row, took in zip(rows, seconds, strict=True):
            now += took
            step = int(row.pop("step"))
            yield Point(step, now, dict(_numbers(row)) | scores.get(step, {}))


def _numbers(row: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of nested dicts under their paths; lists and words are left out."""
    if isinstance(row, dict):
        for key, value in row.items():
            yield from _numbers(value, f"{name}/{key}" if name else str(key))
    elif isinstance(row, (bool, int, float)) and math.isfinite(row):
        yield name, float(row)


def _epochs(folder: RunFolder, rows: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Step -> the numbers of the epoch that ends with it, 0 for the calibrated model; empty until QAT has finished."""
    try:
        require_current(folder, DESCENT)
    except MissingArtifactError:
        return {}
    last = {int(row["epoch"]): int(row["step"]) for row in rows}
    with as_made(folder, DESCENT):
        descent = folder.read_json(DESCENT)
        scores = {0: {"epochs/map50_95": float(descent["start_map50_95"])}}
        for epoch in descent["epochs"]:
            if epoch["epoch"] in last:
                own = {"epochs/map50_95": epoch["map50_95"], "epochs/loss": epoch["loss"]}
                scores[last[epoch["epoch"]]] = {name: float(value) for name, value in own.items()}
    return scores


def _settings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The values of nested dicts as text by their keys, as `--set` has them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _settings(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(value)
