"""Small files that stand for enormous things: each is one error that names its limit, at once and in little memory.

Oracle: the limits of edgegd.limits, and the peak of this process' memory around the reading.
"""

from __future__ import annotations

import json
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgegd.data import image_files
from edgegd.data.bccd import fetch_bccd
from edgegd.data.dataset import open_dataset
from edgegd.device.latency_worker import Refusal, make_feed
from edgegd.errors import (
    BaselineDamagedError,
    DataNotFoundError,
    DownloadError,
    MeasurementFileError,
    MetadataError,
    NoImagesError,
    RecipeError,
    RunFolderMismatchError,
    TargetUnknownError,
    UnreadableImageError,
)
from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.measuring.recording import load_measurement
from edgegd.limits import CLASSES, IMAGE_PIXELS, THREADS, YAML_NODES
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.load import load_recipe, parse_recipe
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import ModelContract, OutputContract, Preprocessing
from edgegd.runtime.images import decode_bytes, read_image
from edgegd.safe_yaml import YamlProblem, load_yaml
from edgegd.targets.registry import load_targets


def laughs(levels: int = 10) -> str:
    """Aliases of aliases: 9 ** levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def at_once_and_in_little_memory() -> Iterator[None]:
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 << 10, "KiB"
    assert time.process_time() - start < 60  # of this process alone: the machine may be busy


@pytest.mark.parametrize(
    "text",
    [
        laughs(),
        laughs(30),
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "[" * 100_000,
        "- a\n" * 60_000,
        "a: &a {x: 1}\n" + "b: {<<: [" + "*a, " * 60_000 + "*a]}\n",
    ],
    ids=["laughs", "many laughs", "circle", "circle of keys", "deep", "long", "merges"],
)
def test_yaml(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(YamlProblem) as caught:
        load_yaml(text)
    said = caught.value.text
    with pytest.raises(RecipeError, match=said[:20]):
        parse_recipe(text)
    with pytest.raises(RecipeError, match=r"train\.epochs"):
        parse_recipe("version: 1", [f"train.epochs={text}"])
    file = tmp_path / "edgegd" / "targets.yaml"
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(TargetUnknownError, match=said[:20]):
        load_targets()
    with pytest.raises(DataNotFoundError, match=said[:20]):
        open_dataset(DataSection(path=str(file)))


def test_the_limit_of_aliases_is_named() -> None:
    with pytest.raises(YamlProblem, match=f"more than {YAML_NODES} values, with its aliases written out"):
        load_yaml(laughs())
    assert load_yaml("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_a_long_yaml_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    with file.open("wb") as opened:
        opened.truncate(3 << 30)
    with pytest.raises(RecipeError, match="more than 1 MiB"):
        load_recipe(file)
    with pytest.raises(DataNotFoundError, match="more than 1 MiB"):
        open_dataset(DataSection(path=str(file)))


@pytest.mark.parametrize("nc", [100_000_000, 10**30, -1, 0, "true", 1.5, CLASSES + 1])
def test_a_number_of_classes(data_set: Path, nc: Any) -> None:
    data_set.write_text(f"train: images\nval: images\nnc: {nc}\n")
    with pytest.raises(DataNotFoundError, match=r"nc|names"):
        open_dataset(DataSection(path=str(data_set)))


@pytest.mark.parametrize(
    "override",
    [
        "model.imgsz=99968",
        "latency.threads=1000000",
        f"latency.threads={THREADS + 1}",
        "train.workers=100000",
        "train.epochs=100000000000",
        "train.batch=1000000000",
        "train.seed=4294967296",
        "data.seed=99999999999",
        "data.train_images=1000000000000",
        "latency.block_s=1000000",
        "gate.quads=1000000000",
        "gate.margin=.inf",
        "gate.margin=.nan",
        "quant.calibration_images=10000000000000000000000",
        "accuracy.max_det=1000000000",
    ],
)
def test_a_recipe(override: str) -> None:
    key = override.split("=")[0]
    with pytest.raises(RecipeError, match=rf"{key}: expected (at most|a finite|at least)"):
        parse_recipe("version: 1\ndata: {source: yaml, path: x.yaml}\n", [override])


def png(width: int, height: int, color: int = 2) -> bytes:
    """A whole PNG of zeros, compressed by a thousand; nothing of it is held unpacked."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row, packer = bytes(1 + width * (3 if color == 2 else 1)), zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(min(height, 400))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def huge(suffix: str) -> bytes:
    """A small picture whose header says 32,000 x 32,000."""
    small = cv2.imencode(suffix, np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    if suffix == ".jpg":
        place = small.index(b"\xff\xc0") + 5
        return small[:place] + struct.pack(">HH", 32_000, 32_000) + small[place + 4 :]
    if suffix == ".bmp":
        return small[:18] + struct.pack("<ii", 32_000, 32_000) + small[26:]
    assert suffix == ".tiff"
    changed = bytearray(small)
    (place,) = struct.unpack("<I", small[4:8])
    for entry in range(struct.unpack("<H", small[place : place + 2])[0]):
        start = place + 2 + 12 * entry
        if struct.unpack("<H", small[start : start + 2])[0] in (256, 257):
            changed[start + 2 : start + 12] = struct.pack("<HII", 4, 1, 32_000)
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("32000.png", png(32_000, 32_000)),
        ("gray.png", png(30_000, 30_000, 0)),
        ("wide.png", png(200_000, 1_000)),
        ("32000.jpg", huge(".jpg")),
        ("32000.bmp", huge(".bmp")),
    ],
    ids=["png", "gray png", "wide png", "jpg", "bmp"],
)
def test_a_picture_of_a_thousand_megapixels(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"{name}: \d+ x \d+ pixels are more than the {IMAGE_PIXELS:,}"):
        read_image(tmp_path / name)


