"""The plan as data: JSON, hashes, a recipe's changes, edits by hand. Oracle: the text and the trace themselves."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegd.detectors.deployment import plan_detector, trace_detector
from edgegd.errors import PlanError
from edgegd.plan.planning import build_plan
from edgegd.plan.profiles import TABLES
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan, require_plan_fits
from edgegd.plan.traced_op import TracedOp


def _edited(plan, **changes):
    """The plan's JSON with fields of the entries at some addresses changed, where the entry has them."""
    data = json.loads(plan.to_json())
    for entry in (*data["ops"], *data["tensors"]):
        entry.update({key: value for key, value in changes.get(entry["address"], {}).items() if key in entry})
    return json.dumps(data)


@pytest.mark.parametrize("profile", TABLES)
def test_the_json_round_trip_restores_an_equal_plan(deployed, profile):
    plan = deployed("yolo26n", True).plan.for_profile(profile)
    again = QuantPlan.from_json(plan.to_json())
    assert again == plan and again.sha256 == plan.sha256 and again.groups == plan.groups
    assert plan.to_json().count("\n") == len(plan.ops) + len(plan.tensors) + 5  # one line an entry


def test_the_hash_changes_with_any_content(deployed):
    plan = deployed("yolov8n").plan
    changed = [
        dataclasses.replace(plan, ops=plan.ops[1:]),
        dataclasses.replace(plan, tensors=plan.tensors[:-1]),
        dataclasses.replace(plan, imgsz=(64, 96)),
        dataclasses.replace(plan, model="x"),
        dataclasses.replace(plan, ops=(dataclasses.replace(plan.ops[0], decision="float"), *plan.ops[1:])),
        dataclasses.replace(plan, tensors=(dataclasses.replace(plan.tensors[0], group="x"), *plan.tensors[1:])),
        plan.for_profile("arm64"),
        plan.for_profile("x86-avx2"),
    ]
    assert len({plan.sha256, *(other.sha256 for other in changed)}) == 9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 2', '"schema": 1', "another schema"),
        ("x86-vnni", "z80", "unknown profile"),
        ("uint8-asymmetric-per-tensor", "uint3", "format 'uint3'"),
        ('"decision": "integer"', '"decision": "int4"', "decision 'int4'"),
        ('"learns": "nothing"', '"learns": "all"', "'all'"),
        ('"imgsz": [64, 64]', '"imgsz": [64, NaN]', "NaN"),
        ('"imgsz": [64, 64]', '"imgsz": 64', "malformed"),
        ('"imgsz": [64, 64]', '"imgsz": [64, "64"]', "two positive"),
        ('"rule"', '"rulf"', "rulf"),
        ('"inputs": ["input"]', '"inputs": [1]', "inputs of model.0.conv:conv2d:0"),
        ('"weight": "model.0.conv"', '"weight": null', "weight of model.0.conv:conv2d:0"),
        ('"ops": [', '"ops": {', "malformed"),
        ('"tensors"', '"tensorz"', "tensors"),
        ('"model": ', '"hash": 1, "model": ', "hash"),
    ],
)
def test_a_malformed_or_foreign_plan_is_refused(deployed, old, new, message):
    text = deployed("yolov8n").plan.to_json()
    assert old in text
    with pytest.raises(PlanError, match=message):
        QuantPlan.from_json(text.replace(old, new))


def test_a_plan_edited_by_hand_loads_where_it_agrees_with_itself(deployed):
    plan = deployed("yolov8n").plan
    conv = "model.2.cv1.conv:conv2d:0"
    edited = QuantPlan.from_json(_edited(plan, **{conv: {"decision": "float", "reason": "by hand"}}))
    assert edited.by_address[conv].decision == "float" and edited.groups == plan.groups
    require_plan_fits(edited, deployed("yolov8n").ops, (64, 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.1.act:silu:0": {"decision": "float"}}, "model.1.act:silu:0/sigmoid is inside an operation"),
        ({"model.2.m.0:add:0": {"group": "nowhere"}}, "the group nowhere"),
        ({"model.9.m:max_pool2d:0": {"group": "model.2.cv2.conv:conv2d:0"}}, "moves codes between tensors"),
        ({"model.9.m:max_pool2d:0": {"learns": "scale"}}, "learns 'scale', but its group learns 'range'"),
        ({"model.0.conv:conv2d:0": {"inputs": ["model.x:add:0"]}}, "reads model.x:add:0, which is no operation"),
        ({"model.0.conv:conv2d:0": {"result": ""}}, "its result '' is not quantized"),
        ({"model.0.conv:conv2d:0": {"address": "model.0.conv:conv2d:9"}}, "group model.0.conv:conv2d:0, which is"),
        ({"model.22.dfl:softmax:0": {"decision": "integer"}}, "which is not quantized"),
    ],
)
def test_an_edit_that_contradicts_the_plan_is_named(deployed, changes, message):
    plan = deployed("yolov8n").plan
    with pytest.raises(PlanError, match=message):
        QuantPlan.from_json(_edited(plan, **changes))


