"""The shipped checkpoint, quantized, in real onnxruntime on emulated ARM and Haswell CPUs against this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from multiplications import CASES
from onnx import TensorProto, helper
from this_cpu import skip_without_emulation

from edgegd.errors import EmulationError
from edgegd.export.graph_forms import with_unsigned_weights
from edgegd.targets.emulation_packages import FETCH_FAILED
from edgegd.targets.emulator import CPUS, prepare, run_models, stored_outputs
from edgegd.verify.emulated import CpuComparison, compare_cpus

CHECKPOINT = Path(__file__).parents[2] / "models" / "streets-yolo26n-320.pt"
IMGSZ, OPSET = 128, 17
PRECISION = "session.x64quantprecision"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def emulated_cpus() -> None:
    """Fetches what emulation needs, once a machine; without it (offline, not Debian) these tests cannot run."""
    skip_without_emulation()
    try:
        for cpu in CPUS.values():
            prepare(cpu, print)
    except EmulationError as error:
        if error.what != FETCH_FAILED:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Street scenes: four to calibrate with, then two to compare with."""
    pytest.importorskip("cv2")
    from edgegd.data.streets import make_streets

    root = make_streets(tmp_path_factory.mktemp("streets") / "set", train=4, val=2, seed=7).parent
    return [*sorted((root / "images" / "train").iterdir()), *sorted((root / "images" / "val").iterdir())]


