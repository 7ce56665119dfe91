"""Optimizers side by side on a small model. Oracles: the order of one epoch, steps made by hand, known gradients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from edgegd.descent.comparison import (
    FULL,
    OPTIMIZERS,
    POINTS,
    Contender,
    Trace,
    micro_batch,
    steps_in_all,
    steps_of_epoch,
    trained,
)
from edgegd.descent.gradient_noise import gradient_noise
from edgegd.descent.optimizers import make_optimizer
from edgegd.descent.taken_back import taken_back
from edgegd.descent.training import Training
from edgegd.detectors.loss_terms import LossTerm
from edgegd.detectors.losses import first_images
from edgegd.recipe.training import TrainSection

SECTION = TrainSection(epochs=2, batch=4, warmup_epochs=0.0)


class Numbered:
    """Epochs of ten images in batches of `size`; an image is its number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return -(-10 // self.size)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """Ten numbers from 10 times the epoch's on."""
        order = torch.arange(10) + 10 * number
        for batch in list(order.split(self.size))[first:]:
            yield {"img": batch}


@pytest.mark.parametrize(
    ("batch", "micro", "sizes"),
    [
        (1, 1, [1] * 10),
        (4, 4, [4, 4, 2]),
        (6, 3, [6, 4]),
        (8, 4, [8, 2]),
        (FULL, 4, [10]),
        (7, 1, [7, 3]),
        (50, 2, [10]),
    ],
)
def test_every_batch_sees_the_images_of_an_epoch_in_one_order(batch: Any, micro: int, sizes: list[int]) -> None:
    assert micro_batch(batch, 4) == micro
    seen, steps = [], 0
    for number in (1, 2):
        found = [torch.cat([part["img"] for part in parts]) for parts in steps_of_epoch(Numbered(micro), number, batch)]
        assert [len(step) for step in found] == sizes
        assert all(len(part["img"]) <= micro for parts in steps_of_epoch(Numbered(micro), 1, batch) for part in parts)
        seen += torch.cat(found).tolist()
        steps += len(found)
    assert seen == list(range(10, 30)) and steps_in_all(10, batch, 2) == steps


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_are_optimizers_with_one_rate_for_weights_and_biases(name: str, calibrated: Any) -> None:
    section = Contender(name, 4, 0.02).settings(SECTION)
    assert section.momentum == (0.0 if name == "SGD" else SECTION.momentum)
    assert Contender("SGD+momentum", 4, 1.0).settings(TrainSection(momentum=0.0)).momentum == 0.9
    optimizer = make_optimizer(calibrated(), section)
    assert type(optimizer).__name__ == name.partition("+")[0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02, 0.0, 0.0]


def run(student: Any, batches: Any, contender: Contender, epochs: int = 3, losses: Any = None) -> Trace:
    trace = Trace(0)
    training = Training(student, contender.settings(TrainSection(epochs=epochs, warmup_epochs=0.0)), None)
    with taken_back(student):
        trained(training, batches, contender, epochs, 8, losses or (lambda: 1.0), trace)
    return trace


def test_ranges_stay_and_the_trace_has_its_moments(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    ranges = [p.detach().clone() for ps in student.range_parameters().values() for p in ps]
    seen = []

    def judge() -> float:
        now = [p.detach() for ps in student.range_parameters().values() for p in ps]
        assert all(torch.equal(a, b) for a, b in zip(ranges, now, strict=True))
        seen.append(student.model.model[0].conv.weight.detach().clone())
        return float(len(seen))

    trace = run(student, batches, Contender("AdamW", 4, 1e-3), losses=judge)
    assert trace.images == [0, 4, 8, 12, 16, 20, 24] and len(trace.images) == POINTS + 1
    assert trace.losses == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] and trace.step_count == 6 and not trace.diverged
    assert trace.seconds[0] == 0 and trace.seconds == sorted(trace.seconds)
    assert [step["images"] for step in trace.steps] == trace.images[1:]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(seen))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_looking_changes_no_loss_and_full_batches_are_two_parts(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    looked = run(student, batches, Contender("SGD", FULL, 1e-3))
    assert looked.step_count == 3 and looked.images == [0, 8, 16, 24]
    training = Training(student, Contender("SGD", FULL, 1e-3).settings(TrainSection(epochs=3, warmup_epochs=0.0)), None)
    student.train()
    student.learn_ranges(False)
    first = training.take_step(list(batches), 1.0, 0.0)
    assert looked.training_losses[0] == first["loss"]


def test_a_tiny_step_undershoots_and_a_divergence_ends_the_trace(calibrated: Any, batches: Any) -> None:
    tiny = run(calibrated(), batches, Contender("SGD", 4, 1e-7), epochs=1)
    assert all(step["kind"] == "undershooting" for step in tiny.steps)
    assert all(step["alpha"] == pytest.approx(-1, abs=0.05) for step in tiny.steps)
    wild = run(calibrated(), batches, Contender("SGD", 4, 1e9), losses=iter([1.0, float("nan")]).__next__)
    assert wild.diverged and wild.step_count == 1 and len(wild.losses) == 2


def test_noise_and_slope_are_those_of_known_gradients(calibrated: Any, batches: Any) -> None:
    """Oracle: batches whose loss is a number times one parameter's sum: gradients are that number everywhere."""
    student = calibrated()
    training = Training(student, TrainSection(), None)
    parameter = next(p for p in training.parameters if p.requires_grad)

    def terms_of(batch: dict[str, Any]) -> Any:
        return [LossTerm(parameter.sum() * batch["slope"], {}, len(batch["img"]))]

    training.terms_of = terms_of  # type: ignore[method-assign]
    training.prepared = lambda batch: batch  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    images = batches[0]["img"]
    given = [{"img": images, "slope": slope} for slope in (1.0, 2.0, 3.0)] + [{"img": images[:1], "slope": 99.0}]
    found = gradient_noise(training, given)
    assert found is not None
    count = parameter.numel()
    # The variance of 1, 2, 3 is 1, of batches of 4 images; the mean 2 squared less a third of it.
    assert found.noise == pytest.approx(4 * count, rel=1e-5)
    assert found.slope == pytest.approx((4 - 1 / 3) * count, rel=1e-5)
    assert found.scale == pytest.approx(found.noise / found.slope)
    opposite = [{"img": images, "slope": slope} for slope in (1.0, -1.0)]
    noise = gradient_noise(training, opposite)
    assert noise is not None and noise.scale is None and noise.slope < 0
    assert gradient_noise(training, given[:1]) is None and gradient_noise(training, []) is None
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in training.parameters)
    assert len(first_images(batches[0], 1)["img"]) == 1
