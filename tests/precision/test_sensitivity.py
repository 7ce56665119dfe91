"""Noise at the head when single operations are quantized, in onnxruntime. Oracle: the same in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch_noise import PartlyQuantized, TorchHeadNoise

from edgegd.errors import CalibrationError
from edgegd.export.insert.base import Insertion
from edgegd.plan.attention import planned_attentions
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import float_addresses, units_of
from edgegd.precision.float_values import count_values
from edgegd.precision.sensitivity import HeadNoise, head_tensors, to_db
from edgegd.precision.subject import Subject
from edgegd.precision.switched_graph import SWITCHES, switched_graph
from edgegd.quant.calibration import collect

FLOAT_NOISE = 1e-7  # float32 sums in another order: the pixels, of which the plan makes codes, are the last bits apart
# Of one unit's noise, torch's against onnxruntime's: float32 sums in another order move single codes of small images.
UNIT_TOLERANCE, MEDIAN_TOLERANCE = 0.5, 0.01


@pytest.fixture(scope="module")
def units(subject: Subject) -> tuple[tuple[str, ...], ...]:
    return units_of(subject.plan)


@pytest.fixture(scope="module")
def noise(subject: Subject, units: tuple[tuple[str, ...], ...]) -> HeadNoise:
    return HeadNoise(subject, units)


@pytest.fixture(scope="module")
def in_torch(small: Any, subject: Subject, pictures: torch.Tensor) -> TorchHeadNoise:
    return TorchHeadNoise(small.quantized, subject.head, pictures.split(2))


def test_the_head_is_the_last_convolution_of_every_branch(subject: Subject) -> None:
    assert subject.head == tuple(f"model.23.{branch}.{i}.2:conv2d:0" for branch in ("cv2", "cv3") for i in range(3))
    assert head_tensors(subject.ops, HeadPaths("", frozenset())) == (subject.ops[-1].address,)


def test_every_unit_by_itself_disturbs_the_head_as_in_torch(
    noise: HeadNoise, in_torch: TorchHeadNoise, units: tuple[tuple[str, ...], ...], subject: Subject
) -> None:
    """All kinds: convolutions, SiLUs with their sigmoid, additions, concatenations, a whole exact attention."""
    attentions = [set(attention.parts) for attention in planned_attentions(subject.plan)]
    assert attentions and all(any(parts <= set(unit) for unit in units) for parts in attentions)
    ours, theirs = np.array(list(noise.of_units())), np.array(list(in_torch.of_units(units)))
    assert (ours > 0).all() and len(ours) == len(units)
    ratios = ours / theirs
    assert abs(np.median(ratios) - 1) < MEDIAN_TOLERANCE
    assert (np.abs(ratios - 1) < UNIT_TOLERANCE).all(), dict(zip(units, ratios, strict=True))


def test_one_operation_reads_codes_and_makes_codes(
    small: Any, pictures: torch.Tensor, noise: HeadNoise, subject: Subject, units: tuple[tuple[str, ...], ...]
) -> None:
    """The last class convolution alone: its result is that of the planned kernel on the codes of the float input."""
    plan, head = subject.plan, subject.head
    last = head[-1]
    model = PartlyQuantized.like(small.quantized, plan, (*head, *plan.by_address[last].inputs))
    with torch.no_grad():
        model.only = frozenset()
        model(pictures)
        exact, source = model.head[last].clone(), model.head[plan.by_address[last].inputs[0]].clone()
        module = small.model.get_submodule(plan.by_address[last].weight)
        codes = model.range_of(plan.groups[plan.by_address[last].inputs[0]])(source)
        weight = model.weight_quantizer(plan.by_address[last])(module.weight)
        expected = model.range_of(plan.groups[last])(torch.nn.functional.conv2d(codes, weight, module.bias))
    relative = (expected - exact).double().square().mean() / exact.double().var(correction=0)
    found = list(noise.of_units())[units.index((last,))]
    assert found == pytest.approx(float(relative) / len(head), rel=0.05)  # the other tensors have no noise


def test_with_all_switches_off_the_graph_is_the_float_graph(
    subject: Subject, units: tuple[tuple[str, ...], ...]
) -> None:
    insertion = Insertion(subject.plan, subject.state, {op.address: op for op in subject.ops})
    before = subject.graph.SerializeToString()
    switched = switched_graph(subject.graph, insertion, units)
    assert subject.graph.SerializeToString() == before
    onnx.checker.check_model(switched)
    kinds = [node.op_type for node in switched.graph.node]
    assert kinds.count("If") == len(units) and not {"QuantizeLinear", "DequantizeLinear"} & set(kinds)
    image = subject.batches[0][:1]
    (one,), (other,) = (
        _session(graph).run(None, {"images": image} | further)
        for graph, further in ((subject.graph, {}), (switched, {SWITCHES: np.zeros(len(units), bool)}))
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)  # float sums in another order


def _session(graph: onnx.ModelProto) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_plan_without_integers_has_no_noise_and_the_rules_plan_has_most(
    subject: Subject, noise: HeadNoise, in_torch: TorchHeadNoise, units: tuple[tuple[str, ...], ...]
) -> None:
    def kept(choice: list[bool]) -> QuantPlan:
        return subject.replan(float_addresses(units, choice))

    half = kept([index % 2 == 0 for index in range(len(units))])
    nothing, some, everything = (noise.of_plan(plan) for plan in (kept([False] * len(units)), half, subject.plan))
    assert nothing < FLOAT_NOISE and FLOAT_NOISE < some < everything
    for found, plan in ((some, half), (everything, subject.plan)):
        assert found == pytest.approx(in_torch.of_plan(plan), rel=0.05)


@pytest.mark.parametrize(("noise_", "db"), [(0.1, 10.0), (1e-3, 30.0), (0.0, 999.0), (2.0, -3.0103)])
def test_decibels(noise_: float, db: float) -> None:
    assert to_db(noise_) == pytest.approx(db, abs=1e-4)


def test_onnxruntime_counts_the_values_that_torch_counts(small: Any, subject: Subject, pictures: torch.Tensor) -> None:
    """In running order, so that the first tensor of broken weights is named; sigmoids and softmaxes inside too."""
    ours = count_values(subject.graph, subject.plan, subject.batches)
    theirs = collect(small.quantized, pictures.split(2))
    assert list(ours) == list(theirs)
    for address, histogram in ours.items():
        expected = theirs[address]
        assert histogram.counts.sum() == expected.counts.sum(), address
        extremes = (histogram.low, histogram.high)
        assert extremes == pytest.approx((expected.low, expected.high), rel=1e-3, abs=1e-4), address


def test_values_that_are_not_finite_name_the_first_tensor(subject: Subject) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(subject.graph)
    (bias,) = [stored for stored in broken.graph.initializer if stored.name == "model.2.cv1.conv.bias"]
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    with pytest.raises(CalibrationError, match=r"not finite in model\.2\.cv1\.conv:conv2d:0, the first such tensor"):
        count_values(broken, subject.plan, subject.batches)
    with pytest.raises(CalibrationError, match="no image"):
        count_values(subject.graph, subject.plan, [])
