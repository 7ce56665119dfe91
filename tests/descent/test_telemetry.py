"""What is recorded of steps. Oracles: the descent without it, bit for bit; gradients and weights by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from descent_listener import scores_of
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from edgegd.descent.fine_tune import fine_tune
from edgegd.descent.listener import Storage
from edgegd.descent.telemetry import Probe, looked_at, resident_mb
from edgegd.descent.training import Training
from edgegd.detectors.losses import first_images
from edgegd.recipe.training import Distillation, TrainSection


def trained(student: Any, batches: Any, folder: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a descent's log, and the student's state after it."""
    section = TrainSection(epochs=3, lr0=1e-3, warmup_epochs=0.5, ema_decay=0.9, **settings)
    fine_tune(student, batches, section, scores_of(), storage=Storage(log=folder / "steps.jsonl"))
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return rows, {name: value.clone() for name, value in student.state_dict().items()}


@pytest.mark.parametrize("kind", ["quantized", "learned", "end2end", "swapped"])
@pytest.mark.parametrize("oscillation", ["off", "freeze"])
def test_looking_changes_no_bit(
    kind: str, oscillation: str, calibrated: Any, swapped: Any, batches: Any, tmp_path: Path
) -> None:
    if kind == "swapped" and oscillation != "off":
        pytest.skip("a float student has no codes that oscillate")
    make = {
        "quantized": calibrated,
        "learned": lambda: calibrated(learned=True),
        "end2end": lambda: calibrated("small-end2end", True),
        "swapped": swapped,
    }[kind]
    rows, state = trained(make(), batches, tmp_path, probe_every=0, oscillation=oscillation)
    seen, same = trained(make(), batches, tmp_path, probe_every=1, oscillation=oscillation)
    assert [row["loss"] for row in seen] == [row["loss"] for row in rows]
    assert all(torch.equal(value, same[name]) for name, value in state.items())
    # From the first step at the full rate on: half an epoch of two steps is warm-up.
    assert ["detail" in row for row in seen] == [False, True, True, True, True, True]
    assert not any("detail" in row for row in rows)


def test_every_nth_step_is_looked_at(calibrated: Any, batches: Any, tmp_path: Path) -> None:
    rows, _ = trained(calibrated(), batches, tmp_path, probe_every=2)
    assert [row["step"] for row in rows if "detail" in row] == [2, 4, 6]
    rows, _ = trained(calibrated(), batches, tmp_path, probe_every=1000)
    assert [row["step"] for row in rows if "detail" in row] == [2]


def test_a_row_has_the_parts_of_a_step(calibrated: Any, batches: Any, tmp_path: Path) -> None:
    rows, _ = trained(calibrated(), batches, tmp_path, grad_clip=1e-3)
    assert all(row["clipped"] for row in rows)
    for row in rows:
        assert set(row["seconds"]) == {"data", "forward", "backward", "update"}
        assert all(seconds >= 0 for seconds in row["seconds"].values())
        groups = {name: value for name, value in row["gradient"].items() if name != "all"}
        assert math.isclose(row["gradient"]["all"], math.hypot(*groups.values()), rel_tol=1e-5)
    assert set(rows[0]["gradient"]) == {"weights", "biases", "scales", "zero_points", "all"}
    assert set(rows[-1]["gradient"]) == {"weights", "biases", "all"}  # ranges are frozen in the last epoch
    free, _ = trained(calibrated(), batches, tmp_path, grad_clip=0.0)
    assert not any(row["clipped"] for row in free) and free[0]["gradient"] == rows[0]["gradient"]


