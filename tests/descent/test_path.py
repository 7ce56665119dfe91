"""The recorded way of a descent. Oracles: the descent without it, bit for bit; the weights themselves."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors.torch
import torch
from descent_listener import scores_of

from edgegd.descent import path
from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Storage
from edgegd.descent.path import PathRecord, filters_of, path_bytes, weight_sample
from edgegd.recipe.training import TrainSection


def descended(student: Any, batches: Any, record: PathRecord | None, **settings: Any) -> dict[str, torch.Tensor]:
    """The student's state after three epochs of two steps."""
    section = TrainSection(epochs=3, lr0=1e-3, warmup_epochs=0.5, ema_decay=0.9, **settings)
    fine_tune(student, batches, section, scores_of(), storage=Storage(path=record))
    return {name: value.clone() for name, value in student.state_dict().items()}


@pytest.mark.parametrize("oscillation", ["off", "freeze"])
def test_recording_changes_no_bit(oscillation: str, calibrated: Any, batches: Any) -> None:
    without = descended(calibrated(), batches, None, oscillation=oscillation)
    record = PathRecord()
    found = descended(calibrated(), batches, record, oscillation=oscillation)
    assert all(torch.equal(value, found[name]) for name, value in without.items())
    assert record.steps == [0, 1, 2, 3, 4, 5, 6]


def test_rows_are_the_weights_themselves(calibrated: Any, batches: Any) -> None:
    student, record = calibrated(), PathRecord()
    sample = weight_sample(filters_of(student.model))
    start = sample.of(filters_of(student.model)).clone()
    descended(student, batches, record)
    assert torch.equal(record.weights[0], start) and torch.equal(record.average[0], start)
    assert torch.equal(record.weights[-1], sample.of(filters_of(student.model)))
    assert not torch.equal(record.weights[-1], record.weights[-2])
    # The average by its definition: decay min(0.9, (1 + n) / (10 + n)) after n steps.
    average = start.double()
    for step, row in enumerate(record.weights[1:], 1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * row.double()
    torch.testing.assert_close(record.average[-1].double(), average, rtol=1e-5, atol=1e-7)


def test_a_long_descent_has_few_rows(calibrated: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "MOST_ROWS", 3)
    record = PathRecord()
    descended(calibrated(), batches, record)
    assert record.steps == [0, 3, 6]
    monkeypatch.setattr(path, "MOST_ROWS", 4)
    record = PathRecord()
    fine_tune(calibrated(), batches, TrainSection(epochs=5), scores_of(), storage=Storage(path=record))
    assert record.steps == [0, 4, 8, 10]  # the last step is there, whatever the distance


def test_every_tensor_has_its_share_of_filters(calibrated: Any) -> None:
    weights = filters_of(calibrated().model)
    sample = weight_sample(weights, 500)
    filters = sum(len(weight) for weight in weights.values())
    for name, chosen in sample.positions.items():
        assert len(chosen.unique()) == len(chosen) <= weights[name].numel()
        assert len(chosen) == min(max(1, round(500 * len(weights[name]) / filters)), weights[name].numel())
    # Each number stands for as many weights as all of its tensor's numbers together have.
    assert float(sample.counts.sum()) == pytest.approx(sum(weight.numel() for weight in weights.values()))
    assert all(
        torch.equal(a, b) for a, b in zip(*(weight_sample(weights, 500).positions.values() for _ in "ab"), strict=True)
    )


def test_the_file_has_the_last_state_and_the_rows(calibrated: Any, batches: Any) -> None:
    student, record = calibrated(), PathRecord()
    state = descended(student, batches, record)
    stored = safetensors.torch.load(path_bytes(student, record))
    assert {name for name in stored if name.startswith("last/")} == {f"last/{name}" for name in state}
    assert all(torch.equal(stored[f"last/{name}"], value) for name, value in state.items())
    assert (
        stored["path/weights"].shape == stored["path/average"].shape and stored["path/steps"].tolist() == record.steps
    )
    again = PathRecord()
    again.restore({name.removeprefix("path/"): value for name, value in stored.items() if name.startswith("path/")})
    assert again.steps == record.steps and torch.equal(again.weights[3], record.weights[3])
    again.restore({})  # a checkpoint of before there were rows
    assert again.steps == [] and again.weights == []
