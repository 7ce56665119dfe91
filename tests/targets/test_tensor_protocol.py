"""A tensor worker here, and one that lies; oracles: the runtime's own preprocessing, onnxruntime, decoding."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from device_python import computed, device_python
from onnx import TensorProto, helper

from edgegd.device.tensor_worker import canonical, network_input
from edgegd.errors import DeviceSpaceError, EdgegdError, OnnxUnreadableError, WorkerError
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.decode import decode_raw
from edgegd.runtime.letterbox import letterbox
from edgegd.runtime.letterbox import network_input as of_runtime
from edgegd.targets.command import CommandTarget
from edgegd.targets.local import LocalTarget
from edgegd.targets.tensor_protocol import BESIDE, DeliveredImage, RemoteModel, TensorHash, opened
from edgegd.verify.device_codes import input_form

FORM = {"dtype": "float32", "channels": 3, "reversed": True, "divisor": 255.0}
SHAPE = (1, 6, 100)
CONF = 0.5
PORTABLE = Preprocessing((64, 96))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(1, 3, 10, 20) float32 -> output0 (1, 6, 100): the image itself, reshaped."""
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["output0"])]
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], SHAPE)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
        for name, sides in (("images", (1, 3, 10, 20)), ("output0", SHAPE))
    ]
    path = tmp_path_factory.mktemp("model") / "reshape.onnx"
    graph = helper.make_graph(nodes, "reshape", ends[:1], ends[1:], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> tuple[np.ndarray, DeliveredImage]:
    """Pixels of which few are above CONF in any class, and their file."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    pixels[:5, :, :] //= 4
    np.save(tmp_path / "image.npy", pixels)
    return pixels, DeliveredImage(
        str(tmp_path / "image.npy"), sha256((tmp_path / "image.npy").read_bytes()).hexdigest()
    )


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@contextmanager
def here(model: Path, store: str | None = None) -> Iterator[RemoteModel]:
    with opened(LocalTarget(), str(model), digest(model), threads=1, store=store) as remote:
        yield remote


@pytest.mark.parametrize(
    "preprocessing",
    [
        PORTABLE,
        Preprocessing.of_pixels(PORTABLE, 3),
        Preprocessing.of_pixels(PORTABLE, 4),
        Preprocessing.of_images((64, 96), 1),
        Preprocessing.of_images((64, 96), 5),
        Preprocessing.of_pixels(Preprocessing.of_images((64, 96), 1), 1),
    ],
    ids=["portable", "edge", "edge of four channels", "gray", "five bands", "gray edge"],
)
def test_an_image_becomes_the_input_that_the_runtime_makes(preprocessing: Preprocessing) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (50, 70, preprocessing.image_channels), dtype=np.uint8)
    expected, _ = of_runtime(pixels, preprocessing)
    found = network_input(letterbox(pixels, preprocessing)[0], input_form(preprocessing))
    assert found.dtype == expected.dtype and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_signed_codes_are_those_of_the_unsigned_file() -> None:
    unsigned = np.arange(256, dtype=np.uint8)
    signed = (unsigned.astype(np.int16) - 128).astype(np.int8)
    np.testing.assert_array_equal(canonical(signed), unsigned)
    assert TensorHash.of(signed) == TensorHash.of(unsigned)


def test_the_worker_tells_the_hash_and_the_values_that_onnxruntime_computes(model: Path, image: Any) -> None:
    pixels, delivered = image
    session = onnxruntime.InferenceSession(str(model))
    expected = session.run(None, {"images": network_input(pixels, FORM)})[0]
    with here(model) as remote:
        answer = remote.compute(delivered, FORM)
        assert answer.fresh and answer.tensors == {"output0": TensorHash.of(expected)}
        np.testing.assert_array_equal(remote.values(answer.tensors)["output0"], expected)


def test_of_a_raw_output_what_can_be_a_detection_comes_over(model: Path, image: Any) -> None:
    pixels, delivered = image
    whole = network_input(pixels, FORM).reshape(SHAPE)
    with here(model) as remote:
        found = remote.values(remote.compute(delivered, FORM).tensors, CONF)["output0"]
    kept = whole[0, 4:].max(axis=0) > CONF
    assert 0 < kept.sum() < 100 and not found[:, :, ~kept].any()
    np.testing.assert_array_equal(found[:, :, kept], whole[:, :, kept])
    for one, other in zip(
        *(decode_raw(o, conf=CONF, iou=0.7, max_det=300, multi_label=True) for o in (whole, found)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_what_was_computed_and_not_fetched_is_not_computed_again(model: Path, image: Any, tmp_path: Path) -> None:
    _, delivered = image
    python = device_python(tmp_path / "stub")
    target = CommandTarget.of("box", f"command:{python}", folder=str(tmp_path / "box"))
    path = target.deliver(model)

    def compute(store: str | None) -> tuple[bool, np.ndarray]:
        with opened(target, path, digest(model), threads=1, store=store) as remote:
            answer = remote.compute(delivered, FORM)
            return answer.fresh, remote.values(answer.tensors)["output0"]

    assert compute(None)[0] and compute(None)[0], "nothing is stored unless that is asked for"
    fresh, first = compute(BESIDE)
    again, second = compute(BESIDE)
    assert (fresh, again) == (True, False) and [*computed(tmp_path / "stub").values()] == [3]
    np.testing.assert_array_equal(first, second)
    assert len([*(tmp_path / "box" / "outputs").iterdir()]) == 1
    with opened(target, path, digest(model), threads=1, store=BESIDE) as remote:
        remote.done()
    assert not [*(tmp_path / "box" / "outputs").iterdir()]


def test_a_store_that_is_damaged_is_computed_anew(model: Path, image: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with here(model, str(store)) as remote:
        remote.compute(image[1], FORM)
    (kept,) = store.iterdir()
    kept.write_bytes(kept.read_bytes()[:-30])
    with here(model, str(store)) as remote:
        assert remote.compute(image[1], FORM).fresh


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda model, image: model.write_bytes(b"no model"), OnnxUnreadableError),
        (lambda model, image: image.write_bytes(b"no image"), WorkerError),
    ],
    ids=["model", "image"],
)
def test_files_that_are_none(
    model: Path, image: Any, tmp_path: Path, change: Callable[..., Any], kind: type[EdgegdError]
) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(model.read_bytes())
    change(own, Path(image[1].path))
    with pytest.raises(kind), here(own) as remote:
        remote.compute(image[1], FORM)


class Liar:
    """A worker that gives one answer to everything."""

    device = "the target liar"

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def send(self, message: dict[str, Any]) -> None:
        pass

    def receive(self, timeout_s: float) -> dict[str, Any]:
        return self.answer

    def close(self) -> None:
        pass


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


TRUTH = np.arange(600, dtype="<f4").reshape(SHAPE)
WANTED = {"output0": TensorHash.of(TRUTH)}


@pytest.mark.parametrize(
    ("sent", "above"),
    [
        ({}, None),
        ({"other": {"data": packed(TRUTH.tobytes()), "columns": None}}, None),
        ({"output0": {"data": packed(TRUTH.tobytes()[:-4]), "columns": None}}, None),
        ({"output0": {"data": packed((TRUTH + 1).tobytes()), "columns": None}}, None),
        ({"output0": {"data": packed(bytes(1 << 24)), "columns": None}}, None),
        ({"output0": {"data": "AAAA", "columns": None}}, None),
        ({"output0": {"data": packed(bytes(24)), "columns": packed(np.array([100], "<i4").tobytes())}}, 0.1),
        ({"output0": {"data": packed(bytes(48)), "columns": packed(np.array([7, 7], "<i4").tobytes())}}, 0.1),
        ({"output0": {"data": packed(bytes(24)), "columns": packed(bytes(3))}}, 0.1),
        ({"output0": {"data": packed(bytes(24)), "columns": packed(bytes(4 * 101))}}, 0.1),
    ],
    ids=[
        "nothing",
        "another tensor",
        "too few bytes",
        "other values",
        "endless",
        "not packed",
        "column 100 of 100",
        "a column twice",
        "half a column",
        "too many columns",
    ],
)
def test_values_that_cannot_be_true(sent: dict[str, Any], above: float | None) -> None:
    with pytest.raises(WorkerError, match="The target liar sent tensors that cannot be true"):
        RemoteModel(Liar({"values": sent})).values(WANTED, above)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"tensors": {}}, WorkerError, "cannot be true"),
        ({"computed": True, "tensors": {"a": {"sha256": "x", "dtype": "uint8", "shape": [1]}}}, WorkerError, "sha256"),
        ({"error": "outputs: No space left on device", "about": "space"}, DeviceSpaceError, "goes on where it stopped"),
    ],
    ids=["half an answer", "no hash", "a full disk"],
)
def test_answers_that_are_no_hashes(answer: dict[str, Any], kind: type[EdgegdError], words: str) -> None:
    with pytest.raises(kind, match=words):
        RemoteModel(Liar(answer)).compute(DeliveredImage("image.npy", "0" * 64), FORM)