@pytest.fixture(scope="module")
def exported(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """exported(profile, edge=False): one calibrated model as a file for that profile."""
    import torch

    from edgegd.data.calibration import batches
    from edgegd.detectors.deployment import deploy, plan_detector
    from edgegd.detectors.float_checkpoint import open_checkpoint
    from edgegd.export.edge import build_edge
    from edgegd.export.graph import build_graph
    from edgegd.export.metadata import contract_of, set_metadata
    from edgegd.quant.attach import QuantizedModel
    from edgegd.quant.calibration import calibrate
    from edgegd.quant.consistent_ranges import settle_ranges
    from edgegd.runtime.contract import Preprocessing

    folder = tmp_path_factory.mktemp("exported")
    model: Any = deploy(open_checkpoint(CHECKPOINT))
    plan = plan_detector(model, IMGSZ, "x86-vnni")
    calibrated = QuantizedModel(model, plan)
    calibrate(calibrated, map(torch.from_numpy, batches(images[:4], Preprocessing((IMGSZ, IMGSZ)), 2)), "mse")
    settle_ranges(calibrated)

    def export(profile: str, edge: bool = False) -> Path:
        quantized = QuantizedModel(model, plan.for_profile(profile))
        quantized.ranges.load_state_dict(calibrated.ranges.state_dict())
        quantized.follow_weights(tie=True)
        graph = build_graph(quantized.eval(), IMGSZ, OPSET)
        set_metadata(graph, model, contract_of(graph, model, IMGSZ, "ptq", quantized.plan.sha256))
        portable, beside = folder / f"{profile}.onnx", folder / f"{profile}.edge.onnx"
        onnx.save(graph, portable)
        onnx.save(build_edge(graph, portable.name)[0], beside)
        return beside if edge else portable

    return export


def compare(model: Path, images: list[Path], *cpus: str) -> list[CpuComparison]:
    """The model on these CPUs with the validation images."""
    return compare_cpus(model, [CPUS[name] for name in cpus], images[4:], print)


@pytest.mark.parametrize("edge", [False, True], ids=["portable", "edge"])
def test_arm_computes_the_codes_of_this_machine(exported: Callable[..., Path], images: list[Path], edge: bool) -> None:
    # Each CPU runs the files of its own profile, and the Cortex-A72 those of CPUs with dot product too.
    compared = compare(exported("arm64", edge), images, "cortex-a76", "cortex-a72")
    for comparison in [*compared, *compare(exported("arm64-nodot", edge), images, "cortex-a72")]:
        assert comparison.tensors > 250
        assert comparison.detections > 0
        # The float sigmoid of the scores, after the last code, differs by 6e-8 in onnxruntime 1.23.
        last_bits = onnxruntime.__version__ < "1.32" and comparison.largest_score_change < 1e-6
        assert comparison.differing == 0 and (comparison.identical or last_bits), comparison
        assert comparison.undisturbed


@pytest.mark.parametrize("edge", [False, True], ids=["portable", "edge"])
def test_haswell_computes_the_codes_of_this_machine_with_7_bit_weights(
    exported: Callable[..., Path], images: list[Path], edge: bool
) -> None:
    (comparison,) = compare(exported("x86-avx2", edge), images, "haswell")
    assert comparison.identical, comparison
    assert comparison.undisturbed


def test_haswell_saturates_with_8_bit_weights(exported: Callable[[str], Path], images: list[Path]) -> None:
    (comparison,) = compare(exported("x86-vnni"), images, "haswell")
    assert comparison.first_difference == "model.0.conv:conv2d:0"
    assert comparison.largest_distance > 20
    assert comparison.equal_codes < 0.95
    assert not comparison.equal_outputs


SUM_ON_THAT_CPU = """\
import sys
import numpy as np
import onnxruntime

folder, option, *names = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
if option:
    options.add_session_config_entry(option, "1")
for name in names:
    session = onnxruntime.InferenceSession(f"{folder}/{name}.onnx", options, providers=["CPUExecutionProvider"])
    np.save(f"{folder}/{name}.npy", session.run(None, {"x": np.load(f"{folder}/{name}.x.npy")})[0])
"""


def _sums_on(cpu: str, folder: Path, models: dict[str, onnx.ModelProto], option: str = "") -> dict[str, bool]:
    """For every case of multiplications.CASES: whether an emulated CPU computes numpy's result of it."""
    command, environment = prepare(CPUS[cpu])
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
        np.save(folder / f"{name}.x.npy", CASES[name]().x)
    subprocess.run(
        [*command, "-c", SUM_ON_THAT_CPU, str(folder), option, *models],
        check=True,
        timeout=600,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    return {name: np.array_equal(np.load(folder / f"{name}.npy"), CASES[name]().expected) for name in models}


def test_uint8_weights_are_exact_on_haswell_for_every_operator_and_onnxruntimes_option_is_not(tmp_path: Path) -> None:
    plain = {name: case().model for name, case in CASES.items()}
    exact = {name: with_unsigned_weights(model) for name, model in plain.items()}
    assert all(_sums_on("haswell", tmp_path, exact).values())
    saturating = {name for name, right in _sums_on("haswell", tmp_path, plain).items() if not right}
    assert {"3x3", "1x1", "3x3-channels-last", "1x1-channels-last"} <= saturating and "attention" not in saturating
    with_option = {name for name, right in _sums_on("haswell", tmp_path, plain, PRECISION).items() if not right}
    assert with_option == {name for name in saturating if name.endswith("channels-last")}


@pytest.mark.parametrize("cpu", ["cortex-a76", "cortex-a72"])
def test_arm_sums_8_bit_weights_exactly_in_plain_sessions(tmp_path: Path, cpu: str) -> None:
    assert all(_sums_on(cpu, tmp_path, {name: case().model for name, case in CASES.items()}).values())


def test_addition_on_arm_is_the_one_that_ranges_are_settled_by(tmp_path: Path) -> None:
    import torch

    from edgegd.quant.consistent_ranges import fixed_point_add
    from edgegd.quant.quantizers import ActivationQuantizer

    random = np.random.default_rng(0)
    ranges = [ActivationQuantizer() for _ in range(30)]
    for quantizer in ranges:
        quantizer.set_range(float(random.uniform(0.005, 0.04)), int(random.integers(0, 256)))
    additions = [ranges[index : index + 3] for index in range(0, 30, 3)]
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij")).astype(np.uint8)  # (2, 256, 256)
    np.save(tmp_path / "pairs.npy", pairs[None])
    onnx.save(_additions_graph(additions), tmp_path / "additions.onnx")
    run_models(prepare(CPUS["cortex-a72"]), [tmp_path / "additions.onnx"], tmp_path / "pairs.npy", tmp_path / "out")
    found = stored_outputs(tmp_path / "out", tmp_path / "additions.onnx", 0)
    a, b = torch.from_numpy(pairs.astype(np.int64))
    for index, (a_range, b_range, result) in enumerate(additions):
        ours = fixed_point_add(a, a_range, b, b_range, result)
        assert ours is not None
        assert np.array_equal(found[f"sum{index}"][0, 0], ours.numpy()), (a_range.scale_value, b_range.scale_value)


def _additions_graph(additions: list[Any]) -> onnx.ModelProto:
    """(1, 2, 256, 256) uint8 -> the QLinearAdd of both halves, for each triple of the ranges of a, b and the result."""
    nodes = [helper.make_node("Split", ["pairs"], ["a", "b"], axis=1)]
    constants = []
    for index, ranges in enumerate(additions):
        inputs = []
        for side, range_ in zip(("a", "b", ""), ranges, strict=True):
            names = [f"{side or 'sum'}{index}_{kind}" for kind in ("scale", "zero")]
            constants += [
                helper.make_tensor(names[0], TensorProto.FLOAT, [], [range_.scale_value]),
                helper.make_tensor(names[1], TensorProto.UINT8, [], [int(range_.zero_point)]),
            ]
            inputs += [side, *names] if side else names
        nodes.append(helper.make_node("QLinearAdd", inputs, [f"sum{index}"], domain="com.microsoft"))
    outputs = [
        helper.make_tensor_value_info(f"sum{index}", TensorProto.UINT8, [1, 1, 256, 256])
        for index in range(len(additions))
    ]
    graph = helper.make_graph(
        nodes,
        "additions",
        [helper.make_tensor_value_info("pairs", TensorProto.UINT8, [1, 2, 256, 256])],
        outputs,
        constants,
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )
