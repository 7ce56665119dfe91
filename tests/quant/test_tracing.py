"""Addresses of traced operations. Oracle: the module tree and its own forward hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_modules

from edgegd.quant.tracing import AddressedMode, trace

FORMS = [
    ("yolo26n", True),
    ("yolo26n", False),
    ("yolo11n", None),
    ("yolov8n", None),
    ("yolov9t", None),
    ("yolov10n", True),
    ("yolo12n", None),
    ("rtdetr-l", None),
]
IDS = ["yolo26n-end2end", "yolo26n-raw", "yolo11n", "yolov8n", "yolov9t", "yolov10n", "yolo12n", "rtdetr-l"]


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
        name
        for name in convolutions
        if end2end is not None and name.startswith(f"{one.head.path}.c" if end2end else f"{one.head.path}.one2one")
    }
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


class _Naming(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.kernel = nn.Parameter(torch.ones(3, 3, 1, 1))

    def forward(self, x):
        y = F.conv2d(self.drop(self.act(x * 2)), self.kernel)
        y = F.interpolate(F.interpolate(y, scale_factor=2), size=4, mode="bilinear")
        y = F.pad(F.pad(y, [1, 1]), [1, 1], value=2.0)
        y = F.pad(y, [1, 1, 1, 1], "reflect")[:, :2, :, torch.tensor([0, 1])]
        y = F.leaky_relu(F.hardswish(y.flatten(2).unsqueeze(0).permute(0, 1, 3, 2))).chunk(2, 1)[0]
        q = F.max_pool2d(F.avg_pool2d(y[:1], 1), 1).squeeze(0)
        q = F.gelu(F.layer_norm(F.linear(q, self.kernel.new_ones(2, 2)), [2]))
        return F.scaled_dot_product_attention(q, q, q) @ q.softmax(-1).transpose(1, 2)


def test_operations_are_named_by_what_they_compute():
    ops = trace(_Naming(), torch.zeros(1, 3, 4, 4))
    assert [op.operation for op in ops] == [
        "mul",
        "relu",
        "functional_conv2d",
        "interpolate",
        "interpolate_bilinear",
        "pad",
        "pad_constant",
        "pad_reflect",
        "index",
        "reshape",
        "reshape",
        "transpose",
        "hardswish",
        "leaky_relu",
        "split",
        "slice",
        "avg_pool2d",
        "max_pool2d",
        "reshape",
        "linear",
        "layer_norm",
        "gelu",
        "scaled_dot_product_attention",
        "softmax",
        "transpose",
        "matmul",
    ]
    assert [op.address for op in ops[:3]] == [":mul:0", "act:relu:0", ":conv2d:0"]


def test_modules_of_another_model_do_not_count():
    inner = nn.Sequential(nn.Conv2d(3, 3, 1))

    class Outer(nn.Module):
        def forward(self, x):
            return inner(x) + x

    ops = trace(Outer(), torch.zeros(1, 3, 4, 4))
    assert [op.address for op in ops] == [":conv2d:0", ":add:0"] and ops[0].operation == "functional_conv2d"


def test_an_exception_leaves_no_hook_behind():
    model = _Residual()
    with pytest.raises(RuntimeError):
        trace(model, torch.zeros(1, 5, 4, 4))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert not torch_modules._global_forward_hooks and not torch_modules._global_forward_pre_hooks
    assert model.training
