"""Which threads are best for a model on a device: for one image as soon as possible, and for images per second.

Candidates are measured in groups of a few, each beside the same reference (the first file on one thread), so that a
device holds few processes at once and its drift cancels as in any paired measurement. Latency is that of single
inferences, one after the other; images per second are those of several callers at once on one session. What a
candidate costs is the CPU time of all its threads per image, and what they burn in the pauses between images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from edgegd.device.fingerprint import fingerprint
from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.threads import ThreadSetting, big_cores
from edgegd.latency.measuring.launch import Delivered, deliver, inferences_of, open_launch, run_quads
from edgegd.latency.measuring.measure import design_of
from edgegd.latency.measuring.record import Block, Design, Launch, Measurement
from edgegd.latency.measuring.result import LatencyResult, summarize
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target, Worker
from edgegd.targets.worker_protocol import WORKER_FILE, ask

Question = Literal["latency", "throughput"]
QUESTIONS: tuple[Question, ...] = ("latency", "throughput")
EQUAL = 0.02
"""Candidates within this fraction of the fastest count as equally fast: the one that costs the least CPU is taken."""
GROUP = 3  # candidates beside the reference, a process each
ALL_COUNTS = 8  # up to so many cores every number of threads is a candidate; beyond, powers of two and all
PAUSED, PAUSE_S = 8, 0.05  # inferences with a pause before each, per launch

Progress = Callable[[int, int], None]
"""progress(blocks done, blocks in all)."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file (its name), and the threads that it runs with."""

    file: str
    setting: ThreadSetting


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A candidate's figures.

    `ms` is the median of an inference, or the time per image of several callers together; `ratio` how many times faster
    than the reference, with its 95 % interval; `cpu_ms` the CPU time of all threads per image. For latency only:
    `idle_load`, the cores that are busy in a pause between images, and `paced_ms`, the median after such a pause.
    """

    file: str
    setting: ThreadSetting
    ms: float
    ratio: float
    low: float
    high: float
    cpu_ms: float
    idle_load: float | None = None
    paced_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return {**asdict(self), "setting": self.setting.to_json()}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """All candidates by question, in the order of measuring; the first is the reference.

    `against` has, by question, how many times faster the first file at its best is than the second (FP32) at its best,
    measured in pairs: (ratio, low, high); it is empty where one file was tuned.
    """

    target: str
    machine: Mapping[str, Any]
    big_cores: tuple[int, ...]
    candidates: Mapping[Question, tuple[Measured, ...]]
    against: Mapping[Question, tuple[float, float, float]]
    stable: bool
    faults: tuple[str, ...]

    def best(self, question: Question, file: str) -> Measured:
        """The recommendation for a file."""
        return best([one for one in self.candidates[question] if one.file == file])


def best(measured: Sequence[Measured]) -> Measured:
    """Of those that are as fast as the fastest, within EQUAL, the one that costs the least CPU per image."""
    fastest = max(one.ratio for one in measured)
    return min((one for one in measured if one.ratio >= fastest * (1 - EQUAL)), key=lambda one: one.cpu_ms)


def settings_for(question: Question, cores: Sequence[int], big: Sequence[int]) -> list[ThreadSetting]:
    """The candidates on a device whose process may use `cores`, of which `big` are the big ones (none: all alike).

    One thread first. Several threads sleep or spin. For images per second, several callers share a session, whose own
    threads are `threads - 1` for all of them together: callers and threads fill the cores.
    """
    found: dict[ThreadSetting, None] = {}
    for bound in ((), tuple(big)) if big else ((),):
        most = len(bound or cores)
        for workers in _counts(most) if question == "throughput" else (1,):
            threads = (1, most - workers + 1) if question == "throughput" else _counts(most)
            for count in threads:
                for spinning in (False, True) if count > 1 else (False,):
                    found[ThreadSetting(threads=count, spinning=spinning, cores=bound, workers=workers)] = None
    return list(found)


def _counts(most: int) -> list[int]:
    if most <= ALL_COUNTS:
        return list(range(1, most + 1))
    return sorted({2**power for power in range(most.bit_length())} | {most})


def tune(
    models: Mapping[str, Path],
    settings: LatencySection,
    target: Target,
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Tuning:
    """Measures all candidates of `models` (name -> ONNX file): the first is what is tuned, a second what it replaces.

    Of `settings`, threads and spinning are not looked at. Raises as `measure`, and DeviceBusyError while another
    measurement runs on the target.
    """
    design = replace(design_of(settings, seed), threads=1, spinning=False)
    with target.lock():
        delivered = deliver(models, target)
        with closing(target.start_worker(WORKER_FILE)) as worker:
            facts = ask(worker, {"hello": PROTOCOL}, 0)["machine"]
        big = big_cores(facts)
        asked = {
            question: [
                Candidate(file=name, setting=setting)
                for name in models
                for setting in settings_for(question, facts["core_mask"], big)
            ]
            for question in QUESTIONS
        }
        run = _Run(delivered, design, settings, progress, _blocks(asked, design, len(models)))
        measured = {question: tuple(run.all(question, asked[question])) for question in QUESTIONS}
        against: dict[Question, tuple[float, float, float]] = {}
        if len(models) > 1:
            first, second = list(models)[:2]
            for question in QUESTIONS:
                ours, other = (
                    best([one for one in measured[question] if one.file == name]) for name in (first, second)
                )
                pair = [Candidate(file=one.file, setting=one.setting) for one in (other, ours)]
                last = run.group(question, pair)[-1]
                against[question] = (last.ratio, last.low, last.high)
    faults = tuple(sorted(set(run.faults)))
    return Tuning(
        target=target.name,
        machine=fingerprint(facts),
        big_cores=big,
        candidates=measured,
        against=against,
        stable=run.stable,
        faults=faults,
    )


def _blocks(asked: Mapping[Question, Sequence[Candidate]], design: Design, files: int) -> int:
    """How many blocks are measured in all."""
    visits = sum(len(group) + 1 for candidates in asked.values() for group in _groups(candidates))
    return 2 * design.launches * design.quads * (visits + (2 * len(QUESTIONS) if files > 1 else 0))


def _groups(candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    """The candidates behind the first, which is the reference of all, a few at a time; an empty group if none."""
    rest = candidates[1:]
    yield from ([rest[place : place + GROUP] for place in range(0, len(rest), GROUP)] or [()])


class _Run:
    """A tuning under way: what was delivered, and what went wrong until now."""

    def __init__(
        self, delivered: Delivered, design: Design, settings: LatencySection, progress: Progress, total: int
    ) -> None:
        self._delivered, self._design, self._settings = delivered, design, settings
        self._progress, self._total, self._done = progress, total, 0
        self.stable, self.faults = True, list[str]()

    def all(self, question: Question, candidates: Sequence[Candidate]) -> Iterator[Measured]:
        """The figures of all candidates; those of the reference are of the first group."""
        for number, group in enumerate(_groups(candidates)):
            measured = self.group(question, [candidates[0], *group])
            yield from measured if number == 0 else measured[1:]

    def group(self, question: Question, candidates: Sequence[Candidate]) -> list[Measured]:
        """The figures of a few candidates, measured in pairs; the first is their reference."""
        design, names = self._design, {f"{one.file}: {one.setting}": one for one in candidates}
        launches: list[Launch] = []
        blocks: list[Block] = []
        costs: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}

        def emit(block: Block) -> None:
            blocks.append(block)
            self._done += 1
            self._progress(self._done, self._total)

        def callers(worker: Worker, name: str) -> dict[str, Any]:
            message = {"workers": names[name].setting.workers, "seconds": design.block_s}
            answer = ask(worker, {"concurrent": message}, design.block_s)
            costs[name].append({"cpu_ns": answer["cpu_ns"], "images": sum(answer["counts"])})
            rates = (count / wall for count, wall in zip(answer["counts"], answer["walls_ns"], strict=True))
            per_image_ns = max(round(1 / sum(rates)), 1)
            return {**answer, "first_ns": per_image_ns, "durations_ns": [per_image_ns]}

        delivered = _renamed(self._delivered, names)
        take = callers if question == "throughput" else inferences_of(design)
        for number in range(design.launches):
            with open_launch(delivered, design, number) as (launch, workers):
                launches.append(launch)
                run_quads(workers, list(names), design, number, emit, take)  # type: ignore[arg-type]
                if question == "latency":
                    for name, worker in workers.items():
                        paced = {"inferences": PAUSED, "pause_s": PAUSE_S}
                        answer = ask(worker, {"paced": paced}, PAUSED * PAUSE_S)
                        costs[name].append({**answer, "images": PAUSED})
        measurement = Measurement("", design, delivered.files, tuple(launches), tuple(blocks), complete=True)
        result = summarize(measurement, self._settings)
        self.stable &= result.stable
        self.faults += result.faults
        return [_measured(result, name, one, costs[name]) for name, one in names.items()]


def _renamed(delivered: Delivered, names: Mapping[str, Candidate]) -> Delivered:
    """The delivered files under the names of candidates, each with its threads."""
    return Delivered(
        delivered.target,
        {name: delivered.paths[one.file] for name, one in names.items()},
        {name: delivered.files[one.file] for name, one in names.items()},
        {name: one.setting for name, one in names.items()},
        {},
    )


def _measured(result: LatencyResult, name: str, candidate: Candidate, costs: Sequence[Mapping[str, Any]]) -> Measured:
    latency = result.models[name]
    paced = [one for one in costs if "idle_cpu_ns" in one]
    return Measured(
        file=candidate.file,
        setting=candidate.setting,
        ms=latency.median_ms,
        ratio=latency.speedup,
        low=latency.speedup_low,
        high=latency.speedup_high,
        cpu_ms=sum(one["cpu_ns"] for one in costs) / sum(one["images"] for one in costs) / 1e6,
        idle_load=sum(one["idle_cpu_ns"] for one in paced) / sum(one["idle_wall_ns"] for one in paced)
        if paced
        else None,
        paced_ms=median(ns for one in paced for ns in one["durations_ns"]) / 1e6 if paced else None,
    )
