"""Accumulated gradients. Oracles: one batch of all images where the loss is a mean over them, sums made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from edgegd.descent.training import Training
from edgegd.detectors.losses import first_images
from edgegd.recipe.training import TrainSection

# float32 sums in another order: of the loss a millionth, of gradients through all layers some ten thousandths.
LOSS = 1e-4  # on some CPUs the sums of a larger batch round one code of an activation the other way
PLAIN = TrainSection(optimizer="SGD", momentum=0.0, lr0=0.01, range_lr=0.0, grad_clip=0.0)


def joined(*batches: dict[str, Any]) -> dict[str, Any]:
    """The images of all batches as one."""
    first = torch.tensor([0, *(len(batch["img"]) for batch in batches)]).cumsum(0)
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in ("img", "cls", "bboxes")}
    owners = [batch["batch_idx"] + int(start) for start, batch in zip(first, batches, strict=False)]
    return whole | {"batch_idx": torch.cat(owners)}


@pytest.fixture
def mean_training(calibrated: Any) -> Callable[[], Training]:
    """A new training whose loss is a mean over images: of the squares of what the student predicts."""

    def make() -> Training:
        training = Training(calibrated(), PLAIN, None)
        training.student.train()

        def loss_of(batch: dict[str, Any], images: Any) -> Any:
            leaves = [x for x in tree_leaves(training.student(batch["img"])) if isinstance(x, torch.Tensor)]
            loss = torch.stack([x.flatten(1).square().mean(1).mean() for x in leaves]).sum()
            return loss, {"squares": loss.detach()}

        training.loss_of = loss_of  # type: ignore[method-assign]
        return training

    return make


def gradients(training: Training, *batches: dict[str, Any]) -> tuple[float, dict[str, float], list[torch.Tensor]]:
    loss, parts = training.accumulated_gradient(batches)
    found = [p.grad.clone() for p in training.parameters if p.grad is not None]
    return float(loss), {name: float(part) for name, part in parts.items()}, found


@pytest.mark.parametrize("sizes", [(4, 4), (4, 1), (2, 3)])
def test_parts_are_the_whole(sizes: tuple[int, int], mean_training: Any, batches: Any) -> None:
    parts = [first_images(batch, size) for batch, size in zip(batches, sizes, strict=True)]
    apart, named, of_parts = gradients(mean_training(), *parts)
    whole, _, of_whole = gradients(mean_training(), joined(*parts))
    assert apart == pytest.approx(whole, rel=LOSS) and named == {"squares": pytest.approx(whole, rel=LOSS)}
    assert len(of_parts) == len(of_whole) > 40
    for one, other in zip(of_parts, of_whole, strict=True):
        # Of a tensor as a whole: a code that is rounded the other way moves single values by a percent.
        assert float((one - other).norm()) <= 1e-2 * float(other.norm()) + 1e-5


def test_a_step_on_parts_is_that_on_the_whole(mean_training: Any, batches: Any) -> None:
    of_parts, of_whole = mean_training(), mean_training()
    start = [p.detach().clone() for p in of_parts.parameters]
    apart = of_parts.take_step(list(batches), 1.0, 0.0)
    whole = of_whole.take_step(joined(*batches), 1.0, 0.0)
    assert apart == pytest.approx(whole, rel=LOSS)
    assert (of_parts.step, of_whole.step) == (1, 1) and of_parts.telemetry.keys() == of_whole.telemetry.keys()
    assert of_parts.telemetry["gradient"] == pytest.approx(of_whole.telemetry["gradient"], rel=1e-3)
    moved = 0
    for one, other, before in zip(of_parts.parameters, of_whole.parameters, start, strict=True):
        torch.testing.assert_close(one.detach() - before, other.detach() - before, rtol=2e-3, atol=1e-7)
        moved += not torch.equal(one.detach(), before)
    assert moved > 40


def test_a_criterion_of_labels_counts_each_part_by_its_images(calibrated: Any, batches: Any) -> None:
    """Ultralytics' divides by the boxes matched in a batch, so the parts' own losses are what is added."""
    parts = [batches[0], first_images(batches[1], 2)]
    apart, named, of_parts = gradients(_training(calibrated), *parts)
    alone = [gradients(_training(calibrated), part) for part in parts]
    assert apart == pytest.approx((4 * alone[0][0] + 2 * alone[1][0]) / 6, rel=LOSS)
    for name, value in named.items():
        assert value == pytest.approx((4 * alone[0][1][name] + 2 * alone[1][1][name]) / 6, rel=1e-5)
    for one, first, second in zip(of_parts, alone[0][2], alone[1][2], strict=True):
        torch.testing.assert_close(one, (4 * first + 2 * second) / 6, rtol=2e-3, atol=1e-5)


def _training(calibrated: Any) -> Training:
    training = Training(calibrated(), PLAIN, None)
    training.student.train()
    return training


def test_no_batch_and_a_probe_of_several_are_refused(calibrated: Any, batches: Any) -> None:
    training = Training(calibrated(), TrainSection(), None)
    for nothing in ([], [{"img": torch.empty(0, 3, 64, 64)}]):
        with pytest.raises(ValueError, match="no image"):
            training.take_step(nothing, 1.0, 0.0)
    with pytest.raises(ValueError, match="one batch"):
        training.take_step(list(batches), 1.0, 0.0, probed=True)
