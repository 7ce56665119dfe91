"""trackio: a new run of the project `edgegd`, in its own folder on this machine."""

from __future__ import annotations

import os

from edgegd.report.trackers import TrackedRun

PROJECT = "edgegd"


def write(run: TrackedRun, place: str | None) -> str:
    """One run; `place` is the folder in which trackio keeps its files, None its own (TRACKIO_DIR)."""
    if place:
        os.environ["TRACKIO_DIR"] = place  # which it reads when it is imported
    for variable, value in (("HF_HUB_DISABLE_TELEMETRY", "1"), ("GRADIO_ANALYTICS_ENABLED", "False")):
        os.environ.setdefault(variable, value)
    import trackio

    settings = dict(run.settings)
    trackio.init(PROJECT, run.name, config=settings, embed=False, auto_log_gpu=False, auto_log_cpu=False)
    for point in run.points:
        trackio.log(point.values, step=point.step)
    trackio.finish()
    own = f"TRACKIO_DIR={place} " if place else ""
    return f"project {PROJECT}; look at it with `{own}trackio show --project {PROJECT}`"
