"""The plan of every supported family. Oracle: the rules of the README and DESIGN, restated on the traced graph."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegd.quant.plan import QuantPlan, build_plan
from edgegd.quant.rules.table import HeadPaths
from edgegd.quant.tracing import TracedOp

# (architecture, end2end) -> integer convolutions, float convolutions
CONVOLUTIONS = {
    ("yolo26n", True): (99, 3), ("yolo26n", False): (99, 3), ("yolo26s", True): (99, 3), ("yolo11n", None): (84, 4),
    ("yolo11s", None): (84, 4), ("yolov8n", None): (60, 4), ("yolov8s", None): (60, 4),
}  # fmt: skip
ALL = pytest.mark.parametrize(("architecture", "end2end"), CONVOLUTIONS, ids=[f"{a}-{e}" for a, e in CONVOLUTIONS])


@ALL
def test_every_convolution_but_the_last_of_the_box_branches_is_integer(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    integer, kept_float = one.plan.convolutions("integer"), one.plan.convolutions("float")
    assert (len(integer), len(kept_float)) == CONVOLUTIONS[architecture, end2end]
    assert {op.rule for op in kept_float} == {"box-convolution"} and {op.rule for op in integer} == {"convolution"}
    branch = "one2one_cv2" if end2end else "cv2"
    expected = {f"{one.head.path}.{branch}.{level}.2" for level in range(3)}
    assert {op.address.split(":")[0] for op in kept_float} - {f"{one.head.path}.dfl.conv"} == expected
    assert all(op.weight == op.address.split(":")[0] for op in integer)
    assert not any(op.weight for op in kept_float)


@ALL
def test_what_an_integer_operation_reads_and_makes_is_quantized(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    for op in plan.ops:
        if op.decision == "integer":
            assert {op.address, *op.inputs} <= plan.groups.keys(), op
            assert (f"{op.address}/sigmoid" in plan.groups) == (op.operation == "silu")
    assert all(tensor.group in plan.groups and tensor.rule and tensor.reason for tensor in plan.tensors)
    assert all(op.rule and op.reason for op in plan.ops)


@ALL
def test_concat_and_movements_share_one_group_and_nothing_else_does(deployed, architecture, end2end):
    plan = deployed(architecture, end2end).plan
    tied = {"cat", "max_pool2d", "interpolate", "split", "reshape", "transpose", "slice"}
    for op in plan.ops:
        if op.address not in plan.groups:
            continue
        groups = {plan.groups[address] for address in (op.address, *op.inputs) if address in plan.groups}
        if op.operation in tied:
            assert len(groups) == 1, op
        elif op.operation in ("conv2d", "silu"):
            assert len(groups) == 2, op
    kinds = {op.operation for op in plan.ops if op.decision == "move"}
    assert {"max_pool2d", "interpolate", "split"} <= kinds


@ALL
def test_softmax_and_decoding_stay_float(deployed, architecture, end2end):
    one = deployed(architecture, end2end)
    for op in one.plan.ops:
        if op.operation == "softmax":
            assert op.address not in one.plan.groups and op.decision == "float"
            assert op.rule == ("decoding" if op.address.startswith(f"{one.head.path}.dfl") else "softmax")
        if op.address.startswith(f"{one.head.path}:"):
            assert (op.decision, op.rule) == ("float", "decoding") and op.address not in one.plan.groups


def test_the_json_round_trip_restores_an_equal_plan(deployed):
    plan = deployed("yolo26n", True).plan
    again = QuantPlan.from_json(plan.to_json())
    assert again == plan and again.sha256 == plan.sha256 and again.groups == plan.groups


def test_the_hash_changes_with_any_content(deployed):
    plan = deployed("yolov8n").plan
    changed = [
        dataclasses.replace(plan, ops=plan.ops[1:]),
        dataclasses.replace(plan, tensors=plan.tensors[:-1]),
        dataclasses.replace(plan, ops=(dataclasses.replace(plan.ops[0], decision="float"), *plan.ops[1:])),
        dataclasses.replace(plan, tensors=(dataclasses.replace(plan.tensors[0], group="x"), *plan.tensors[1:])),
    ]
    assert len({plan.sha256, *(other.sha256 for other in changed)}) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [('"schema": 1', '"schema": 2'), ("x86-vnni", "z80"), ("uint8-asymmetric-per-tensor", "uint3")],
    ids=["schema", "profile", "format"],
)
def test_a_foreign_plan_is_refused(deployed, old, new):
    text = deployed("yolov8n").plan.to_json()
    with pytest.raises(ValueError, match=r"schema|formats"):
        QuantPlan.from_json(text.replace(old, new))


def test_two_processes_with_other_hash_seeds_make_the_same_plan(deployed):
    program = """
import sys; sys.path.insert(0, sys.argv[1])
from conftest import _deployed
print(_deployed("yolo26n", True).plan.sha256)
"""
    hashes = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        hashes.append(done.stdout.split()[-1])
    assert hashes == [deployed("yolo26n", True).plan.sha256] * 2


def test_a_float_result_that_an_integer_operation_reads_through_a_movement_is_quantized():
    def op(address, operation, *inputs, module="m"):
        return TracedOp(address, operation, module, inputs, (1, 4, 8, 8))

    ops = (
        op("a", "conv2d", "input"), op("b", "softmax", "a"), op("c", "reshape", "b"), op("d", "conv2d", "c"),
        op("e", "softmax", "d"), op("f", "reshape", "e"),
    )  # fmt: skip
    plan = build_plan(ops, HeadPaths("head", frozenset()), "x86-vnni")
    why = {tensor.address: tensor.rule for tensor in plan.tensors}
    assert why == {"input": "input", "a": "convolution", "b": "boundary", "c": "movement", "d": "convolution"}
    assert plan.groups["c"] == plan.groups["b"] == "b"
    assert plan.by_address["f"].decision == "float"  # it moves what nobody quantized
