"""A small data set, a small checkpoint, and one finished run of both, for the tests of CLI, pipeline and report."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

import edgegd  # noqa: F401 -- sets what onnxruntime and Ultralytics read when a test module imports them

pytest_plugins = ["own_folders", "cpu_report", "kinds", "loopback_sshd"]

# A test that passed passes again. New examples: pytest --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Both are read when torch and ultralytics are imported. Images of 64 px: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("YOLO_VERBOSE", "false")  # as the command itself sets it


class Outcome(NamedTuple):
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def own_device_lock(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests exclude each other, not the measurements that somebody makes on this machine meanwhile."""
    os.environ["EDGEGD_DEVICE_LOCK"] = str(tmp_path_factory.mktemp("lock") / "device.lock")


@pytest.fixture(scope="session")
def edgegd_command() -> Callable[..., Outcome]:
    """Runs `edgegd ARGUMENTS` in this process (importing torch again would take seconds)."""
    from edgegd.cli.main import main

    def call(*arguments: object) -> Outcome:
        out, err, before = io.StringIO(), io.StringIO(), sys.argv
        sys.argv = ["edgegd", *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        finally:
            sys.argv = before
        return Outcome(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def bccd_images() -> tuple[Path, ...]:
    """Twelve photographs with labels (tests/images/bccd/README.md): six for training, then six for validation."""
    paths = tuple(sorted((Path(__file__).parent / "images/bccd/images").glob("*/*.jpg")))
    assert len(paths) == 12
    return paths


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of eight training and four validation images of streets."""
    pytest.importorskip("cv2")
    from edgegd.data.streets import make_streets

    return make_streets(tmp_path_factory.mktemp("data") / "set", train=8, val=4, seed=0).parent


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO26n of random weights for the classes of streets.

    The biases of its class scores are raised: at their initial -11 it would detect nothing, which `verify` refuses.
    """
    torch = pytest.importorskip("torch")
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    model.names = {0: "pedestrian", 1: "car", 2: "traffic sign"}
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.1)
    head = model.model[-1]
    for branches, mean in ((head.cv3, -1.0), (head.one2one_cv3, -1.0), (head.cv2, 1.0), (head.one2one_cv2, 1.0)):
        for branch in branches:
            torch.nn.init.normal_(branch[-1].bias, mean, 0.1)
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    yolo = YOLO("yolo26n.yaml")
    yolo.model, yolo.ckpt = model, {}
    yolo.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_recipe(tiny_set: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose whole run takes seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        "version: 1\n"
        f"model: {{weights: {tiny_checkpoint}, imgsz: 64}}\n"
        f"data: {{source: streets, path: {tiny_set}}}\n"
        "quant: {calibration_images: 4}\n"
        "train: {epochs: 2, batch: 4, lr0: 1.0e-4}\n"
        "latency: {launches: 1, quads: 1, block_s: 0.02, warmup_s: 0.1}\n"
    )
    return path


@pytest.fixture(scope="session")
def finished_run(
    tiny_recipe: Path, edgegd_command: Callable[..., Outcome], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run of tiny_recipe; take `run_copy` to change anything in it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    outcome = edgegd_command("run", tiny_recipe, "--run-dir", folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], Mapping[str, bytes]]:
    """A function that reads every file below a folder, so that two moments can be compared."""

    def read(folder: Path) -> Mapping[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    return read