def test_a_plan_fits_the_model_and_the_size_it_was_made_for_only(deployed):
    one = deployed("yolov8n")
    require_plan_fits(one.plan, one.ops, (64, 64))
    require_plan_fits(dataclasses.replace(one.plan, imgsz=(96, 96)), trace_detector(one.model, 96), (96, 96))
    with pytest.raises(PlanError, match=r"another image size(.|\n)*64x64 px(.|\n)*96x96 px"):
        require_plan_fits(one.plan, trace_detector(one.model, 96), (96, 96))
    with pytest.raises(PlanError, match="another model"):
        require_plan_fits(one.plan, deployed("yolov8s").ops, (64, 64))
    ops = (dataclasses.replace(one.plan.ops[0], address="model.0.conv:conv2d:1"), *one.plan.ops[1:])
    with pytest.raises(PlanError, match=r"names 1 operations(.|\n)*nearest to .*:1: model.0.conv:conv2d:0"):
        require_plan_fits(dataclasses.replace(one.plan, ops=ops), one.ops, (64, 64))


@pytest.mark.parametrize("changes", [{"operation": "relu"}, {"operation": ""}, {"inputs": ("image", "image")}])
def test_a_plan_cannot_say_of_an_operation_what_it_is_not(deployed, changes):
    one = deployed("yolov8n")
    ops = (dataclasses.replace(one.plan.ops[0], **changes), *one.plan.ops[1:])
    with pytest.raises(PlanError, match=r"1 operations what they are not(.|\n)*expected: conv2d of"):
        require_plan_fits(dataclasses.replace(one.plan, ops=ops), one.ops, (64, 64))


@pytest.mark.parametrize("architecture", ["yolo26n", "yolov10n"])
def test_a_plan_with_exact_attentions_fits_its_own_model(deployed, architecture):
    one = deployed(architecture)
    assert any(op.operation.startswith("attention_") for op in one.plan.ops)
    require_plan_fits(one.plan, one.ops, (64, 64))


def test_patterns_of_a_recipe_keep_operations_float(deployed):
    one = deployed("yolov8n")
    plan = plan_detector(one.model, 64, "x86-vnni", float_patterns=["model.0.*", "model.*.m.0:add:*"])
    matched = [op for op in plan.ops if op.address.startswith("model.0.") or ".m.0:add:" in op.address]
    assert len(matched) == 2 + 4 and {(op.decision, op.rule) for op in matched} == {("float", "recipe")}
    assert {op.reason for op in matched} == {"quant.float: model.0.*", "quant.float: model.*.m.0:add:*"}
    others = [op for op in plan.ops if op not in matched]
    assert [op for op in one.plan.ops if op.address in {o.address for o in others}] == others


def test_rules_of_a_recipe_change_decisions(deployed):
    one = deployed("yolov8n")
    plan = plan_detector(one.model, 64, "x86-vnni", rules={"box-convolution": "integer", "add": "float"})
    boxes = [op for op in plan.ops if op.rule == "box-convolution"]
    assert [op.weight for op in boxes] == [f"model.22.cv2.{level}.2" for level in range(3)]
    assert all(op.result == op.address and op.address in plan.groups for op in boxes)
    assert {op.decision for op in plan.ops if op.rule == "add"} == {"float"}
    assert QuantPlan.from_json(plan.to_json()) == plan and plan.model == one.plan.model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"float_patterns": ["model.0.konv:*"]}, r"matches no operation(.|\n)*did you mean model.0.conv"),
        ({"rules": {"box-convolutions": "integer"}}, r"no rule of x86-vnni(.|\n)*did you mean box-convolution"),
        ({"rules": {"softmax": "integer"}}, r"softmax cannot be integer: QLinearSoftmax(.|\n)*expected: float"),
        ({"rules": {"convolution": "int4"}}, r"convolution cannot be int4(.|\n)*expected: float or integer"),
    ],
)
def test_changes_that_the_model_or_the_rules_do_not_have_are_refused(deployed, changes, message):
    with pytest.raises(PlanError, match=message):
        plan_detector(deployed("yolov8n").model, 64, "x86-vnni", **changes)


def test_two_processes_with_other_hash_seeds_make_the_same_plan(deployed):
    program = """
import sys; sys.path.insert(0, sys.argv[1])
from conftest import _deployed
print(_deployed("yolo26n", True).plan.sha256)
"""
    hashes = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
        hashes.append(done.stdout.split()[-1])
    assert hashes == [deployed("yolo26n", True).plan.sha256] * 2


def test_a_float_result_that_an_integer_operation_reads_through_a_movement_is_quantized():
    def op(address, operation, *inputs):
        return TracedOp(address, operation, address, inputs, (1, 4, 8, 8))

    ops = (
        op("a", "conv2d", "input"),
        op("b", "softmax", "a"),
        op("c", "reshape", "b"),
        op("d", "conv2d", "c"),
        op("e", "softmax", "d"),
        op("f", "reshape", "e"),
    )
    plan = build_plan(ops, HeadPaths("head", frozenset()), "x86-vnni", imgsz=(8, 8))
    why = {tensor.address: tensor.rule for tensor in plan.tensors}
    assert why == {"input": "input", "a": "convolution", "b": "boundary", "c": "movement", "d": "convolution"}
    assert plan.groups["c"] == plan.groups["b"] == "b"
    assert plan.by_address["f"].decision == "float"  # it moves what nobody quantized
