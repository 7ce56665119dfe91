"""One launch: a fresh worker a model, configured and warmed up, then quads of alternating blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.device.state import faults
from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.model_signature import read_model
from edgegd.latency.measuring.record import Block, Design, Launch, ModelFile
from edgegd.targets.base import Target, Worker
from edgegd.targets.worker_protocol import WORKER_FILE, ask, configure

Emit = Callable[[Launch | Block], None]
"""Called with the launch when its workers are ready, then with each block as soon as it was run."""


Take = Callable[[Worker, str], Mapping[str, Any]]
"""take(worker, model): one block's `first_ns`, `durations_ns`, `before` and `after`."""


@dataclass(frozen=True)
class Delivered:
    """Models on a target: name -> path there, and name -> what the file is. The first is the reference.

    `threads` are those of models that run otherwise than the design says, `workers` the programs of models that other
    runtimes run (name -> file here).
    """

    target: Target
    paths: Mapping[str, str]
    files: Mapping[str, ModelFile]
    threads: Mapping[str, ThreadSetting]
    workers: Mapping[str, Path]


def deliver(
    models: Mapping[str, Path],
    target: Target,
    threads: Mapping[str, ThreadSetting] | None = None,
    workers: Mapping[str, Path] | None = None,
) -> Delivered:
    """Makes `models` (name -> file) available on the target; OnnxUnreadableError for one that is missing."""
    if not models:
        raise ValueError("nothing to measure: give at least one model")
    files = {name: model_file(path) for name, path in models.items()}
    paths = {name: target.deliver(path) for name, path in models.items()}
    return Delivered(target, paths, files, threads or {}, workers or {})


@contextmanager
def open_launch(delivered: Delivered, design: Design, number: int) -> Iterator[tuple[Launch, Mapping[str, Worker]]]:
    """The workers of a launch, ready; they are gone afterwards in any case.

    Workers are warmed up one after the other, in the order of the first quad; only one runs at a time. Raises as `ask`.
    """
    names = list(delivered.files)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        answers: dict[str, dict[str, Any]] = {}
        for name in design.order(names, number, 0)[: len(names)]:
            program = delivered.workers.get(name, WORKER_FILE)
            workers[name] = stack.enter_context(closing(delivered.target.start_worker(program)))
            ready = configure(
                workers[name],
                delivered.paths[name],
                design,
                delivered.files[name].sha256,
                setting=delivered.threads.get(name),
            )
            warm_up = ask(workers[name], {"warm_up": design.warmup_s}, design.warmup_s)
            answers[name] = {key: ready[key] for key in ("load_ms", "inputs", "machine", "session")}
            answers[name] |= {"warm_up": warm_up, **ask(workers[name], {"memory": True}, 0)}
        machines = [answers[name].pop("machine") for name in names]
        yield Launch(number, fingerprint(machines[0], answers[names[0]]), answers), workers


def run_quads(
    workers: Mapping[str, Worker], names: Sequence[str], design: Design, number: int, emit: Emit, take: Take
) -> None:
    """Runs the quads of the launch `number`, a block of a model at a time."""
    for quad in range(design.quads):
        for place, name in enumerate(design.order(names, number, quad)):
            answer = take(workers[name], name)
            first_ns, durations_ns = answer["first_ns"], tuple(answer["durations_ns"])
            found = faults(answer["before"], answer["after"])
            emit(Block(number, quad, place, name, first_ns, durations_ns, answer["before"], answer["after"], found))


def run_launch(delivered: Delivered, design: Design, number: int, emit: Emit, *, require_stable: bool) -> None:
    """Runs the launch `number`. With `require_stable`, one whose warm-up does not become stable emits no blocks.

    Raises as `ask`.
    """
    with open_launch(delivered, design, number) as (launch, workers):
        emit(launch)
        if launch.stable or not require_stable:
            run_quads(workers, list(delivered.files), design, number, emit, inferences_of(design))


def inferences_of(design: Design) -> Take:
    """A block of single inferences, one after the other."""
    return lambda worker, model: ask(worker, {"run": design.block_s}, design.block_s)


def model_file(path: Path) -> ModelFile:
    """Name, hash and size of a model; OnnxUnreadableError where it cannot be read."""
    content = read_model(path)
    return ModelFile(path.name, sha256(content).hexdigest(), len(content))