def test_a_picture_whose_size_only_its_decoder_knows() -> None:
    image, problem = decode_bytes(huge(".tiff"))
    assert image is None and problem


def test_a_picture_file_of_many_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "long.jpg").open("wb") as file:
        file.write(b"\xff\xd8")
        file.truncate(40 << 30)
    with pytest.raises((UnreadableImageError, MemoryError), match="MiB"):
        read_image(tmp_path / "long.jpg")


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set's YAML beside one image."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    return tmp_path / "data.yaml"


def test_links_that_loop(data_set: Path) -> None:
    images = data_set.parent / "images"
    (images / "again").symlink_to(images)
    with pytest.raises(NoImagesError, match="lead in a circle"):
        open_dataset(DataSection(path=str(data_set)))


def test_links_that_multiply(data_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MANY_FOLDERS", 2_000)
    for level in range(30):
        folder = data_set.parent / f"level{level}"
        folder.mkdir()
        for side in "ab":
            (folder / side).symlink_to(data_set.parent / f"level{level + 1}")
    (data_set.parent / "level30").mkdir()
    (data_set.parent / "images" / "in").symlink_to(data_set.parent / "level0")
    with pytest.raises(NoImagesError, match="too many files"):
        open_dataset(DataSection(path=str(data_set)))


def test_a_link_to_another_folder_is_followed(data_set: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    (tmp_path / "images" / "more").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in open_dataset(DataSection(path=str(data_set))).train_images] == ["a.png", "b.png"]


def test_an_archive_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("BCCD/ImageSets/Main/train.txt", "a\n")
        content.writestr("BCCD/ImageSets/Main/val.txt", "a\n")
        with content.open("BCCD/BCCD/JPEGImages/a.jpg", "w", force_zip64=True) as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(DownloadError, match=r"(?s)bomb.zip.*more than 64 MiB"):
        fetch_bccd(tmp_path / "bccd", archive=archive)
    assert not (tmp_path / "bccd").exists()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a": ' * 100_000, b"9" * 100_000, b"\xff\xfe", b"null", b"[1]"],
    ids=["deep", "deep keys", "long number", "no UTF-8", "null", "list"],
)
def test_json_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(content)
    (tmp_path / "run" / "recipe.yaml").write_text("version: 1\ndata: {path: x.yaml}\n")
    with pytest.raises(RunFolderMismatchError, match=r"run\.json is damaged"):
        RunFolder.open_existing(tmp_path / "run")
    (tmp_path / "baselines" / "b").mkdir(parents=True)
    (tmp_path / "baselines" / "b" / "baseline.json").write_bytes(content)
    with pytest.raises(BaselineDamagedError):
        Baseline.load("b", tmp_path / "baselines")
    (tmp_path / "raw.jsonl").write_bytes(content + b"\n")
    with pytest.raises(MeasurementFileError):
        load_measurement(tmp_path / "raw.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        {"durations_ns": [0]},
        {"durations_ns": [True]},
        {"durations_ns": []},
        {"durations_ns": ["5"]},
        {"first_ns": -1},
        {"durations_ns": [10**30]},
        {"before": 5},
        {"before": {"clocks_ns": {"monotonic": "x"}}},
        {"model": "other"},
        {"faults": "throttled"},
        {"quad": -1},
        {"launch": None},
    ],
    ids=str,
)
def test_stored_blocks_are_believed_no_more_than_devices(tmp_path: Path, line: dict[str, Any]) -> None:
    design = {"launches": 1, "quads": 1, "block_s": 0.1, "warmup_s": 1, "threads": 1, "spinning": False}
    header = {
        "kind": "header",
        "schema": 1,
        "target": "t",
        "started": "",
        "design": design,
        "models": {"m": {"file": "m.onnx", "sha256": "0", "size_bytes": 1}},
    }
    block = {
        "kind": "block",
        "launch": 0,
        "quad": 0,
        "place": 0,
        "model": "m",
        "first_ns": 1,
        "durations_ns": [1],
        "before": {},
        "after": {},
        "faults": [],
    }
    file = tmp_path / "raw.jsonl"
    file.write_text(f"{json.dumps(header)}\n{json.dumps(block)}\n")
    assert len(load_measurement(file).blocks) == 1
    file.write_text(f"{json.dumps(header)}\n{json.dumps(block | line)}\n")
    with pytest.raises(MeasurementFileError, match="block"):
        load_measurement(file)


def test_an_input_that_a_machine_cannot_hold() -> None:
    class Node:
        name, type, shape = "images", "tensor(float)", [1, 3, 99968, 99968]

    with pytest.raises(Refusal, match="million values"):
        make_feed([Node()], 0, None)


def test_a_contract_of_an_enormous_input() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        Preprocessing(imgsz=(99968, 99968))
    contract = ModelContract(Preprocessing(imgsz=(64, 64)), OutputContract("end2end", (1, 300, 6)), ("a",), 32)
    for key, value in {
        "preprocessing": '{"imgsz": [99968, 99968]}',
        "names": "[" * 100_000,
        "stride": "9" * 9_999,
        "output": "NaN",
    }.items():
        with pytest.raises(MetadataError):
            ModelContract.from_metadata(contract.to_metadata() | {f"edgegd.{key}": value})
