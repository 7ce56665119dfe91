"""Small files that describe enormous models. Oracle: the limits, and that nothing larger is ever allocated."""

from __future__ import annotations

import resource
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.nn.tasks import DetectionModel, guess_model_task

from edgegd.data.ultralytics_as_given import as_given
from edgegd.detectors.architecture import read_architecture
from edgegd.detectors.float_checkpoint import open_architecture, open_checkpoint
from edgegd.detectors.float_training import store_model
from edgegd.detectors.model_size import require_size_of_description
from edgegd.errors import CheckpointUnreadableError

PACKAGED = sorted((Path(ultralytics.__file__).parent / "cfg/models").rglob("*.yaml"))
PLAIN = """\
nc: 3
depth_multiple: 1.0
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 2, C3k2, [32]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[0, 2, 3], 1, Detect, [nc]]
"""
GROWN_BYTES = 700 << 20


@pytest.fixture(autouse=True)
def no_growth() -> Any:
    """No test may take much more memory or time than opening a small model does."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < GROWN_BYTES and time.process_time() - start < 60


@pytest.mark.parametrize(
    ("old", "new", "limit"),
    [
        ("[-1, 2, C3k2", "[-1, 100000000, C3k2", "1000 layers"),
        ("depth_multiple: 1.0", "depth_multiple: 1.0e+9", "layers"),
        ("nc: 3", "nc: 3\nscales: {n: [1.0e+8, 1.0, 1024]}", "layers"),
        ("[32, 3, 2]", "[1000000000, 3, 2]", "of at most 10000"),
        ("[32, 3, 2]", "[32, 100000, 2]", "of at most 10000"),
        ("[32, 3, 2]", "[10000, 300, 2]", "million parameters"),
        ("nc: 3", "nc: 100000000", "25000 classes"),
        ("nc: 3", "nc: 90000", "25000 classes"),
        ("nc: 3", "nc: 3\nreg_max: 100000000", "million parameters"),
        ("nc: 3", "nc: 3\nchannels: 10000000", "parameters"),
        ("[-1, 1, Conv, [64, 3, 2]]", "[-1, 1, nn.Upsample, [None, 9999, nearest]]", "million values"),
        ("[-1, 1, Conv, [64, 3, 2]]", "[-1, 1, SPPF, [64, 5, 10000]]", "million"),
        ("nc: 3", "nc: 3\nactivation: nn.Linear(100000, 100000)", "million parameters"),
    ],
    ids=lambda text: text[:40],
)
def test_an_architecture(old: str, new: str, limit: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(PLAIN)
    open_architecture(str(path))
    assert old in PLAIN
    path.write_text(PLAIN.replace(old, new))
    with pytest.raises(CheckpointUnreadableError, match=rf"(?s)larger than any detector.*{limit}"):
        open_architecture(str(path))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_ultralytics_own_are_none_of_these_in_their_largest_scale(path: Path) -> None:
    description = read_architecture(path.name)
    if guess_model_task(description) != "detect" or "world" in path.name:
        pytest.skip("no detector that edgegd opens")
    scales = description.get("scales") or {}
    description["scale"] = next((one for one in "xel" if one in scales), description["scale"])
    with as_given():
        require_size_of_description(description, path)


def _expanded(model: Any) -> None:
    model.half()
    model.model[0].conv.weight = nn.Parameter(
        torch.zeros(1, dtype=torch.half).expand(100_000, 10_000, 1, 1), requires_grad=False
    )


def _buffer(model: Any) -> None:
    model.register_buffer("more", torch.zeros(1, dtype=torch.half).expand(1 << 33))


def _enlarging(model: Any) -> None:
    next(one for one in model.modules() if isinstance(one, nn.Upsample)).scale_factor = 3000.0


def _classes(model: Any) -> None:
    model.model[-1].nc = 10**9


@pytest.fixture(scope="module")
def small() -> Any:
    model: Any = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    model.names, model.args = {0: "a", 1: "b", 2: "c"}, {}
    return model


@pytest.mark.parametrize("change", [_expanded, _buffer, _enlarging, _classes])
def test_a_checkpoint(change: Callable[[Any], None], small: Any, tmp_path: Path) -> None:
    import copy

    path = tmp_path / "tiny.pt"
    store_model(small, path)
    open_checkpoint(path)
    model = copy.deepcopy(small)
    change(model)
    store_model(model, path)
    assert path.stat().st_size < 20 << 20
    with pytest.raises(CheckpointUnreadableError, match=r"larger than any detector|does not work"):
        open_checkpoint(path)


def test_a_compressed_checkpoint(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_model(small, tmp_path / "tiny.pt")
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(tmp_path / "tiny.pt") as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in source.infolist():
            archive.writestr(record.filename, source.read(record))
    open_checkpoint(packed)  # torch reads it
    bomb = tmp_path / "bomb.pt"
    shutil.copy(packed, bomb)
    monkeypatch.setattr("edgegd.detectors.model_size.CHECKPOINT_BYTES", 40 << 20)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("tiny/data/9999", "w") as file:
        for _ in range(50):
            file.write(bytes(1 << 20))
    assert bomb.stat().st_size < 20 << 20
    with pytest.raises(CheckpointUnreadableError, match=r"(?s)at most 40 MiB, unpacked"):
        open_checkpoint(bomb)