def test_details_are_what_the_step_did(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    training = Training(student, TrainSection(lr0=1e-3, grad_clip=1e-3), None)
    student.train()
    before = {name: value.detach().clone() for name, value in student.model.named_parameters()}
    codes = {name: (before[f"{name}.weight"] / _scale(student, name)).round() for name in _layers(student)}
    first = training.take_step(batches[0], 1.0, 0.0, probed=True)
    detail = training.telemetry["detail"]
    for name in _layers(student):
        weight, start = dict(student.model.named_parameters())[f"{name}.weight"], before[f"{name}.weight"]
        row = detail["layers"][name]
        assert row["update"] == pytest.approx(float((weight.detach() - start).norm() / start.norm()), rel=1e-4)
        assert row["size"] == pytest.approx(float(start.norm()), rel=1e-5)
    # The gradient before clipping: of all layers together, that of the groups.
    whole = math.hypot(*(row["gradient"] for row in detail["layers"].values()))
    groups = training.telemetry["gradient"]
    assert whole == pytest.approx(math.hypot(groups["weights"], groups["biases"]), rel=1e-4)
    student.update_ranges()
    for name, share in detail["codes_changed"].items():
        weight = dict(student.model.named_parameters())[f"{name}.weight"]
        now = (weight / _scale(student, name)).round()
        assert share == pytest.approx(float((now != codes[name]).float().mean()), abs=1e-6)
    assert detail["step_length"]["all"]["losses"][0] == first["loss"]
    again = Training(student, TrainSection(lr0=0.0, range_lr=0.0), None).take_step(batches[0], 1.0, 0.0)
    assert detail["step_length"]["all"]["losses"][1] == again["loss"]
    assert detail["step_length"]["all"]["kind"] in ("undershooting", "at the minimum", "overshooting", "beyond")
    assert 0 < detail["ema_distance"] < 0.1


def test_a_huge_rate_overshoots_and_a_tiny_one_undershoots(calibrated: Any, batches: Any) -> None:
    def kind(lr0: float) -> str:
        student = calibrated()
        training = Training(student, TrainSection(lr0=lr0, range_lr=0.0, grad_clip=0.0, optimizer="SGD"), None)
        student.train()
        training.take_step(batches[0], 1.0, 0.0, probed=True)
        return training.telemetry["detail"]["step_length"]["all"]["kind"]  # type: ignore[no-any-return]

    assert kind(1e-6) == "undershooting" and kind(0.3) in ("overshooting", "beyond")


def test_shares_of_ranges_are_counted_by_hand(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    student.train()
    images = batches[0]["img"][:2].float() / 255
    values: dict[str, list[torch.Tensor]] = {}
    student.watch = lambda address, x: values.setdefault(student.plan.groups[address], []).append(x.detach().flatten())
    student(images)
    student.watch = None
    rows = looked_at(student, images)
    assert rows.keys() == values.keys() and len(rows) > 20
    for group, parts in values.items():
        quantizer, x = student.range_of(group), torch.cat(parts)
        codes = (x / quantizer.scale).round() + quantizer.zero_point
        assert rows[group]["above"] == pytest.approx(float((codes > 255).float().mean()), abs=1e-6)
        if quantizer.learns != "scale":
            assert rows[group]["below"] == pytest.approx(float((codes < 0).float().mean()), abs=1e-6)
        assert rows[group]["used"] == len(codes.clamp(0, 255).unique()) / 256
        assert (rows[group]["scale"], rows[group]["zero_point"]) == (quantizer.scale_value, int(quantizer.zero_point))


def test_dead_and_saturated_channels_are_counted_by_hand(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    student.train()
    name = _layers(student)[0]
    layer, images = student.model.get_submodule(name), batches[0]["img"][:2].float() / 255
    with torch.no_grad():
        layer.weight[:3] = 0.0
        layer.bias[:3] = 0.0
    # Its result before SiLU, in a range so narrow that other channels lie outside.
    group = student.plan.groups[f"{name}:conv2d:0"]
    quantizer = student.range_of(group)
    with torch.no_grad():
        quantizer.log_scale.sub_(4.0)
    student.update_ranges()
    addresses = [address for address, of in student.plan.groups.items() if of == group]
    values: list[torch.Tensor] = []
    student.watch = lambda address, x: values.append(x.detach()) if address in addresses else None
    student(images)
    student.watch = None
    dead, saturated, channels = 0, 0, 0
    for x in values:
        for channel in (x / quantizer.scale).round().add(int(quantizer.zero_point)).transpose(0, 1):
            dead += len(channel.clamp(0, 255).unique()) == 1
            saturated += float(((channel < 0) | (channel > 255)).float().mean()) > 0.5
            channels += 1
    row = looked_at(student, images)[group]
    assert (row["dead"], row["saturated"]) == (dead / channels, saturated / channels)
    assert dead >= 3 and 0 < saturated < channels


def test_the_noise_scale_is_that_of_the_images_own_gradients(calibrated: Any, batches: Any) -> None:
    """Oracle: a loss that is a mean over images, whose two halves are equal; then one whose halves are opposite."""
    student = calibrated()
    section = TrainSection()
    images = torch.cat([batches[0]["img"][:2].float() / 255] * 2)
    batch = {**batches[0], "img": images}
    signs = torch.ones(4)

    def loss_of(part: dict[str, Any]) -> torch.Tensor:
        leaves = [x for x in tree_leaves(student(part["img"])) if isinstance(x, torch.Tensor)]
        return sum((x.flatten(1).mean(1) * signs[: len(x)]).mean() for x in leaves)  # type: ignore[return-value]

    def gradients_of(parts: Any, parameters: Any) -> Any:
        loss = loss_of(parts[0])
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return float(loss.detach()), [
            torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)
        ]

    def noise_scale() -> Any:
        training = Training(student, section, None)
        student.train()
        loss = loss_of(batch)
        training.optimizer.zero_grad()
        loss.backward()
        return Probe(student, training.optimizer, [batch], float(loss.detach()), gradients_of, images)._noise_scale()

    assert noise_scale() == pytest.approx(0, abs=1e-3)
    signs[2:] = 0.0  # the second half has no gradient: the batch's is half of the first half's
    # Of 4 images |g|^2 = 1, of 2 images 4: slope (4 - 2 * 4) / 2 < 0, so the batch says nothing but noise.
    assert noise_scale() is None
    signs[2:] = 0.5  # 9/16 and 1: slope (4 * 9/16 - 2) / 2 = 1/8, noise (1 - 9/16) / (1/4) = 7/4
    assert noise_scale() == pytest.approx(14, rel=1e-3)


def test_a_batch_of_one_image_has_no_half(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    training = Training(student, TrainSection(), None)
    student.train()
    training.take_step(first_images(batches[0], 1), 1.0, 0.0, probed=True)
    detail = training.telemetry["detail"]
    assert detail["noise_scale"] is None and detail["step_length"]["all"]["deviation"] is None


def test_distillation_is_looked_at_too(calibrated: Any, batches: Any, tmp_path: Path) -> None:
    def run(every: int) -> list[float]:
        student = calibrated()
        teacher = calibrated().model.eval()
        section = TrainSection(epochs=1, probe_every=every, distill=Distillation(head=1.0, neck=1.0))
        storage = Storage(log=tmp_path / "steps.jsonl")
        fine_tune(student, batches, section, scores_of(), teacher=teacher, storage=storage)
        return [json.loads(line)["loss"] for line in storage.log.read_text().splitlines()]  # type: ignore[union-attr]

    assert run(0) == run(1)


def test_silus_are_looked_at_before_they_are_quantized(calibrated: Any, batches: Any) -> None:
    student = calibrated()
    student.train()
    seen: dict[str, torch.Tensor] = {}
    student.watch = lambda address, x: seen.setdefault(address, x.detach())
    student(batches[0]["img"].float() / 255)
    for op in student.plan.ops:
        if op.operation == "silu" and op.decision == "integer":
            before = student.range_of(student.plan.groups[op.inputs[0]])(seen[op.inputs[0]])
            assert torch.equal(seen[op.address], F.silu(before))


def _layers(student: Any) -> list[str]:
    return [op.weight for op in student.plan.ops if op.weight and op.decision == "integer"]


def _scale(student: Any, name: str) -> torch.Tensor:
    return student.weights[name.replace(".", "/")].scale.clone().view(-1, 1, 1, 1)  # type: ignore[no-any-return]


def test_a_full_disk_ends_the_log_and_not_the_training(
    calibrated: Any, batches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, state = trained(calibrated(), batches, tmp_path)
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    # As a disk that takes so many bytes of a file and no more: the fourth line stops in its middle.
    lines = (tmp_path / "steps.jsonl").read_bytes().splitlines(keepends=True)
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)  # lines of equal length
    monkeypatch.setattr("edgegd.descent.telemetry.resident_mb", lambda: None)
    trained(calibrated(), batches, tmp_path)
    lines = (tmp_path / "steps.jsonl").read_bytes().splitlines(keepends=True)
    old, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sum(map(len, lines[:3])) + 10, old[1]))
    section = TrainSection(epochs=3, lr0=1e-3, warmup_epochs=0.5, ema_decay=0.9)
    student = calibrated()
    try:
        descent = fine_tune(student, batches, section, scores_of(), storage=Storage(log=tmp_path / "full.jsonl"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert descent.unrecorded == "full.jsonl ends before step 4: File too large"
    assert (tmp_path / "full.jsonl").read_bytes() == b"".join(lines[:3])
    assert len(descent.epochs) == 3 and whole[-1]["step"] == 6
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items())


def test_memory_is_what_the_system_says_in_kilobytes() -> None:
    status = Path("/proc/self/status")  # in kB, whatever the size of a page (16 kB on some ARM64 systems)
    if not status.exists():
        pytest.skip("no /proc")
    said = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    assert resident_mb() == pytest.approx(said * 1024 / 1e6, rel=0.05)
