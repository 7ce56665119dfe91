"""Losses of single images. Oracles: the criterion on each image alone; the descent without a record, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from descent_listener import scores_of

from edgegd.descent import image_losses
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.image_losses import ImageLossRecord
from edgegd.descent.listener import Storage
from edgegd.detectors import losses
from edgegd.detectors.families.image_losses import Captured, EachAlone, batch_of, rows_of
from edgegd.detectors.families.registry import family_of
from edgegd.recipe.training import Distillation, TrainSection

ALONE = 1e-5
"""Of a loss: float32 sums in another order."""


class Named(list[dict[str, Any]]):
    """Batches whose images have names: 0.png, 1.png, ..."""

    def __init__(self, batches: Any, **keys: Any) -> None:
        count = len(batches[0]["img"])
        super().__init__(
            {**batch, "im_file": tuple(f"{count * number + image}.png" for image in range(count)), **keys}
            for number, batch in enumerate(batches)
        )
        self.files = [name for batch in self for name in batch["im_file"]]

    def epoch(self, number: int, first: int = 0) -> Any:
        """Those of an epoch from number `first` on."""
        return iter(self[first:])


def descended(
    student: Any, batches: Any, record: ImageLossRecord | None, teacher: Any = None, **settings: Any
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The student's state and torch's random state after three epochs of two steps."""
    torch.manual_seed(3)
    section = TrainSection(**{"epochs": 3, "lr0": 1e-3, "warmup_epochs": 0.5, "ema_decay": 0.9, **settings})
    fine_tune(student, batches, section, scores_of(), teacher=teacher, storage=Storage(images=record))
    return {name: value.clone() for name, value in student.state_dict().items()}, torch.get_rng_state()


@pytest.mark.parametrize("kind", ["raw", "end2end", "raw of two heads", "float"])
def test_captured_losses_are_those_of_each_image_alone(kind: str, calibrated: Any, swapped: Any, batches: Any) -> None:
    make = {
        "raw": calibrated,
        "end2end": lambda: calibrated("small-end2end", True),
        "raw of two heads": lambda: calibrated("small-end2end", False),
        "float": swapped,
    }[kind]
    student = make()
    student.train()
    for module in student.modules():  # as one batch and alone, BatchNorm must do the same
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    batch = {**batches[0], "img": batches[0]["img"].float() / 255}
    owns = batch["batch_idx"] != 2  # image 2 is background, image 3 has one box more
    batch |= {key: torch.cat([batch[key][owns], batches[1][key][:1]]) for key in ("cls", "bboxes")}
    batch["batch_idx"] = torch.tensor([0.0, 1.0, 3.0, 3.0])
    measured = losses.image_losses(student)
    assert isinstance(measured, Captured)
    with torch.no_grad():
        predictions = losses.predict(student, batch)
        loss, _ = losses.label_loss(student, batch, predictions)
    found = measured.of(batch, predictions)
    measured.close()
    alone = []
    for index in range(4):
        chosen = torch.arange(4) == index
        one, own = batch_of(batch, chosen), rows_of(predictions, chosen)  # run alone, AVX2 rounds some codes otherwise
        with torch.no_grad():
            alone.append(float(losses.label_loss(student, one, own)[0]))
    assert found.tolist() == pytest.approx(alone, rel=ALONE)
    assert EachAlone(family_of(student.model), student.model).of(batch, predictions).tolist() == pytest.approx(
        alone, rel=ALONE
    )
    assert len(set(found.tolist())) == 4 and float(loss) not in alone
    background = batch_of(batch, torch.arange(4) == 2)
    assert len(background["cls"]) == 0 and alone[2] > 0


@pytest.mark.parametrize("kind", ["raw", "end2end"])
def test_recording_changes_no_bit(kind: str, calibrated: Any, batches: Any) -> None:
    arguments = ("small", None) if kind == "raw" else ("small-end2end", True)
    named = Named(batches)
    record = ImageLossRecord(named.files)
    without, random_without = descended(calibrated(*arguments), named, None, oscillation="freeze", probe_every=1)
    found, random_with = descended(calibrated(*arguments), named, record, oscillation="freeze", probe_every=1)
    assert all(torch.equal(value, found[name]) for name, value in without.items())
    assert torch.equal(random_without, random_with)
    stored = record.tensors()
    assert stored["epochs"].tolist() == [1, 2, 3] and not stored["losses"].isnan().any()


def test_rows_are_the_losses_before_each_step(calibrated: Any, batches: Any) -> None:
    named, student = Named(batches), calibrated()
    record = ImageLossRecord(named.files)
    student.train()
    first = batch_of({**named[0], "img": named[0]["img"].float() / 255}, torch.arange(4) == 1)
    with torch.no_grad():
        expected = float(losses.label_loss(student, first, losses.predict(student, first))[0])
    descended(student, named, record)
    rows = record.tensors()["losses"]
    assert rows.shape == (3, 8) and float(rows[0, 1]) == pytest.approx(expected, rel=ALONE)
    assert float(rows[2].mean()) < float(rows[0].mean())
    assert not student.model.criterion.bce._forward_hooks and not student.model.criterion.bbox_loss._forward_hooks


def test_mixed_unlabelled_and_unknown_images_have_no_loss(calibrated: Any, batches: Any) -> None:
    labelled = torch.tensor([True, False, True, True])
    named = Named([batch_of_labelled(batch, labelled) for batch in batches], mixed=[False, False, True, False])
    record = ImageLossRecord(named.files[:7])
    distill, teacher = Distillation(neck=1.0), calibrated().model.eval()
    descended(calibrated(), named, record, teacher=teacher, distill=distill, epochs=1)
    rows = record.tensors()["losses"]
    assert (~rows.isnan()).tolist() == [[True, False, False, True, True, False, False]]
    without_labels = ImageLossRecord(named.files)
    settings = {"teacher": teacher, "distill": Distillation(neck=1.0, labels=False), "epochs": 1}
    descended(calibrated(), named, without_labels, **settings)
    assert without_labels.tensors()["losses"].shape == (0, 8)


def batch_of_labelled(batch: dict[str, Any], labelled: torch.Tensor) -> dict[str, Any]:
    """A batch in which only some images have labels."""
    own = labelled[batch["batch_idx"].long()]
    return {**batch, **{key: batch[key][own] for key in ("cls", "bboxes", "batch_idx")}, "labelled": labelled}


def test_a_record_goes_on_from_its_tensors(calibrated: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    named = Named(batches)
    record, again = ImageLossRecord(named.files), ImageLossRecord(named.files)
    descended(calibrated(), named, record)
    again.restore(record.tensors())
    assert again.epochs == [1, 2, 3] and torch.equal(again.tensors()["losses"], record.tensors()["losses"])
    again.restore({})  # a checkpoint of before there were rows
    assert again.epochs == [] and again.tensors()["losses"].shape == (0, 8)
    monkeypatch.setattr(image_losses, "MOST_ROWS", 2)
    few = ImageLossRecord(named.files)
    descended(calibrated(), named, few)
    found = few.tensors()
    assert found["epochs"].tolist() == [2, 3] and torch.equal(found["losses"], record.tensors()["losses"][1:])
