"""TensorBoard's event files, by the package `tensorboard` alone; torch's SummaryWriter writes by the same classes."""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from edgegd.report.trackers import TrackedRun


def write(run: TrackedRun, place: str | None) -> str:
    """One event file in the folder `place`; values are float32, as event files have them."""
    folder = Path(place or "tensorboard")
    writer = EventFileWriter(str(folder), max_queue_size=10)
    for point in run.points:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        writer.add_event(Event(wall_time=point.time_s, step=point.step, summary=Summary(value=values)))
    writer.close()
    return f"{folder}; look at it with `tensorboard --logdir {folder}`"
