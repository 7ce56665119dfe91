"""Paired latency measurement: fresh worker processes, one running at a time, models alternating block by block.

Comparing neighbouring blocks cancels the slow drift of a machine (clock, neighbours on the host), and fresh processes
sample the variation between processes (memory layout), which is several times that between blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from edgegd.errors import OnnxUnreadableError, WorkerError
from edgegd.latency.fingerprint import fingerprint
from edgegd.latency.result import Block, LatencyResult, summarize
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target, Worker

WORKER_FILE = Path(__file__).with_name("worker.py")
INPUT_SEED = 0
ANSWER_MARGIN_S = 120.0  # above the time asked for: loading a model, or one slow inference on a small board

Progress = Callable[[Block, int, int], None]
"""Called after each block as progress(block, blocks done, blocks in all)."""


def block_order(models: list[str], position: int) -> list[str]:
    """Order of the models in the `position`-th round: forwards and backwards in turn (ABC CBA ABC; ABBA for two)."""
    return models if position % 2 == 0 else models[::-1]


def measure(models: Mapping[str, Path], settings: LatencySection, target: Target, *,
            progress: Progress | None = None) -> LatencyResult:
    """Time `models` (name -> ONNX file; the first is the reference) on `target`.

    Each of `settings.launches` launches starts one fresh worker per model, loads and warms them up one after the other,
    then runs `settings.blocks` rounds of one block per model, alternating. Raises OnnxUnreadableError for a model
    that is missing or cannot be timed, WorkerError when a worker dies, hangs, or reports a failure.
    """
    if not models:
        raise ValueError("measure() needs at least one model")
    hashes = {name: _sha256(path) for name, path in models.items()}
    delivered = {name: target.deliver(path) for name, path in models.items()}
    names = list(models)
    total = settings.launches * settings.blocks * len(names)
    blocks: list[Block] = []
    stable = True
    machine: dict[str, Any] = {}
    for launch in range(settings.launches):
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for name in names:
                workers[name] = stack.enter_context(closing(target.start_worker(WORKER_FILE)))
                ready = configure(workers[name], delivered[name], settings)
                if ready["model_sha256"] != hashes[name]:
                    raise WorkerError(f"The model {name} changed while it was being measured.", expected=hashes[name],
                                      found=str(ready["model_sha256"]), mend="run the measurement again")
                machine = machine or fingerprint(ready["machine"])
                stable &= ask(workers[name], {"warm_up": settings.warmup_s}, settings.warmup_s)["stable"]
            for block in range(settings.blocks):
                for name in block_order(names, launch * settings.blocks + block):
                    answer = ask(workers[name], {"run": settings.block_s}, settings.block_s)
                    blocks.append(Block(len(blocks), launch, block, name, tuple(answer["durations_ns"])))
                    if progress is not None:
                        progress(blocks[-1], len(blocks), total)
    return LatencyResult(target.name, summarize(blocks, hashes), settings, machine, stable, tuple(blocks))


def configure(worker: Worker, model: str, settings: LatencySection) -> dict[str, Any]:
    """Loads the model in the worker; WorkerError for a session that runs with other options than asked for."""
    asked = {"threads": settings.threads, "spinning": settings.spinning}
    ready = ask(worker, {"configure": {**asked, "model": model, "optimization": "all", "seed": INPUT_SEED,
                                        "input": None}}, 0)
    runs_with = {key: ready["session"][key] for key in asked}
    if runs_with != asked:
        raise WorkerError("onnxruntime did not take the session options it was given.", expected=str(asked),
                          found=str(runs_with), mend="run `edgegd doctor` and install a tested onnxruntime")
    return ready


def ask(worker: Worker, message: dict[str, Any], duration_s: float) -> dict[str, Any]:
    """A worker's answer to a message that keeps it busy for `duration_s`.

    Raises OnnxUnreadableError where the model cannot be timed, WorkerError where the worker dies, hangs or fails.
    """
    worker.send(message)
    answer = worker.receive(duration_s + ANSWER_MARGIN_S)
    if "error" not in answer:
        return answer
    if answer.get("about") == "model":
        raise OnnxUnreadableError("onnxruntime cannot time this model.", found=str(answer["error"]),
                                  expected="an ONNX model with static float32 or uint8 inputs",
                                  mend="export the model again")
    raise WorkerError("The latency worker reports a failure.", expected=f"an answer to {sorted(message)[0]}",
                      found=str(answer["error"]), mend="run `edgegd doctor` on the machine that is measured")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise OnnxUnreadableError(f"The model {path} cannot be read.", expected="an ONNX file", found=str(error),
                                  mend="run the export stage first, or correct the path") from error
