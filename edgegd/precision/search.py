"""The search: times and sensitivities of all units, the front that follows from them, and its plans measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.latency.measuring.measure import measure
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import Addresses, assemble, float_addresses, times_ms, units_of
from edgegd.precision.borders import BorderPrices, border_prices, probe_patterns
from edgegd.precision.problem import Problem
from edgegd.precision.result import Point, SearchResult
from edgegd.precision.sensitivity import HeadNoise, to_db
from edgegd.precision.solver import STEPS_DB, Choice, pareto_front
from edgegd.precision.subject import Subject
from edgegd.precision.timing import Profile, profile_models
from edgegd.progress import Progress
from edgegd.recipe.schema import LatencySection
from edgegd.targets.base import Target

RULES = "rules"  # the point that is the rules' own plan
_FP32 = "fp32"


@dataclass(frozen=True)
class _Candidate:
    name: str
    choice: Choice
    plan: QuantPlan
    float_addresses: Addresses


def search(
    subject: Subject,
    target: Target,
    settings: LatencySection,
    progress: Progress,
    *,
    images: tuple[str, ...],
    made_from: dict[str, str],
) -> SearchResult:
    """Measures, solves, and measures what was solved; nothing of `subject` is changed.

    `images` and `made_from` are written into the result. Raises what profiling and measuring raise.
    """
    plan = subject.plan
    units = units_of(plan)
    noise = HeadNoise(subject, units)
    noises = []
    for value in noise.of_units():
        noises.append(value)
        progress.update(len(noises), len(units), "sensitivity of every operation")
    with tempfile.TemporaryDirectory() as folder:
        files = _Files(subject, Path(folder))
        profiles = profile_models(
            {"integer": files.of(plan), _FP32: files.float(), "probe": files.of(subject.replan(probe_patterns(plan)))},
            target,
            settings,
            progress=lambda done, total: progress.update(done, total, "timing every operation"),
        )
        problem, prices = _problem(subject, profiles, noises)
        candidates = [_Candidate(RULES, (True,) * len(units), plan, ())]
        for choice in pareto_front(problem):
            progress.update(len(candidates), len(STEPS_DB), "solving for the front")
            if not all(choice):
                kept = float_addresses(units, choice)
                candidates.append(_Candidate(f"front-{len(candidates)}", choice, subject.replan(kept), kept))
        heads: list[float] = []
        models = {_FP32: files.float()}
        for candidate in candidates:
            progress.update(len(heads), len(candidates), "exporting the front")
            heads.append(to_db(noise.of_plan(candidate.plan)))
            models[candidate.name] = files.of(candidate.plan)
        measured = measure(
            models,
            settings,
            target,
            progress=lambda block, done, total: progress.update(done, total, "measuring the front"),
        )
    points = tuple(
        Point(
            c.name,
            sum(c.choice),
            c.float_addresses,
            problem.total_ms(c.choice),
            measured.models[c.name].median_ms,
            1 / measured.models[c.name].speedup,
            to_db(problem.noise(c.choice)),
            head_db,
        )
        for c, head_db in zip(candidates, heads, strict=True)
    )
    operations: tuple[dict[str, Any], ...] = tuple(
        {
            "addresses": unit.addresses,
            "integer_ms": unit.integer_ms,
            "float_ms": unit.float_ms,
            "head_db": to_db(unit.noise),
        }
        for unit in problem.units
    )
    return SearchResult(
        measured.models[_FP32].median_ms,
        points,
        operations,
        asdict(prices),
        subject.head,
        images,
        settings.threads,
        measured.fingerprint,
        made_from,
    )


def _problem(
    subject: Subject, profiles: Mapping[str, Profile], noises: Sequence[float]
) -> tuple[Problem, BorderPrices]:
    """The problem, with border prices such that the probe's own time is predicted.

    A border costs more than its nodes: what stands alone between borders has its caches and layouts to itself.
    """
    plan = subject.plan
    kept_float = set(probe_patterns(plan))
    choice = [not kept_float & set(unit) for unit in units_of(plan)]

    def with_prices(prices: BorderPrices) -> Problem:
        return assemble(
            plan,
            subject.ops,
            times_ms(profiles["integer"]),
            times_ms(profiles[_FP32]),
            noises,
            prices,
            subject.graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value,
        )

    prices = border_prices(profiles["probe"], [profiles["integer"], profiles[_FP32]])
    without_ms = with_prices(prices.scaled(0.0)).total_ms(choice)
    nodes_ms = with_prices(prices).total_ms(choice) - without_ms
    if nodes_ms > 0:
        prices = prices.scaled(max(1.0, (profiles["probe"].plain_ms - without_ms) / nodes_ms))
    return with_prices(prices), prices


class _Files:
    """ONNX files of one subject's plans in a folder, each written once."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject, self._folder = subject, folder

    def of(self, plan: QuantPlan) -> Path:
        path = self._folder / f"{plan.sha256}.onnx"
        if not path.exists():
            graph = quantized_graph(self._subject.graph, plan, self._subject.state_under(plan))
            path.write_bytes(graph.SerializeToString())
        return path

    def float(self) -> Path:
        path = self._folder / f"{_FP32}.onnx"
        if not path.exists():
            path.write_bytes(self._subject.graph.SerializeToString())
        return path
