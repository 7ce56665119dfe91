"""One checkpoint for every profile. Oracles: the codes of the uint8 file less 128, and numpy's largest weights."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgegd.addresses import address_of_codes, codes_name
from edgegd.device.profile import runs_signed, this_machine
from edgegd.errors import ParityError, ProfileError
from edgegd.export.graph_forms import with_codes_as_outputs
from edgegd.export.profile import for_profile, require_suits
from edgegd.plan.profiles import TABLES
from edgegd.runtime.session import load_model, load_session
from edgegd.verify.opened import OnnxFile, Pictures
from edgegd.verify.verification import verify_quantized


@pytest.fixture(scope="module")
def files(exported, write, tmp_path_factory):
    """The quantized model and its file by profile."""
    one, folder = exported("yolov8n"), tmp_path_factory.mktemp("profiles")
    models = {profile: for_profile(one.quantized, profile) for profile in TABLES}
    return {p: (m, write(folder / f"{p}.onnx", m, one.model, m.plan, "ptq")) for p, m in models.items()}


def _codes(path, image, folder):
    exposed = folder / path.name
    onnx.save(with_codes_as_outputs(onnx.load(path)), exposed)
    session = load_session(exposed, optimization="disabled")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": image}), strict=True))


def _weights(path):
    return {
        t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name.endswith("/weight_int8")
    }


@pytest.mark.parametrize("kind", ["picture", "random"])
def test_int8_codes_are_uint8_codes_less_128_in_every_tensor(files, images, tmp_path, kind):
    image = images[:1].numpy()
    if kind == "random":
        image = np.random.default_rng(0).random(image.shape, dtype=np.float32)
    (_, unsigned), (_, signed) = files["x86-vnni"], files["arm64"]
    expected, found = _codes(unsigned, image, tmp_path), _codes(signed, image, tmp_path)
    names = [name for name in expected if address_of_codes(name)]
    assert expected.keys() == found.keys() and len(names) > 180
    for name in names:
        assert (expected[name].dtype, found[name].dtype) == (np.uint8, np.int8)
        np.testing.assert_array_equal(expected[name].astype(int) - 128, found[name], err_msg=name)
    np.testing.assert_array_equal(expected["output0"], found["output0"])


def test_weights_of_7_bits_are_scaled_by_the_largest_of_each_channel(files):
    model, path = files["x86-avx2"]
    stored = _weights(path)
    assert max(np.abs(codes).max() for codes in stored.values()) == 63
    assert max(np.abs(codes).max() for codes in _weights(files["x86-vnni"][1]).values()) == 127
    for op in model.plan.convolutions("integer")[:5]:
        weight = model.model.get_submodule(op.weight).weight.detach().numpy()
        scale = np.abs(weight).reshape(len(weight), -1).max(1) / np.float32(63)
        np.testing.assert_array_equal(np.rint(weight / scale[:, None, None, None]), stored[f"{op.address}/weight_int8"])


@pytest.mark.parametrize("learned", [False, True], ids=["tied", "learned"])
def test_weights_trained_in_7_bits_keep_their_codes_in_a_profile_of_8(files, images, learned):
    from edgegd.quant.attach import QuantizedModel

    trained_for, _ = files["x86-avx2"]
    detector = copy.deepcopy(trained_for.model)
    trained = QuantizedModel(detector, trained_for.plan, learned_weight_scales=learned).eval()
    trained.load_state_dict(trained_for.state_dict(), strict=False)
    with torch.no_grad():
        if learned:  # as training may leave them: weights beyond the largest code
            for quantizer in trained.weights.values():
                quantizer.scale.mul_(0.7)
        expected = trained(images[:1])
        found = for_profile(trained, "x86-vnni")(images[:1])
    assert torch.equal(expected, found)


def test_metadata_names_the_profile(files):
    assert [load_model(path)[1].profile for _, path in files.values()] == list(files)


@pytest.mark.parametrize(
    ("file", "profile", "fragments"),
    [
        ("x86-vnni", "x86-avx2", ("could saturate on x86-avx2", "-63..63", "codes up to 127", "--profile x86-avx2")),
        ("arm64", "x86-vnni", ("int8 activations", "runs in float on x86-vnni")),
    ],
)
def test_a_file_that_does_not_suit_a_profile_is_refused(files, pictures, file, profile, fragments):
    with pytest.raises(ProfileError) as caught:
        verify_quantized(files[profile][0], OnnxFile(files[file][1]), Pictures(pictures[:1]))
    assert caught.value.exit_code == 74 and all(text in str(caught.value) for text in fragments)


def test_files_that_suit_another_profile_too_are_not_refused(files):
    for file, profile in (
        ("x86-avx2", "x86-vnni"),
        ("x86-vnni", "arm64"),
        ("arm64", "arm64-nodot"),
        ("arm64-nodot", "arm64"),
    ):
        require_suits(onnx.load(files[file][1]), profile, "it")


@pytest.mark.parametrize("profile", TABLES)
def test_every_profile_is_verified_on_this_machine(files, pictures, profile):
    verification = verify_quantized(files[profile][0], OnnxFile(files[profile][1]), Pictures(pictures[:1]))
    assert verification.census.int8_convs == 60 and not verification.census.unintended
    assert (verification.shift is not None) == (profile == "arm64" and not runs_signed(this_machine().profile))
    if verification.shift:
        assert verification.shift.tensors > 180 and verification.shift.equal_share == 1.0


def test_an_int8_file_with_one_other_zero_point_is_found(files, pictures, tmp_path):
    model, path = files["arm64"]
    proto, address = onnx.load(path), "model.2.cv1.act:silu:0"
    (node,) = [n for n in proto.graph.node if n.op_type == "QuantizeLinear" and n.output[0] == codes_name(address)]
    (value,) = [stored for stored in proto.graph.initializer if stored.name == node.input[2]]
    node.input[2] = "another"
    proto.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(value) + np.int8(3), node.input[2]))
    onnx.save(proto, tmp_path / "broken.onnx")
    with pytest.raises(ParityError, match=address):
        verify_quantized(model, OnnxFile(tmp_path / "broken.onnx"), Pictures(pictures[:1]))
