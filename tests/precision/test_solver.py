"""The mixed-integer program against brute force over all choices of small random problems."""

from __future__ import annotations

import ctypes
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegd.precision import solver
from edgegd.precision.problem import Barrier, Problem, Tensor, Unit
from edgegd.precision.solver import fastest, pareto_front

SAME_MS = 1e-6  # the solver's gap, of times around 10 ms
SAME_NOISE = 1e-6  # the solver's feasibility tolerance, relative to the largest noise of one unit


def random_problem(seed: int) -> Problem:
    """A chain with branches: each unit reads one or two tensors made before it."""
    random_ = random.Random(seed)
    count = random_.randint(1, 8)
    units, tensors, barriers = [], [], []
    read: dict[int, list[tuple[int | None, float]]] = {}
    makers: list[int | None] = [None]
    for index in range(count):
        sources = random_.sample(range(len(makers)), min(len(makers), random_.randint(1, 2)))
        for source in sources:
            read.setdefault(source, []).append((index, random_.choice([0, random_.random()])))
        own = [makers[s] for s in sources]
        needs = () if None in own or random_.random() < 0.5 else (frozenset(own),)  # type: ignore[arg-type]
        units.append(Unit((f"u{index}",), random_.random() * 3, random_.random() * 3, random_.random() ** 4, needs))
        makers.append(index)
        if random_.random() < 0.5:
            barriers.append(Barrier(index, tuple(sources), len(makers) - 1, random_.random()))
    read.setdefault(count, []).append((None, random_.random()))
    for index, maker in enumerate(makers):
        moves_ms = random_.choice([0.0, random_.uniform(-1, 1)])
        tensors.append(Tensor(maker, tuple(read.get(index, [])), random_.random(), moves_ms))
    return Problem(tuple(units), tuple(tensors), tuple(barriers), random_.random())


def all_choices(problem: Problem) -> list[tuple[bool, ...]]:
    choices = itertools.product([False, True], repeat=len(problem.units))
    return [choice for choice in choices if problem.is_possible(choice)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0, 1.2))
def test_no_choice_under_the_limit_is_faster(seed: int, share: float) -> None:
    problem = random_problem(seed)
    limit = share * sum(unit.noise for unit in problem.units)
    found = fastest(problem, limit)
    assert found is not None and problem.is_possible(found)
    slack = SAME_NOISE * max(unit.noise for unit in problem.units)
    assert problem.noise(found) <= limit + slack
    best_ms = min(problem.total_ms(c) for c in all_choices(problem) if problem.noise(c) <= limit)
    assert problem.total_ms(found) <= best_ms + SAME_MS


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_the_front_begins_with_the_fastest_and_nothing_dominates_it(seed: int) -> None:
    problem = random_problem(seed)
    front = list(pareto_front(problem))
    possible = all_choices(problem)
    points = [(problem.total_ms(c), problem.noise(c)) for c in front]
    assert points == sorted(points) and all(b[1] < a[1] for a, b in itertools.pairwise(points))
    if front:
        assert points[0][0] == pytest.approx(min(map(problem.total_ms, possible)), abs=SAME_MS)
    for ms, noise in points:
        slack = SAME_NOISE * max(unit.noise for unit in problem.units)
        assert not any(problem.total_ms(c) < ms - SAME_MS and problem.noise(c) <= noise - slack for c in possible)


def chain(*times: tuple[float, float], border_ms: float) -> Problem:
    """Units in a row between a float image and a float reader; times are (integer, float) ms."""
    units = tuple(Unit((str(i),), *pair, noise=0.1) for i, pair in enumerate(times))
    tensors = tuple(
        Tensor(i - 1 if i else None, ((i if i < len(units) else None, border_ms),), border_ms)
        for i in range(len(units) + 1)
    )
    return Problem(units, tensors, (), 0.0)


@pytest.mark.parametrize(
    ("border_ms", "expected"),
    [
        (0.1, (True, False, True)),
        (2.0, (True, True, True)),
        (9.0, (False, False, False)),
    ],
    ids=["cheap borders", "borders cost more than the slow layer", "borders cost more than all layers"],
)
def test_a_layer_slower_in_integers_goes_float_unless_its_borders_cost_more(
    border_ms: float, expected: tuple[bool, ...]
) -> None:
    problem = chain((1.0, 6.0), (3.0, 1.0), (1.0, 6.0), border_ms=border_ms)
    assert fastest(problem) == expected


def test_costs_by_hand() -> None:
    problem = chain((1.0, 6.0), (3.0, 1.0), (1.0, 6.0), border_ms=0.5)
    # quantize the image, dequantize the output; around the float unit one of each
    assert problem.total_ms((True, False, True)) == pytest.approx(1 + 1 + 1 + 4 * 0.5)
    assert problem.total_ms((True, True, True)) == pytest.approx(1 + 3 + 1 + 2 * 0.5)
    assert problem.total_ms((False, False, False)) == 13


def test_a_barrier_is_paid_between_codes_only() -> None:
    base = chain((1.0, 6.0), (3.0, 1.0), (1.0, 6.0), border_ms=0.5)
    problem = Problem(base.units, base.tensors, (Barrier(1, (1,), 2, 0.25),), 0.0)
    assert problem.total_ms((True, False, True)) - base.total_ms((True, False, True)) == 0.25
    for choice in ((True, True, True), (False, False, True), (False, False, False)):
        assert problem.total_ms(choice) == base.total_ms(choice)


def test_what_the_solver_prints_below_python_is_not_in_a_commands_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def talking(*arguments: Any, **options: Any) -> Any:
        ctypes.CDLL(None).printf(b"HighsMipSolverData: a word\n")
        return milp(*arguments, **options)

    milp = solver.milp
    monkeypatch.setattr(solver, "milp", talking)
    print("before", flush=False)
    fastest(random_problem(0))
    print("after")
    out, err = capfd.readouterr()
    assert out == "before\nafter\n" and "a word" in err
