"""Paired latency of several models: fresh worker processes, one running at a time, blocks alternating in quads.

Comparing neighbouring blocks cancels the slow drift of a machine (clock, neighbours on the host), and fresh processes
sample the variation between processes (memory layout), which is several times that between blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgegd.device.runtime_workers import worker_files
from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.launch import deliver, run_launch
from edgegd.latency.measuring.record import Block, Design, Launch, Measurement
from edgegd.latency.measuring.result import LatencyResult, summarize
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target

Progress = Callable[[Block, int, int], None]
"""Called after each block as progress(block, blocks done, blocks in all)."""


def design_of(settings: LatencySection, seed: int = 0) -> Design:
    """The design of the recipe's section `latency`."""
    return Design(
        launches=settings.launches,
        quads=settings.quads,
        block_s=settings.block_s,
        warmup_s=settings.warmup_s,
        threads=settings.threads,
        spinning=settings.spinning,
        seed=seed,
    )


def measure(
    models: Mapping[str, Path],
    settings: LatencySection,
    target: Target,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    threads: Mapping[str, ThreadSetting] | None = None,
    runtimes: Mapping[str, str] | None = None,
) -> LatencyResult:
    """Times `models` (name -> ONNX file; the first is the reference) on `target` in all of the launches.

    `threads` (name -> setting) are those of models that run otherwise than `settings` says: a file may be measured
    under several names.
    `runtimes` names those that another runtime runs (name -> key of edgegd.device.runtime_workers.WORKERS), whose files
    are that runtime's.

    A warm-up that does not become stable, or a throttled block, is told in the result and counts all the same: these
    are figures to read, not a verdict. Raises OnnxUnreadableError for a model that is missing or cannot be timed,
    WorkerError when a worker dies, hangs or fails, DeviceBusyError while another measurement runs on the target.
    """
    design = design_of(settings, seed)
    launches: list[Launch] = []
    blocks: list[Block] = []

    def emit(event: Launch | Block) -> None:
        if isinstance(event, Launch):
            launches.append(event)
            return
        blocks.append(event)
        if progress is not None:
            progress(event, len(blocks), design.launches * design.quads * 2 * len(models))

    others = runtimes or {}
    with target.lock(), worker_files(others.values()) as programs:
        workers = {name: programs[runtime] for name, runtime in others.items()}
        delivered = deliver(models, target, threads, workers)
        for number in range(design.launches):
            run_launch(delivered, design, number, emit, require_stable=False)
    measurement = Measurement(target.name, design, delivered.files, tuple(launches), tuple(blocks), complete=True)
    return summarize(measurement, settings)
