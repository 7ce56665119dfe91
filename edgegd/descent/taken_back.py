"""Training that is tried out and taken back: afterwards the student is what it was, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgegd.descent.telemetry import untouched
from edgegd.detectors.student import Student


@contextmanager
def taken_back(student: Student) -> Iterator[None]:
    """Whatever is trained within it, afterwards all is as before, whether it failed or not.

    That is: parameters and buffers, their gradients, what may learn, the mode of every module, and the random
    generators of torch, numpy and Python.
    """
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in student.parameters()]
    modes = [(module, module.training) for module in student.modules()]
    with untouched(student):
        try:
            yield
        finally:
            for parameter, learns, gradient in parameters:
                parameter.requires_grad_(learns)
                parameter.grad = gradient
            for module, training in modes:
                module.training = training
