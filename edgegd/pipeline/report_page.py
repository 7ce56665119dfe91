"""What a page shows of a run folder beside report.json: the steps of its descents and what analyses of them found.

Of a run that goes on, or was interrupted, also the report so far: of the stages that are finished, in their order.
Needs no torch.
"""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path
from typing import Any

from edgegd.bounded_read import read_bounded
from edgegd.pipeline.artifacts import (
    ADAPTATION_CHECKPOINT,
    ADAPTATION_STEPS,
    ANALYSES,
    CALIBRATION,
    DATA,
    DESCENT,
    DESCENT_STEPS,
    QAT_CHECKPOINT,
    REPORT,
    Artifact,
    as_made,
)
from edgegd.pipeline.diagnosis import epochs_in_checkpoint, findings
from edgegd.pipeline.registry import stages_of
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stored import adapted_reads
from edgegd.report.build import build_report
from edgegd.report.inline_svg import LONGEST
from edgegd.report.page import Live, render
from edgegd.report.telemetry import StepReader, Steps, read_steps

_SO_FAR = {"data": DATA, "calibration": CALIBRATION, "descent": DESCENT}
"""What a report so far is made of; what later stages measure is shown by the finished report."""
_DESCENTS = {"adapt": (ADAPTATION_STEPS, ADAPTATION_CHECKPOINT), "qat": (DESCENT_STEPS, QAT_CHECKPOINT)}


def shown(folder: RunFolder, report: dict[str, Any]) -> dict[str, Any]:
    """A report with all that its page shows beside it. Raises MissingArtifactError for a damaged analysis."""
    more: dict[str, Any] = {"steps": read_steps(folder.artifact(DESCENT_STEPS)), "analyses": analyses(folder)}
    if adapted_reads(folder):
        more["adaptation_steps"] = read_steps(folder.artifact(ADAPTATION_STEPS))
    return report | more


def analyses(folder: RunFolder) -> list[dict[str, str]]:
    """Name, title, sentence and picture of each analysis of the descent that is there."""
    found = []
    for name in ANALYSES:
        artifact = Artifact(f"descent-{name}.json", f"descent {name}")
        if not folder.artifact(artifact).exists():
            continue
        with as_made(folder, artifact):
            stored = folder.read_json(artifact)
            picture = folder.artifact(f"descent-{name}.svg")
            # One more than the page takes: it then says that the picture is too long.
            svg = (read_bounded(picture, 4 * LONGEST) or b" " * (LONGEST + 1)).decode() if picture.exists() else ""
            found.append({"name": name, "title": str(stored["title"]), "sentence": str(stored["sentence"]), "svg": svg})
    return found


def analysis_files(folder: RunFolder) -> list[str]:
    """The names of the files that `analyses` reads."""
    names = [f"descent-{name}.{kind}" for name in ANALYSES for kind in ("json", "svg")]
    return [name for name in names if folder.artifact(name).exists()]


class PageSoFar:
    """The page of a run folder again and again while a run goes on in it, which neither changes nor locks it.

    The page reloads itself after `reload_s` seconds, until the run is finished.
    """

    def __init__(self, folder: RunFolder, reload_s: int) -> None:
        self.folder, self._reload_s = folder, reload_s
        self._made: tuple[object, str] = (None, "")
        self._readers = {stage: StepReader(folder.artifact(steps)) for stage, (steps, _) in _DESCENTS.items()}

    def html(self) -> str:
        """The page now; made anew only where something changed. Raises MissingArtifactError for damaged artifacts."""
        state = self._state()
        if state != self._made[0]:
            report, status = self.report()
            live = Live(status, self._reload_s) if status else None
            self._made = (state, render(report, self.folder.path.resolve().name, live).html)
        return self._made[1]

    def _state(self) -> list[tuple[str, int, int]]:
        """Another value whenever a page made now may show something else."""
        files = [*self.folder.path.glob("manifests/*.json"), *map(self.folder.artifact, analysis_files(self.folder))]
        files += [self.folder.artifact(name) for descent in _DESCENTS.values() for name in descent]
        return [(file.name, stat.st_mtime_ns, stat.st_size) for file in files if (stat := _stat(file))]

    def report(self) -> tuple[dict[str, Any], str]:
        """The report so far with what its page shows, and what the run does now; empty where it is finished.

        A stage counts where it and all before it are finished: what lies in the folder of a former run is left out.
        """
        folder, names = self.folder, stages_of(self.folder.recipe, "report")
        finished = list(takewhile(lambda name: folder.artifact(f"manifests/{name}.json").exists(), names))
        if finished == names:
            with as_made(folder, REPORT):
                return shown(folder, dict(folder.read_json(REPORT))), ""
        stages = {name: self._json(artifact) for name, artifact in _SO_FAR.items() if artifact.stage in finished}
        report = build_report(folder.recipe, folder.owner(), stages, folder.target.to_json())
        running = names[len(finished)]
        descent = running if running in _DESCENTS else "qat"
        if descent == running or descent in finished:
            steps = self._readers[descent].update()
            report |= {
                "steps": steps,
                "descent": epochs_in_checkpoint(folder.artifact(_DESCENTS[descent][1])) | report.get("descent", {}),
            }
            report["analyses"] = analyses(folder)
            if steps.rows:
                report["diagnosis"] = findings(folder)
            return report, f"Stage {running}: {self._words(steps, descent) if descent == running else 'not finished'}."
        return report, f"Stage {running}: not finished."

    def _json(self, artifact: Artifact) -> Any:
        with as_made(self.folder, artifact):
            return self.folder.read_json(artifact)

    def _words(self, steps: Steps, stage: str) -> str:
        if not steps.rows:
            return "before the first step"
        last, train = steps.rows[-1], self.folder.recipe.train
        epochs = train.adapt.epochs if stage == "adapt" else train.epochs
        return f"step {last['step']}, epoch {last['epoch']} of {epochs}"


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
