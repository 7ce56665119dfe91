"""Addresses of traced operations. Oracle: the module tree and its own forward hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgegd.quant.tracing import AddressedMode, trace

FORMS = [("yolo26n", True), ("yolo26n", False), ("yolo11n", None), ("yolov8n", None)]
IDS = ["yolo26n-end2end", "yolo26n-raw", "yolo11n", "yolov8n"]


class _Recorder(AddressedMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_operation(self, address, operation, func, args, kwargs):
        self.seen.append(address)
        return func(*args, **kwargs)


def _addresses(model, image):
    recorder = _Recorder()
    with torch.no_grad(), recorder.running(model):
        model(image)
    return recorder.seen


@pytest.mark.parametrize(("architecture", "end2end"), FORMS, ids=IDS)
def test_addresses_are_unique_and_the_same_in_a_second_trace(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    again = trace(one.model, torch.zeros(1, 3, 64, 64))
    assert len({op.address for op in one.ops}) == len(one.ops)
    assert again == one.ops


@pytest.mark.parametrize(("architecture", "end2end"), FORMS, ids=IDS)
def test_planned_addresses_are_met_in_training_too(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    try:
        in_training = set(_addresses(one.model.train(), torch.zeros(1, 3, 64, 64)))
    finally:
        one.model.eval()
    needed = {op.address for op in one.plan.ops if op.decision in ("integer", "move") or op.operation == "conv2d"}
    missing = needed - in_training
    assert {address for address in missing if ".dfl." not in address} == set()  # training needs no decoding


@pytest.mark.parametrize(("architecture", "end2end"), FORMS, ids=IDS)
def test_every_convolution_of_the_deployed_forward_is_found_and_the_other_head_is_not(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    convolutions = {name for name, module in one.model.named_modules() if isinstance(module, nn.Conv2d)}
    dead = {
        name for name in convolutions
        if end2end is not None and name.startswith(f"{one.head.path}.") and ("one2one" in name) != end2end
    }  # fmt: skip
    found = [op.module for op in one.ops if op.operation == "conv2d"]
    assert set(found) == convolutions - dead
    assert len(found) == len(set(found))
    assert bool(dead) == (end2end is not None)


def test_a_shared_module_is_addressed_below_its_caller(deployed):
    one = deployed("yolo26n", True)
    silus = [op for op in one.ops if op.operation == "silu"]
    shared = {id(one.model.get_submodule(op.module)) for op in silus}
    assert len(shared) < len(silus)  # Ultralytics does share one
    made_by = {op.address: op for op in one.ops}
    for op in silus:  # the SiLU of a Conv block reads the convolution of the same block
        (source,) = op.inputs
        assert made_by[source].module.rpartition(".")[0] == op.module.rpartition(".")[0]


class _Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.conv(x).detach().contiguous()
        self.unused(x)
        y += x
        return torch.cat([y + 1.0, self.conv(y)], 1)


def test_functional_operations_repeated_calls_and_copies_keep_their_lineage():
    ops = trace(_Residual(), torch.zeros(1, 3, 4, 4))
    assert [(op.address, op.inputs) for op in ops] == [
        ("conv:conv2d:0", ("input",)),
        (":add:0", ("conv:conv2d:0", "input")),
        (":add:1", (":add:0",)),
        ("conv:conv2d:1", (":add:0",)),
        (":cat:0", (":add:1", "conv:conv2d:1")),
    ]
    assert ops[-1].shape == (1, 6, 4, 4)


def test_an_exception_leaves_no_hook_behind():
    model = _Residual()
    with pytest.raises(RuntimeError):
        trace(model, torch.zeros(1, 5, 4, 4))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert model.training
