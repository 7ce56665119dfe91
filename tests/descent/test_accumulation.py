"""Accumulated gradients. Oracle: one batch of the same images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgegd.descent.training import Training
from edgegd.detectors.distillation import Distiller
from edgegd.recipe.training import Distillation, TrainSection

# float32 sums in another order; the loss itself differs by less than a millionth of itself.
GRADIENT = {"rtol": 2e-3, "atol": 2e-6}
LOSS = 1e-6


def joined(*batches: dict[str, Any]) -> dict[str, Any]:
    """The images of all batches as one."""
    first = torch.tensor([0, *(len(batch["img"]) for batch in batches)]).cumsum(0)
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in ("img", "cls", "bboxes")}
    owners = [batch["batch_idx"] + int(start) for start, batch in zip(first, batches, strict=False)]
    return whole | {"batch_idx": torch.cat(owners)}


def gradients(training: Training, *batches: dict[str, Any]) -> tuple[float, dict[str, float], list[torch.Tensor]]:
    training.student.train()
    loss, parts = training.accumulated_gradient(batches)
    found = [p.grad.clone() for p in training.parameters if p.grad is not None]
    return float(loss), {name: float(part) for name, part in parts.items()}, found


@pytest.mark.parametrize("sizes", [(4, 4), (4, 1)], ids=["halves", "unequal parts"])
def test_where_the_loss_is_a_mean_over_images_parts_are_the_whole(
    sizes: tuple[int, int], calibrated: Any, batches: Any
) -> None:
    from edgegd.detectors.losses import first_images

    parts = [first_images(batch, size) for batch, size in zip(batches, sizes, strict=True)]
    student, teacher = calibrated(), calibrated().model
    section = TrainSection(distill=Distillation(head=0.0, neck=1.0, labels=False))
    with Distiller(teacher, student, section.distill) as distiller:
        # The difference of features is over the teacher's mean square of a batch: made the same for all.
        distiller.expect(parts[0]["img"].float() / 255)
        training = Training(student, section, distiller)
        loss_of = training.loss_of
        training.loss_of = lambda batch: _mean_of_features(loss_of, training, batch)  # type: ignore[method-assign]
        apart, _, of_parts = gradients(training, *parts)
        whole, _, of_whole = gradients(training, joined(*parts))
    assert apart == pytest.approx(whole, rel=LOSS)
    for one, other in zip(of_parts, of_whole, strict=True):
        torch.testing.assert_close(one, other, **GRADIENT)


def _mean_of_features(loss_of: Any, training: Training, batch: dict[str, Any]) -> Any:
    """A loss that is a mean over images: of the squares of what the student predicts."""
    from torch.utils._pytree import tree_leaves

    leaves = [x for x in tree_leaves(training.student(batch["img"])) if isinstance(x, torch.Tensor)]
    loss = torch.stack([x.flatten(1).square().mean(1).mean() for x in leaves]).sum()
    return loss, {"squares": loss.detach()}


def test_a_criterion_that_divides_by_the_batchs_boxes_is_the_same_for_equal_parts(
    calibrated: Any, batches: Any
) -> None:
    training = Training(calibrated(), TrainSection(), None)
    apart, parts, of_parts = gradients(training, batches[0], batches[0])
    whole, expected, of_whole = gradients(training, joined(batches[0], batches[0]))
    assert apart == pytest.approx(whole, rel=LOSS) and parts.keys() == expected.keys()
    for one, other in zip(of_parts, of_whole, strict=True):
        torch.testing.assert_close(one, other, **GRADIENT)
    # For unequal parts it is not the same, but nearly: the direction is.
    _, _, of_parts = gradients(training, *batches)
    _, _, of_whole = gradients(training, joined(*batches))
    one, other = (torch.cat([g.flatten() for g in found]) for found in (of_parts, of_whole))
    cosine = float(torch.dot(one, other) / one.norm() / other.norm())
    assert 0.98 < cosine < 1 - 1e-7


def test_a_step_on_parts_is_that_on_the_whole_and_counts_every_second(calibrated: Any, batches: Any) -> None:
    def step(*parts: dict[str, Any]) -> tuple[dict[str, float], Training]:
        training = Training(calibrated(), TrainSection(optimizer="SGD", momentum=0.0, lr0=0.01, range_lr=0.0), None)
        training.student.train()
        return training.take_step(parts if len(parts) > 1 else parts[0], 1.0, 0.0), training

    apart, of_parts = step(batches[0], batches[0])
    whole, of_whole = step(joined(batches[0], batches[0]))
    assert apart == pytest.approx(whole, rel=1e-5)
    assert (of_parts.step, of_whole.step) == (1, 1) and of_parts.telemetry.keys() == of_whole.telemetry.keys()
    assert of_parts.telemetry["gradient"] == pytest.approx(of_whole.telemetry["gradient"], rel=1e-3)
    for one, other in zip(of_parts.parameters, of_whole.parameters, strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-4, atol=1e-6)


def test_no_batch_and_a_probe_of_several_are_refused(calibrated: Any, batches: Any) -> None:
    training = Training(calibrated(), TrainSection(), None)
    for nothing in ([], [{"img": torch.empty(0, 3, 64, 64)}]):
        with pytest.raises(ValueError, match="no image"):
            training.take_step(nothing, 1.0, 0.0)
    with pytest.raises(ValueError, match="one batch"):
        training.take_step(list(batches), 1.0, 0.0, probed=True)
