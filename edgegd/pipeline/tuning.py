"""The tuned threads of a run's files: measured on a target (`edgegd latency tune`), stored in the run folder, read back."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from edgegd.device.threads import ThreadSetting
from edgegd.pipeline.artifacts import Artifact
from edgegd.pipeline.run_folder import RunFolder


def tuning_file(target: str) -> Artifact:
    """The artifact of a target's tuning, whatever characters its name or URL has."""
    return Artifact(f"tune-{quote(target, safe='')}.json", "latency")


def tuned_setting(folder: RunFolder, target: str) -> ThreadSetting | None:
    """The threads that `edgegd latency tune` found best for latency on this target; None where it was never tuned.

    The setting is that of the quantized file; `stored_tuning` has all. Raises MissingArtifactError for a damaged file.
    """
    tuning = stored_tuning(folder, target)
    return None if tuning is None else ThreadSetting.from_json(tuning["latency"]["setting"])


def stored_tuning(folder: RunFolder, target: str) -> dict[str, Any] | None:
    """What was stored for a target, or None. Raises MissingArtifactError for a damaged file."""
    from edgegd.pipeline.artifacts import as_made

    artifact = tuning_file(target)
    if not folder.artifact(artifact).exists():
        return None
    with as_made(folder, artifact):
        tuning: dict[str, Any] = folder.read_json(artifact)
        ThreadSetting.from_json(tuning["latency"]["setting"])
        return tuning
