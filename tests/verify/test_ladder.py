"""The parity ladder finds the one place that was damaged. Oracles: the damage done here by hand, and numpy."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgegd.detectors.deployment import plan_detector
from edgegd.errors import ParityError
from edgegd.export.graph_forms import with_codes_as_outputs
from edgegd.verify.census import take_census
from edgegd.verify.code_parity import CodeTolerance
from edgegd.verify.ladder import OPTIMIZED, RUNGS, UNOPTIMIZED, climb
from edgegd.verify.ladder_tolerance import require_ladder
from edgegd.verify.open_model import OpenModel
from edgegd.verify.opened import OnnxFile, Pictures

FAMILIES = [("yolo26n", True), ("yolov10n", True)]


@pytest.fixture(scope="module", params=FAMILIES, ids=[name for name, _ in FAMILIES])
def climbed(request, exported, pictures):
    """A right file, and its ladder on two pictures."""
    one = exported(*request.param)
    return one, climb(one.quantized, OnnxFile(one.ptq), Pictures(pictures[:2]))


def test_a_right_file_keeps_every_bar(climbed):
    one, ladder = climbed
    require_ladder(ladder, one.plan, "ptq.onnx")
    assert [(step.below, step.above) for step in ladder.steps] == [*pairwise(RUNGS), (RUNGS[1], OPTIMIZED)]
    assert [step.codes is None for step in ladder.steps] == [True, False, False, False]
    unoptimized, optimized = ladder.one_operation
    assert (unoptimized.rung, optimized.rung) == (UNOPTIMIZED, OPTIMIZED)
    assert unoptimized.codes.equal_share > 0.99999 and optimized.codes.equal_share > 0.999999
    assert unoptimized.boxes.detections > 20 and optimized.boxes.largest_score_change < 1e-5
    # Every tensor that an integer kernel or a boundary makes is compared; moved codes are those of another tensor.
    made = {op.result for op in one.plan.ops if op.result and not one.plan.keeps_codes(op)}
    assert made <= ladder.sqnr_db.keys() <= set(one.plan.groups)


def test_codes_as_outputs_leave_onnxruntimes_kernels_as_they_are(climbed, tmp_path):
    one, _ = climbed
    onnx.save(with_codes_as_outputs(onnx.load(one.ptq)), tmp_path / "exposed.onnx")
    plain, exposed = (take_census(OnnxFile(path), one.plan) for path in (one.ptq, tmp_path / "exposed.onnx"))
    assert exposed.unintended == () and exposed.int8_convs == plain.int8_convs > 60
    integer = {name for name in plain.operators if name.startswith("QLinear")}
    assert len(integer) >= 5
    for name in integer | {"Conv", "QuantizeLinear", "DequantizeLinear"}:
        assert exposed.operators.get(name) == plain.operators.get(name), name


def test_signal_over_noise_is_numpys(climbed, images):
    one, ladder = climbed
    address = "model.1.conv:conv2d:0"
    signal = noise = 0.0
    for image in images[:2].numpy()[:, None]:
        values = {}
        OpenModel(one.quantized).in_float(image, lambda a, v, into=values: into.update({a: v.copy()}))
        chosen = one.quantized.range_of(one.plan.groups[address])
        codes = OpenModel(one.quantized).quantized(image)[1][address].astype(float)
        signal += np.square(values[address].astype(float)).sum()
        noise += np.square(values[address] - (codes - int(chosen.zero_point)) * float(chosen.scale)).sum()
    assert ladder.sqnr_db[address] == pytest.approx(10 * np.log10(signal / noise), abs=0.02)


def _changed(path, into, name, change):
    proto = onnx.load(path)
    (tensor,) = [t for t in proto.graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    onnx.save(proto, into)
    return into


def test_only_the_convolution_with_wrong_weights_differs_from_equal_inputs(exported, pictures, tmp_path):
    one, address = exported("yolov8n"), "model.4.m.0.cv1.conv:conv2d:0"
    path = _changed(one.ptq, tmp_path / "broken.onnx", f"{address}/weight_int8", lambda codes: codes[::-1].copy())
    ladder = climb(one.quantized, OnnxFile(path), Pictures(pictures[:1]))
    for rung in ladder.one_operation:
        # On some CPUs a float sigmoid of a tensor of few codes rounds one of them to its neighbour.
        wrong = [t for t in rung.codes.differing if not CodeTolerance().admits(t) and t.largest_distance > 1]
        assert [t.address for t in wrong] == [address]
    with pytest.raises(ParityError) as caught:
        require_ladder(ladder, one.plan, "broken.onnx")
    message = str(caught.value)
    assert f"{UNOPTIMIZED} differ in {address} after one operation" in message and "rule convolution" in message


def test_a_wrong_decoding_is_found_from_equal_codes(exported, pictures, tmp_path):
    one = exported("yolov8n")
    (name,) = [t.name for t in onnx.load(one.ptq).graph.initializer if t.name.endswith("22.cv2.0.2.bias")]
    ramp = np.arange(64, dtype=np.float32) % 16 / 8  # moves the expected distance of every side
    path = _changed(one.ptq, tmp_path / "broken.onnx", name, lambda bias: bias + ramp)
    with pytest.raises(ParityError, match="make other detections of equal codes"):
        require_ladder(climb(one.quantized, OnnxFile(path), Pictures(pictures[:1])), one.plan, "broken.onnx")


def test_noise_above_the_signal_names_the_first_tensor_and_its_rule(climbed):
    one, ladder = climbed
    noisy = dataclasses.replace(ladder, sqnr_db={a: 9.0 if a == "input" else -3.0 for a in ladder.sqnr_db})
    with pytest.raises(ParityError, match="more noise than signal") as caught:
        require_ladder(noisy, one.plan, "ptq.onnx")
    first = list(ladder.sqnr_db)[1]
    assert f"{first} with -3.0 dB (rule " in str(caught.value)


def test_torch_repeats_itself_from_its_own_codes_and_follows_other_codes(exported, images):
    one, image = exported("yolov8n"), images[:1].numpy()
    model = OpenModel(one.quantized)
    output, codes = model.quantized(image)
    repeated_output, repeated = model.one_operation(image, codes)
    assert repeated.keys() == codes.keys() and all(np.array_equal(repeated[a], codes[a]) for a in codes)
    np.testing.assert_array_equal(output, repeated_output)
    other = dict(codes) | {"model.0.act:silu:0": np.full_like(codes["model.0.act:silu:0"], 7)}
    changed = {a for a, c in model.one_operation(image, other)[1].items() if not np.array_equal(c, codes[a])}
    assert changed == {"model.1.conv:conv2d:0"}  # its one reader: all others read the codes of before
    assert one.quantized.replace is None and one.quantized.observe is None
    with torch.no_grad():
        np.testing.assert_array_equal(one.quantized(images[:1]).numpy(), output)


def test_only_early_float_convolutions_loosen_the_bar_of_whole_runs(climbed):
    one, ladder = climbed
    assert one.plan.float_sums_become_codes() == ()
    mixed = plan_detector(one.model, 96, "x86-vnni", float_patterns=["model.2.cv1.*"])
    assert "model.2.cv1.conv:conv2d:0" in {op.address for op in mixed.convolutions("float")}
    assert mixed.float_sums_become_codes() and set(mixed.float_sums_become_codes()) <= set(mixed.groups)
    drifted = dataclasses.replace(ladder.whole.boxes, agreeing_share=0.8)
    *steps, whole = ladder.steps
    ladder = dataclasses.replace(ladder, steps=(*steps, dataclasses.replace(whole, boxes=drifted)))
    require_ladder(ladder, mixed, "ptq.onnx")
    with pytest.raises(ParityError, match="disagree"):
        require_ladder(ladder, one.plan, "ptq.onnx")
    wrong = dataclasses.replace(whole, boxes=dataclasses.replace(drifted, agreeing_share=0.6))
    with pytest.raises(ParityError, match="disagree"):
        require_ladder(dataclasses.replace(ladder, steps=(*steps, wrong)), mixed, "ptq.onnx")
