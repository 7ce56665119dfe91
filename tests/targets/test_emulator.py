"""Fetching, caching and comparing, with this machine in the place of the emulated CPU; oracle: onnx.reference."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgegd.device.profile import Machine
from edgegd.errors import EmulationError
from edgegd.export.graph_forms import (
    code_names,
    largest_weight_code,
    with_codes_as_outputs,
    with_unsigned_activations,
)
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.targets.emulation_cache import CACHE_VARIABLE, qemu
from edgegd.targets.emulation_packages import MIRROR_VARIABLE, find_mirror
from edgegd.targets.emulator import CPUS, run_models
from edgegd.verify import emulated, exact_session
from edgegd.verify.emulated import compare_cpus

DEB822 = """\
# Types: deb-src
Types: deb
URIs: http://a.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://b.example/debian
Suites: bookworm

Types: deb
URIs: http://c.example/debian
Suites: bookworm bookworm-updates
"""


def test_mirror_is_the_first_enabled_debian_archive_of_apt(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert find_mirror(tmp_path, {}).uri == "http://c.example/debian"
    (tmp_path / "sources.list").write_text(
        "#deb http://x.example/debian bookworm main\n"
        "deb http://y.example/node nodistro main\ndeb [arch=amd64] http://d.example/debian trixie main\n"
    )
    assert find_mirror(tmp_path, {}).uri == "http://d.example/debian"
    assert find_mirror(tmp_path, {MIRROR_VARIABLE: "http://e.example"}).uri == "http://e.example"


def test_without_a_debian_archive_the_message_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match=MIRROR_VARIABLE):
        find_mirror(tmp_path, {})


@pytest.fixture
def fake_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in tmp_path, and programs apt-get and dpkg-deb that fetch nothing; apt-get logs its calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "apt-get": f'echo "$2 $(cat $APT_CONFIG)" >> {tmp_path}/calls; test ! -e {tmp_path}/offline || '
        '{ echo "E: no route to mirror" >&2; exit 100; }; test "$2" != download || touch some.deb',
        "dpkg-deb": "mkdir -p $3/usr/bin && echo emulator > $3/usr/bin/qemu-aarch64 && "
        "cp $3/usr/bin/qemu-aarch64 $3/usr/bin/qemu-x86_64",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.example/debian")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return tmp_path


def test_nothing_is_fetched_where_nothing_is_emulated(fake_debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(EmulationError, match=r"emulated on x86-64 Linux only\.\n.*\n  found: Linux on aarch64"):
        qemu(print)
    assert not (fake_debian / "cache").exists()


def test_tools_are_fetched_once_into_a_cache_that_a_failure_leaves_clean(fake_debian: Path) -> None:
    cache = fake_debian / "cache"
    (fake_debian / "offline").touch()
    with pytest.raises(EmulationError, match="no route to mirror"):
        qemu(print)
    assert [path.name for path in cache.iterdir()] == [".lock"]

    (fake_debian / "offline").unlink()
    (cache / ".building-killed").mkdir()
    folder = qemu(print)
    assert sorted(path.name for path in folder.iterdir()) == ["packages.json", "qemu-aarch64", "qemu-x86_64"]
    assert sorted(path.name for path in cache.iterdir()) == [".lock", folder.name]

    calls = (fake_debian / "calls").read_text()
    assert qemu(print) == folder
    assert (fake_debian / "calls").read_text() == calls
    assert str(cache) in calls  # apt's state lies there, not in /var


def small_model(*, signed: bool) -> onnx.ModelProto:
    """A detector of one integer convolution and one addition: (1, 3, 32, 32) -> (1, 16, 6)."""
    random = np.random.default_rng(0)
    shift, dtype = (128, np.int8) if signed else (0, np.uint8)
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def quantized(name: str, scale: float, zero_point: int) -> str:
        pair = [constant(f"{name}_scale", np.float32(scale)), constant(f"{name}_zero", dtype(zero_point - shift))]
        nodes.append(helper.make_node("QuantizeLinear", [name, *pair], [f"{name}_codes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_codes", *pair], [f"{name}_q"]))
        return f"{name}_q"

    image = quantized("images", 1 / 255, 0)
    weight = constant("weight_codes", random.integers(-100, 101, (6, 3, 8, 8)).astype(np.int8))
    zero = constant("weight_zero", np.zeros(6, np.int8))
    scales = constant("weight_scale", random.uniform(0.001, 0.002, 6).astype(np.float32))
    nodes.append(helper.make_node("DequantizeLinear", [weight, scales, zero], ["weight"], axis=0))
    nodes.append(helper.make_node("Conv", [image, "weight"], ["conv"], strides=[8, 8]))
    nodes.append(helper.make_node("Add", [quantized("conv", 0.07, 120)] * 2, ["sum"]))
    shape = constant("shape", np.array([1, 6, 16]))
    nodes.append(helper.make_node("Reshape", [quantized("sum", 0.1, 120), shape], ["rows"]))
    nodes.append(helper.make_node("Transpose", ["rows"], ["detections"], perm=[0, 2, 1]))
    nodes.append(
        helper.make_node("Mul", ["detections", constant("one_class", np.float32([1, 1, 1, 1, 1, 0]))], ["output0"])
    )
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 16, 6])],
        constants,
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)])
    contract = ModelContract(Preprocessing((32, 32)), OutputContract("end2end", (1, 16, 6)), ("thing",), 32)
    helper.set_model_props(model, contract.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


def test_a_graph_of_signed_activations_has_an_unsigned_form_that_computes_the_same() -> None:
    signed = small_model(signed=True)
    unsigned = with_unsigned_activations(signed)
    onnx.checker.check_model(unsigned, full_check=True)
    image = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    outputs = [
        ReferenceEvaluator(with_codes_as_outputs(model)).run(None, {"images": image}) for model in (signed, unsigned)
    ]
    assert [array.dtype for array in outputs[0]] == [np.float32, np.int8, np.int8, np.int8]
    assert np.array_equal(outputs[0][0], outputs[1][0])
    for in_signed, in_unsigned in zip(outputs[0][1:], outputs[1][1:], strict=True):
        assert in_unsigned.dtype == np.uint8
        assert np.array_equal(in_signed.astype(int) + 128, in_unsigned)
    assert code_names(signed) == ["images_codes", "conv_codes", "sum_codes"]
    assert largest_weight_code(signed) == 100


FLAWED = """\
import runpy, sys
import numpy as np

