"""Batches in parts. Oracle: the loss and the gradient of the same images in one part."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from edgegd.descent.training import Training
from edgegd.detectors.distillation import Distiller
from edgegd.detectors.losses import first_images
from edgegd.recipe.training import Distillation, TrainSection

# float32 sums in another order: of the loss a millionth, unless a code is rounded the other way, which some CPUs'
# kernels do for a batch of another size. The divisors of parts are apart by 2 % and more.
LOSS, GRADIENT = 5e-4, 5e-3
PLAIN = TrainSection(optimizer="SGD", momentum=0.0, lr0=0.01, range_lr=0.0, grad_clip=0.0)


def joined(*batches: dict[str, Any]) -> dict[str, Any]:
    """The images of all batches as one."""
    first = torch.tensor([0, *(len(batch["img"]) for batch in batches)]).cumsum(0)
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in ("img", "cls", "bboxes")}
    owners = [batch["batch_idx"] + int(start) for start, batch in zip(first, batches, strict=False)]
    return whole | {"batch_idx": torch.cat(owners)}


def _apart(some: list[torch.Tensor], others: list[torch.Tensor]) -> list[torch.Tensor]:
    return [one - other for one, other in zip(some, others, strict=True)]


def gradients(training: Training, *batches: dict[str, Any]) -> tuple[float, dict[str, float], list[torch.Tensor]]:
    loss, parts = training.accumulated_gradient(batches)
    found = [p.grad.clone() for p in training.parameters if p.grad is not None]
    return float(loss), {name: float(part) for name, part in parts.items()}, found


CASES = {
    "one head": ("small", None, Distillation()),
    "two heads": ("small-end2end", True, Distillation()),
    "the one-to-many head of two": ("small-end2end", False, Distillation()),
    "distilled": ("small-end2end", True, Distillation(head=1.0, neck=1.0)),
    "distilled alone": ("small", None, Distillation(head=1.0, neck=1.0, labels=False)),
}


@contextlib.contextmanager
def training_of(calibrated: Any, case: str, settings: TrainSection = PLAIN) -> Iterator[Training]:
    architecture, end2end, distill = CASES[case]
    student = calibrated(architecture, end2end)
    settings = dataclasses.replace(settings, distill=distill)
    with contextlib.ExitStack() as stack:
        distiller = None
        if distill.asks:
            teacher = copy.deepcopy(student.model)
            for parameter in teacher.parameters():
                parameter.data.mul_(1.1)
            distiller = stack.enter_context(Distiller(teacher, student, distill))
        student.train()
        yield Training(student, settings, distiller)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sizes", [(4, 4), (4, 1)])
def test_parts_are_the_whole(sizes: tuple[int, int], case: str, calibrated: Any, batches: Any) -> None:
    """Parts of other numbers of images and of boxes: one has an image without any."""
    parts = [first_images(batch, size) for batch, size in zip(batches, sizes, strict=True)]
    parts[0] = parts[0] | {key: parts[0][key][:3] for key in ("cls", "bboxes", "batch_idx")}
    with training_of(calibrated, case) as training:
        apart, named, of_parts = gradients(training, *parts)
    with training_of(calibrated, case) as training:
        whole, expected, of_whole = gradients(training, joined(*parts))
    assert apart == pytest.approx(whole, rel=LOSS) and named == pytest.approx(expected, rel=LOSS)
    assert len(of_parts) == len(of_whole) > 40
    apart_by, length = (
        torch.cat([x.flatten() for x in found]).norm() for found in (_apart(of_parts, of_whole), of_whole)
    )
    assert float(apart_by) < GRADIENT * float(length)
    for one, other in zip(of_parts, of_whole, strict=True):
        assert float((one - other).norm()) <= 0.1 * float(other.norm()) + 1e-4


def test_the_parts_own_losses_are_not_what_is_added(calibrated: Any, batches: Any) -> None:
    """Their mean, which is what counting each part by its images would give, is another number."""
    parts = [batches[0], first_images(batches[1], 1)]
    with training_of(calibrated, "one head") as training:
        apart, _, _ = gradients(training, *parts)
        alone = [gradients(training, part)[0] for part in parts]
    assert abs((4 * alone[0] + alone[1]) / 5 - apart) > 10 * LOSS * apart


@pytest.mark.parametrize("case", ["two heads", "distilled"])
def test_a_step_in_parts_is_that_on_the_whole(case: str, calibrated: Any, batches: Any) -> None:
    whole_batch = joined(*batches)
    found = []
    for accumulate in (4, 1):
        with training_of(calibrated, case, dataclasses.replace(PLAIN, batch=8, accumulate=accumulate)) as training:
            before = [p.detach().clone() for p in training.parameters]
            result = training.take_step(whole_batch, 1.0, 0.0, probed=True)
            found.append(
                (result, training, [p.detach() - old for p, old in zip(training.parameters, before, strict=True)])
            )
    (apart, of_parts, steps), (whole, of_whole, expected) = found
    assert apart == pytest.approx(whole, rel=LOSS)
    assert (of_parts.step, of_whole.step) == (1, 1) and of_parts.telemetry.keys() == of_whole.telemetry.keys()
    assert of_parts.telemetry["gradient"] == pytest.approx(of_whole.telemetry["gradient"], rel=1e-2)
    lengths = [training.telemetry["detail"]["step_length"]["all"] for training in (of_parts, of_whole)]
    assert lengths[0]["losses"] == pytest.approx(lengths[1]["losses"], rel=LOSS)
    moved = 0
    for one, other in zip(steps, expected, strict=True):
        assert float((one - other).norm()) <= 0.1 * float(other.norm()) + 1e-5
        moved += bool(other.any())
    assert moved > 40


def test_the_pass_that_counts_amounts_leaves_no_trace(swapped: Any, batches: Any) -> None:
    """BatchNorm's running statistics take in each part once, and no random number is drawn."""
    states = []
    for accumulate in (1, 2):
        student = swapped().train()
        training = Training(student, dataclasses.replace(PLAIN, lr0=0.0, accumulate=accumulate), None)
        drawn = torch.get_rng_state()
        training.take_step(batches[0], 1.0, 0.0)
        assert torch.equal(drawn, torch.get_rng_state())
        states.append(next(m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)).num_batches_tracked)
    assert [int(state) for state in states] == [int(states[0]), int(states[0]) + 1]


def test_no_image_is_refused(calibrated: Any) -> None:
    training = Training(calibrated(), TrainSection(), None)
    for nothing in ([], [{"img": torch.empty(0, 3, 64, 64)}]):
        with pytest.raises(ValueError, match="no image"):
            training.take_step(nothing, 1.0, 0.0)
