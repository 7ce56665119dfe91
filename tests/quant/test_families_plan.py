"""The plan of every detection family. Oracle: the module tree, and the rules restated on the traced graph."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from edgegd.plan.attention import planned_attentions
from edgegd.plan.planning import build_plan
from edgegd.quant.tracing import trace

# (architecture, end2end) -> integer convolutions, box convolutions, other float convolutions (the DFL's)
CONVOLUTIONS = {
    ("yolov8n", None): (60, 3, 1),
    ("yolov8s", None): (60, 3, 1),
    ("yolov9t", None): (182, 3, 1),
    ("yolov9s", None): (182, 3, 1),
    ("yolov10n", True): (79, 3, 1),
    ("yolov10n", False): (79, 3, 1),
    ("yolov10s", True): (82, 3, 1),
    ("yolo11n", None): (84, 3, 1),
    ("yolo11s", None): (84, 3, 1),
    ("yolo12n", None): (116, 3, 1),
    ("yolo12s", None): (116, 3, 1),
    ("yolo26n", True): (99, 3, 0),
    ("yolo26n", False): (99, 3, 0),
    ("yolo26s", True): (99, 3, 0),
    ("yolo26s", False): (99, 3, 0),
    ("rtdetr-l", None): (110, 0, 0),
}
ALL = pytest.mark.parametrize(("architecture", "end2end"), CONVOLUTIONS, ids=[f"{a}-{e}" for a, e in CONVOLUTIONS])
ONE_SIZE = pytest.mark.parametrize(
    ("architecture", "end2end"),
    [
        ("yolov8n", None),
        ("yolov9t", None),
        ("yolov10n", True),
        ("yolo11n", None),
        ("yolo12n", None),
        ("yolo26n", True),
        ("rtdetr-l", None),
    ],
)
TIED = {"max_pool2d", "interpolate", "split", "reshape", "transpose", "slice", "pad"}


@ALL
def test_every_convolution_is_integer_but_boxes_and_dfl(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    kept_float = one.plan.convolutions("float")
    boxes = [op for op in kept_float if op.rule == "box-convolution"]
    others = [op.address for op in kept_float if op.rule != "box-convolution"]
    assert (len(one.plan.convolutions("integer")), len(boxes), len(others)) == CONVOLUTIONS[architecture, end2end]
    branch = "one2one_cv2" if end2end else "cv2"
    assert {op.address.split(":")[0] for op in boxes} <= {f"{one.head.path}.{branch}.{level}.2" for level in range(3)}
    assert all(address.startswith(f"{one.head.path}.dfl.conv:") for address in others)
    assert all(op.weight == op.address.split(":")[0] for op in one.plan.convolutions("integer"))
    assert not any(op.weight for op in kept_float)


@ALL
def test_every_module_of_the_deployed_branch_is_planned_and_no_other(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    convolutions = {name for name, module in one.model.named_modules() if isinstance(module, nn.Conv2d)}
    dead = {
        name
        for name in convolutions
        if end2end is not None
        and name.startswith(f"{one.head.path}.")
        and not name.startswith(f"{one.head.path}.dfl.")
        and ("one2one" in name) != end2end
    }
    found = [op.address.split(":")[0] for op in one.plan.ops if op.operation == "conv2d"]
    assert set(found) == convolutions - dead and len(found) == len(set(found))


@ALL
def test_what_an_integer_operation_reads_and_makes_is_quantized(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    for op in plan.ops:
        if op.decision == "integer":
            assert {op.result, *op.inputs} <= plan.groups.keys(), op
            assert (f"{op.address}/sigmoid" in plan.groups) == (op.operation == "silu")
            assert (op.address in plan.groups) == (op.result == op.address)
        else:
            makes_codes = op.operation in ("attention_softmax", "attention_values")
            assert op.result == (op.address if makes_codes else "")
            assert not makes_codes or op.address in plan.groups
    assert all(tensor.group in plan.groups and tensor.rule and tensor.reason for tensor in plan.tensors)
    assert all(op.rule and op.reason for op in plan.ops)


@ALL
def test_movements_and_concats_of_one_kind_share_one_group_and_nothing_else_does(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    learns = {tensor.address: tensor.learns for tensor in plan.tensors}
    for op in plan.ops:
        if op.address not in plan.groups:
            continue
        groups = {plan.groups[address] for address in (op.address, *op.inputs) if address in plan.groups}
        if op.decision == "move" or (op.operation == "cat" and len({learns[a] for a in op.inputs}) == 1):
            assert len(groups) == 1 and plan.keeps_codes(op), op
            assert op.operation in TIED | {"cat"}
        elif op.operation in ("conv2d", "silu", "cat"):
            assert len(groups) >= 2 and not plan.keeps_codes(op), op
    moves = {op.operation for op in plan.ops if op.decision == "move"}
    assert {"interpolate", "reshape" if "12" in architecture else "max_pool2d"} <= moves


@ALL
def test_ranges_learn_what_their_values_allow(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    for tensor in plan.tensors:
        if tensor.address == "input" or tensor.address.endswith("/sigmoid") or ":softmax:" in tensor.address:
            assert tensor.learns == "nothing"
        elif plan.by_address[tensor.address].operation == "relu":
            assert tensor.learns == "scale"
        elif plan.by_address[tensor.address].operation in ("conv2d", "silu"):
            assert tensor.learns == "range"
    assert any(tensor.learns == "scale" for tensor in plan.tensors) == ("rtdetr" in architecture)


ATTENTIONS = {"yolov10": 1, "yolo11": 1, "yolo12": 8, "yolo26": 2}  # of the sizes n and s


@ALL
def test_every_attention_is_exact_as_a_whole(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    exact = Counter(op.operation for op in plan.ops if op.decision == "exact")
    once = ("attention_scale", "attention_scores", "attention_softmax", "attention_values")
    attentions = ATTENTIONS.get(architecture[:-1], 0)
    assert exact == {operation: attentions for operation in once if attentions} | (
        {"attention_transpose": 2 * attentions} if attentions else {}
    )
    softmaxes = [op.address for op in plan.ops if op.operation == "attention_softmax"]
    assert all({address, f"{address}/exponent"} <= plan.groups.keys() for address in softmaxes)
    found = planned_attentions(plan)
    assert [attention.softmax for attention in found] == softmaxes
    for attention in found:
        convolution = plan.groups[attention.query]
        assert plan.by_address[convolution].decision == "integer"
        assert plan.groups[attention.key] == plan.groups[attention.value] == convolution


@ALL
def test_other_attention_and_decoding_stay_float(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    for op in one.plan.ops:
        if op.operation in ("softmax", "layer_norm", "gelu", "linear", "multi_head_attention_forward", "matmul"):
            assert op.decision == "float"
        if op.operation in ("softmax", "gelu", "linear", "multi_head_attention_forward"):
            assert op.address not in one.plan.groups
        if op.address.startswith(f"{one.head.path}:"):
            assert (op.decision, op.rule) == ("float", "decoding") and op.address not in one.plan.groups
    assert not any(op.rule == "no-rule" for op in one.plan.ops)


@ONE_SIZE
def test_addresses_depend_neither_on_the_batch_nor_on_the_image_size(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    plans = []
    for shape in ((1, 3, 64, 64), (2, 3, 64, 64), (1, 3, 96, 128)):
        ops = trace(one.model, torch.zeros(shape))
        plans.append(build_plan(ops, one.head, "x86-vnni", imgsz=(64, 64)))
    assert plans[0] == plans[1] == plans[2] == one.plan


@pytest.mark.parametrize(
    ("small", "large"), [("yolov8n", "yolov8s"), ("yolov9t", "yolov9s"), ("yolo11n", "yolo11s"), ("yolo12n", "yolo12s")]
)
def test_two_sizes_of_equal_depth_have_equal_plans_and_other_hashes(deployed, small, large):
    one, other = deployed(small).plan, deployed(large).plan
    assert one.ops == other.ops and one.tensors == other.tensors and one.model != other.model


def test_hgnet_absorbs_relus_and_requantizes_where_signed_codes_join_them(deployed):
    plan = deployed("rtdetr-l").plan
    relus = [op for op in plan.ops if op.rule == "absorbed-relu"]
    assert len(relus) == 53 and {plan.by_address[op.inputs[0]].result for op in relus} == {op.address for op in relus}
    concats = [op for op in plan.ops if op.operation == "cat" and op.decision == "integer"]
    untied = [op.address for op in concats if not plan.keeps_codes(op)]
    assert untied == ["model.3:cat:0", "model.5:cat:0", "model.9:cat:0"]  # their first input is a strided convolution