save = np.savez

def savez(path, names, **arrays):
    index = str(list(names).index("conv_codes")) if "conv_codes" in names else ""
    if index:
        arrays[index].flat[5] ^= 1
    save(path, names=names, **arrays)

np.savez = savez
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return path


def test_one_wrong_code_is_found_and_named(tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(small_model(signed=False), tmp_path / "model.onnx")
    (tmp_path / "flawed.py").write_text(FLAWED)
    # Both "CPUs" are this machine; the Python of the second stores one code that differs by one.
    pythons = {"cortex-a76": ([], {}), "haswell": ([sys.executable, str(tmp_path / "flawed.py")], {})}
    monkeypatch.setattr(emulated, "prepare", lambda cpu, tell: pythons[cpu.name])
    monkeypatch.setattr(emulated, "exact_form", lambda model: model)  # which would be another file where CPUs saturate
    right, wrong = compare_cpus(tmp_path / "model.onnx", [CPUS["cortex-a76"], CPUS["haswell"]], [picture], print)
    assert right.identical and right.equal_codes == 1 and right.tensors == 3 and right.undisturbed
    assert not wrong.identical
    assert (wrong.first_difference, wrong.differing, wrong.largest_distance) == ("conv_codes", 1, 1)
    assert wrong.equal_codes == pytest.approx(1 - 1 / (3 * 32 * 32 + 2 * 6 * 16))
    assert wrong.equal_outputs  # only a code was changed


def test_the_reference_of_8_bit_weights_is_exact_on_a_cpu_that_saturates(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_session, "this_machine", lambda: Machine("an AVX2 CPU", "x86-avx2"))
    onnx.save(small_model(signed=False), tmp_path / "model.onnx")
    forms = []

    def keep_forms(python: object, models: list[Path], *rest: Path) -> None:
        forms.append([largest_weight_code(onnx.load(model)) for model in models])
        run_models(([], {}), models, *rest)

    monkeypatch.setattr(emulated, "prepare", lambda cpu, tell: ([], {}))
    monkeypatch.setattr(emulated, "run_models", keep_forms)
    (comparison,) = compare_cpus(tmp_path / "model.onnx", [CPUS["haswell"]], [picture], print)
    assert forms == [[0, 0], [100, 100]]  # here the file's exact form, there the file itself
    assert comparison.tensors == 3


def test_a_process_that_fails_says_its_last_words(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(small_model(signed=False), tmp_path / "model.onnx")
    dying = ([sys.executable, "-c", "import sys; sys.exit('illegal instruction')"], {})
    monkeypatch.setattr(emulated, "prepare", lambda cpu, tell: dying)
    with pytest.raises(EmulationError, match="illegal instruction"):
        compare_cpus(tmp_path / "model.onnx", [CPUS["haswell"]], [picture], print)
