"""The prepared place: a small data set, a checkpoint, one finished run of both, a baseline, a gate, a calibration.

set/ tiny.pt tiny.yaml      what a user brings          run/              the finished run
list.yaml train.txt         the set by list files       baselines/ gates/one/    of the run
frames/ clip.avi voc.zip    what `predict` and `data fetch` read
device/                     the played devices: board.json is honest, liar.json what a case makes of it
home/                       the home folder, with the named targets board and liar
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import zipfile
from pathlib import Path
from random import Random
from typing import Any

from fuzz import forked
from fuzz.trial import Kind, Trial

DEVICE = Path(__file__).with_name("device.py")
SHIPPED, BOARD, LIAR, SSH_LIAR = "shipped", "board", "liar", "ssh-liar"
PREPARING_LIMIT_S = 900.0
QAT_CHECKPOINT = "qat-checkpoint.safetensors"
_KILLED = 9
RECIPE = """\
version: 1
model: {weights: tiny.pt, imgsz: 64}
data: {source: yaml, path: set/streets.yaml}
quant: {calibration_images: 4}
train: {epochs: 1, batch: 4}
latency: {launches: 1, quads: 1, block_s: 0.02, warmup_s: 0.1}
gate: {quads: 1, block_s: 0.02, warmup_s: 0.1}
target: {host: board}
"""


def make_base(place: Path, logs: Path, ssh: tuple[str, str] | None) -> None:
    """Fills the empty folder `place`; `ssh` are the URL and the ssh_config of an sshd, where there is one. Ends
    the program where a command of edgegd does not do what it is asked for.
    """
    for name in ("home/.config", "home/.cache", "tmp", "device", "frames"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "home/canary.txt").write_text("whoever changes this has followed a link\n")
    forked.prepare(Kind("base", 1, _user_files), Random(0), 0, place)
    url = f"command:{shlex.join([sys.executable, '-S', '-E', str(DEVICE), str(place / 'device/NAME.json')])}"
    for name in (BOARD, LIAR):
        _edgegd(place, logs, "target", "add", name, url.replace("NAME", name))
    if ssh is not None:
        python = shlex.join([sys.executable, "-S", "-E", str(DEVICE), str(place / f"device/{LIAR}.json")])
        _edgegd(place, logs, "target", "add", SSH_LIAR, ssh[0], "--python", python, "--ssh-config", ssh[1])
    _edgegd(place, logs, "data", "make", "streets", "set", "--train", "6", "--val", "3")
    _edgegd(place, logs, "run", "tiny.yaml", "--run-dir", "run")
    _edgegd(place, logs, "baseline", "set", "run", "--name", SHIPPED)
    _edgegd(place, logs, "latency", "calibrate", "run", "--target", BOARD, "--launches", "10")
    _edgegd(place, logs, "gate", "run", "--baseline", SHIPPED, "--target", BOARD, "--out", "gates", codes=(0, 90, 91))
    next((place / "gates").iterdir()).rename(place / "gates/one")
    images = sorted((place / "set/images/val").iterdir())
    for image in images:
        shutil.copy(image, place / "frames")
    _list_files(place)


def make_more(place: Path, logs: Path) -> None:
    """Adds the runs that take a minute: one whose recipe swaps and searches, one that was killed in QAT."""
    precision = ("--set", "precision.head_db=0", "--set", "precision.images=1")
    swap = ("--set", "quant.activation=relu", "--set", "train.adapt.epochs=1")
    _edgegd(place, logs, "run", "tiny.yaml", "--run-dir", "searched", *swap, *precision, "--until", "ptq")
    shutil.copytree(place / "run", place / "interrupted", symlinks=True)
    killed = Trial(("qat", "interrupted", "--force"), "")
    ending = forked.in_fork(lambda: _until_killed(killed, place), logs / "out", logs / "err", PREPARING_LIMIT_S)
    if ending.exit_code != _KILLED or not (place / "interrupted" / QAT_CHECKPOINT).exists():
        sys.exit(f"fuzz: the base has no interrupted training: {ending.out}{ending.err}")


def _until_killed(trial: Trial, place: Path) -> None:
    """Runs a training until it has written a checkpoint."""
    from edgegd.descent.checkpoint import Checkpoint, CheckpointFile

    write = CheckpointFile.write

    def write_and_die(self: CheckpointFile, checkpoint: Checkpoint) -> None:
        write(self, checkpoint)
        os._exit(_KILLED)

    CheckpointFile.write = write_and_die  # type: ignore[method-assign]
    forked.command(trial, place)


def _edgegd(place: Path, logs: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    ending = forked.run(Trial(arguments, ""), place, logs, PREPARING_LIMIT_S)
    if ending.exit_code not in codes:
        sys.exit(
            f"fuzz: the base cannot be made: edgegd {shlex.join(arguments)} ended with {ending.exit_code}\n"
            f"{ending.out}{ending.err}"
        )


def _list_files(place: Path) -> None:
    for split in ("train", "val"):
        lines = [f"./set/images/{split}/{image.name}" for image in sorted((place / f"set/images/{split}").iterdir())]
        (place / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (place / "list.yaml").write_text(
        "path: .\ntrain: train.txt\nval: val.txt\nnames: {0: pedestrian, 1: car, 2: traffic sign}\n"
    )


def _user_files(random: Random, place: Path, number: int) -> Trial:
    from edgegd.device.latency_worker import machine_facts

    (place / "tiny.yaml").write_text(RECIPE)
    (place / "device/facts.json").write_text(json.dumps(machine_facts()))
    for name in (BOARD, LIAR):
        spec = {"facts": str(place / "device/facts.json"), "lie": None, "real": ""}
        (place / f"device/{name}.json").write_text(json.dumps(spec))
    _write_checkpoint(place / "tiny.pt")
    _write_clip(place / "clip.avi")
    with zipfile.ZipFile(place / "voc.zip", "w") as archive:
        archive.writestr("BCCD_Dataset-master/BCCD/ImageSets/Main/train.txt", "BloodImage_00000\n")
        archive.writestr("BCCD_Dataset-master/BCCD/Annotations/BloodImage_00000.xml", "<annotation></annotation>")
    return Trial((), "")


def _write_checkpoint(path: Path) -> None:
    """A YOLO26n of random weights whose biases are raised: at their initial -11 it would detect nothing."""
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    model.names = {0: "pedestrian", 1: "car", 2: "traffic sign"}
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.1)
    layers: Any = model.model
    head = layers[-1]
    for branches, mean in ((head.cv3, -1.0), (head.one2one_cv3, -1.0), (head.cv2, 1.0), (head.one2one_cv2, 1.0)):
        for branch in branches:
            torch.nn.init.normal_(branch[-1].bias, mean, 0.1)
    yolo: Any = YOLO("yolo26n.yaml")
    yolo.model, yolo.ckpt = model, {}
    yolo.save(os.fspath(path))


def _write_clip(path: Path) -> None:
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(os.fspath(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for shade in (40, 120, 200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
