"""MLflow: a new run of the experiment `edgegd`, at whatever tracking address MLflow knows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # its own reports to its makers

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from edgegd.report.trackers import TrackedRun

EXPERIMENT = "edgegd"
_METRICS, _PARAMS = 1000, 100
"""That MLflow takes in one call."""
_UNKNOWN = re.compile(r"[^\w\-. :/]")


def write(run: TrackedRun, place: str | None) -> str:
    """One run; `place` is the tracking address, None MLflow's own (MLFLOW_TRACKING_URI)."""
    client = MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    made = client.create_run(number, run_name=run.name).info.run_id
    params = [Param(name, value[:500]) for name, value in run.settings.items()]
    for start in range(0, len(params), _PARAMS):
        client.log_batch(made, params=params[start : start + _PARAMS])
    for metrics in _batches(run):
        client.log_batch(made, metrics=metrics)
    client.set_terminated(made)
    return f"run {made} of the experiment {EXPERIMENT}"


def _batches(run: TrackedRun) -> Iterator[list[Metric]]:
    waiting: list[Metric] = []
    for point in run.points:
        for name, value in point.values.items():
            # MLflow's names have letters, digits and _-. :/ only.
            waiting.append(Metric(_UNKNOWN.sub("_", name), value, round(1000 * point.time_s), point.step))
            if len(waiting) == _METRICS:
                yield waiting
                waiting = []
    if waiting:
        yield waiting
