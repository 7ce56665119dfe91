"""The fastest choice of precision under a limit of noise: an exact mixed-integer linear program.

Variables: x a unit (1: integer), y a tensor (1: codes), q a tensor (a float maker quantizes), d a reader (it
dequantizes), b a barrier. Only x must be declared whole: the others follow from it at any optimum, for

    y >= x of the maker and of each reader,  y <= the sum of these,
    q >= y - x of the maker,  d >= y - x of the reader,  b >= sum of the y around it - x - (their number - 1),

and their prices are not negative. HiGHS (Huangfu and Hall 2018) solves it through scipy.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from edgegd.precision.problem import Problem

STEPS_DB = (0, 1, 2, 4, 6, 9, 12, 16, 20, 25)  # of the front, above the fastest choice
_GAP = 1e-6  # relative; far below what a time is measured to
_LIMIT_S = 30.0

Choice = tuple[bool, ...]


class _Program:
    """Columns and rows of the program, added one by one."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.prices: list[float] = []
        self.rows: list[tuple[dict[int, float], float]] = []  # sum of coefficient * column <= limit
        self.x = [self.column(unit.integer_ms - unit.float_ms) for unit in problem.units]
        self.y = [self.column(tensor.moves_ms) for tensor in problem.tensors]
        for unit, x in zip(problem.units, self.x, strict=True):
            for one_of in unit.needs:
                self.row({x: 1.0, **{self.x[index]: -1.0 for index in one_of if self.x[index] != x}}, 0)
        for tensor, y in zip(problem.tensors, self.y, strict=True):
            users = {self.x[u] for u in (tensor.maker, *(unit for unit, _ in tensor.readers)) if u is not None}
            for x in users:
                self.row({x: 1.0, y: -1.0}, 0)
            self.row({y: 1.0, **dict.fromkeys(users, -1.0)}, 0)
            self.only_if_float(tensor.maker, [y], tensor.quantize_ms)
            for unit_index, ms in tensor.readers:
                self.only_if_float(unit_index, [y], ms)
        for barrier in problem.barriers:
            around = [self.y[tensor] for tensor in dict.fromkeys((*barrier.inputs, barrier.result))]
            self.only_if_float(barrier.unit, around, barrier.ms)

    def column(self, price: float) -> int:
        self.prices.append(price)
        return len(self.prices) - 1

    def row(self, coefficients: dict[int, float], limit: float) -> None:
        self.rows.append((coefficients, limit))

    def only_if_float(self, unit: int | None, codes: Sequence[int], ms: float) -> None:
        """A price that is paid where all `codes` are and the unit runs in float."""
        if ms == 0:
            return
        paid = self.column(ms)
        self.row(
            {**dict.fromkeys(codes, 1.0), **({} if unit is None else {self.x[unit]: -1.0}), paid: -1.0}, len(codes) - 1
        )

    def solve(self, largest_noise: float | None) -> Choice | None:
        rows = list(self.rows)
        noises = [unit.noise for unit in self.problem.units]
        if largest_noise is not None and max(noises) > 0:
            scale = max(noises)  # noises are tiny numbers, beside the solver's tolerance
            rows.append(({x: noise / scale for x, noise in zip(self.x, noises, strict=True)}, largest_noise / scale))
        entries = [
            (row, column, value) for row, (coefficients, _) in enumerate(rows) for column, value in coefficients.items()
        ]
        r, c, v = zip(*entries, strict=True)
        matrix = coo_array((v, (r, c)), shape=(len(rows), len(self.prices))).tocsr()
        whole = np.zeros(len(self.prices))
        whole[: len(self.x)] = 1
        with _messages_to_stderr():
            found = milp(
                np.array(self.prices),
                integrality=whole,
                bounds=Bounds(0, 1),
                constraints=LinearConstraint(matrix, ub=np.array([limit for _, limit in rows])),
                options={"mip_rel_gap": _GAP, "time_limit": _LIMIT_S},
            )
        return None if found.x is None else tuple(bool(value > 0.5) for value in found.x[: len(self.x)])


@contextmanager
def _messages_to_stderr() -> Iterator[None]:
    """HiGHS prints some messages whatever its options are, below Python, into what may be a command's JSON."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C's own buffer still belongs to stderr
        os.dup2(stdout, 1)
        os.close(stdout)


def fastest(problem: Problem, largest_noise: float | None = None) -> Choice | None:
    """The fastest possible choice whose noise is at most `largest_noise`; None where time ran out without any."""
    return _Program(problem).solve(largest_noise)


def pareto_front(problem: Problem) -> Iterator[Choice]:
    """Choices from the fastest one on, each with less noise and more time than the one before; none is all float.

    The fastest choice is that in which every unit slower in integers, borders counted, runs in float.
    """
    program = _Program(problem)
    first = program.solve(None)
    last_ms, float_ms = -1.0, problem.total_ms([False] * len(problem.units))
    for step_db in STEPS_DB:
        choice = first and program.solve(problem.noise(first) * 10 ** (-step_db / 10))
        if not choice or not any(choice):
            return
        total_ms = problem.total_ms(choice)
        if total_ms >= float_ms:
            return
        if total_ms > last_ms:
            yield choice
        last_ms = total_ms
