"""QLinearAdd on all pairs of codes: our x86 against onnxruntime on this machine; which scales make CPUs agree.

Our ARM is compared with onnxruntime's in tests/end_to_end/test_emulated_cpus.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.portable_addition import (
    Addition,
    Range,
    additions_of,
    codes_on_arm,
    codes_on_x86,
    disagreements,
    make_additions_portable,
)


def _random_ranges(count: int) -> list[Range]:
    random = np.random.default_rng(0)
    return [Range(float(np.float32(random.uniform(0.01, 0.03))), int(random.integers(0, 256))) for _ in range(count)]


_RANGES = _random_ranges(36)
ADDITIONS = [Addition(*_RANGES[index : index + 3]) for index in range(0, 36, 3)]


def onnxruntime_codes(addition: Addition) -> np.ndarray:
    """QLinearAdd's codes of onnxruntime on this machine, (256, 256)."""
    constants = []
    for name, range_ in (("a", addition.a), ("b", addition.b), ("c", addition.result)):
        constants += [helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, [], [range_.scale]),
                      helper.make_tensor(f"{name}_zero", TensorProto.UINT8, [], [range_.zero_point])]  # fmt: skip
    node = helper.make_node("QLinearAdd", ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c_scale", "c_zero"],
                            ["c"], domain="com.microsoft")  # fmt: skip
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [256, 256]) for name in "abc"]
    graph = helper.make_graph([node], "add", values[:2], values[2:], constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17),
                                                                  helper.make_opsetid("com.microsoft", 1)])  # fmt: skip
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    a, b = np.mgrid[:256, :256].astype(np.uint8)
    codes: np.ndarray = session.run(None, {"a": a, "b": b})[0]
    return codes


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: "{:.3f},{:.3f}".format(*addition.ratios))
def test_codes_on_x86_are_onnxruntimes(addition: Addition) -> None:
    assert np.array_equal(codes_on_x86(addition), onnxruntime_codes(addition))


def test_arm_rounds_ties_away_from_zero_and_x86_to_even() -> None:
    half = Range(0.5, 0)
    addition = Addition(half, half, Range(1.0, 10))  # (a + b) / 2 + 10: every odd sum is a tie
    ties = np.add.outer(range(64), range(64)) % 2 == 1
    on_arm, on_x86 = codes_on_arm(addition), codes_on_x86(addition)
    assert on_arm is not None
    assert (on_x86[:64, :64][ties] % 2 == 0).all()
    assert np.array_equal(on_arm[:64, :64][ties], (np.add.outer(range(64), range(64))[ties] + 1) // 2 + 10)
    assert disagreements(addition) > 10_000


def test_ratios_outside_the_fixed_point_have_no_codes_on_arm() -> None:
    addition = Addition(Range(1.0, 0), Range(1.0, 0), Range(1.0, 0))
    assert codes_on_arm(addition) is not None
    assert codes_on_arm(replace(addition, a=Range(300.0, 0))) is None
    assert codes_on_arm(replace(addition, b=Range(1e-5, 0))) is None


def test_scales_change_by_millionths_until_no_addition_disagrees(deployed: Callable[..., Any]) -> None:
    given = deployed("yolo26n")
    quantized = QuantizedModel(given.model, given.plan)
    random = np.random.default_rng(3)
    for tensor in given.plan.tensors:
        if tensor.learns != "nothing" and tensor.group == tensor.address:
            quantized.range_of(tensor.group).set_range(float(np.float32(random.uniform(0.01, 0.04))), 20)
    before = {group: float(quantized.range_of(group).scale) for group in given.plan.groups.values()}
    assert sum(map(disagreements, additions_of(quantized))) > 0

    changed = make_additions_portable(quantized)

    assert [disagreements(addition) for addition in additions_of(quantized)] == [0] * len(additions_of(quantized))
    after = {group: float(quantized.range_of(group).scale) for group in before}
    assert {group for group in before if after[group] != before[group]} == set(changed)
    assert all(abs(after[group] / before[group] - 1) < 1e-4 for group in before)
