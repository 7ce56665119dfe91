"""Float checkpoints. Oracle: files that Ultralytics itself saved, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgegd.data.ultralytics_as_given import as_given
from edgegd.detectors.architecture import read_architecture
from edgegd.detectors.deployment import deploy
from edgegd.detectors.float_checkpoint import locate_checkpoint, open_checkpoint, require_classes, require_stride
from edgegd.errors import (
    CheckpointNotFoundError,
    CheckpointTaskError,
    CheckpointUnreadableError,
    ClassCountError,
    ImageSizeError,
    UnsupportedModelError,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from ultralytics import YOLO

    path = tmp_path_factory.mktemp("checkpoints") / "detect.pt"
    YOLO("yolov8n.yaml").save(path)
    return path


def test_a_checkpoint_opens_in_float32(checkpoint):
    model = open_checkpoint(checkpoint)
    assert model.task == "detect" and {p.dtype for p in model.parameters()} == {torch.float32}
    assert locate_checkpoint(str(checkpoint)) == checkpoint


def test_a_missing_checkpoint_is_named():
    with pytest.raises(CheckpointNotFoundError, match=r"nowhere\.pt") as caught:
        locate_checkpoint("nowhere.pt")
    assert caught.value.exit_code == 30


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.9, 0.9999], ids=lambda share: f"{share:.3%}")
def test_a_truncated_checkpoint_is_unreadable(checkpoint, tmp_path, share):
    whole = checkpoint.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointUnreadableError, match=r"cut\.pt") as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 31 and f"{path.stat().st_size} bytes" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"hello, I am no checkpoint\n", b"PK\x03\x04 nor am I", b"\x80\x02N."],
    ids=["text", "zip", "pickle of None"],
)
def test_a_foreign_file_is_unreadable(tmp_path, content):
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointUnreadableError):
        open_checkpoint(path)


def test_a_state_dict_alone_is_unreadable(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "state.pt")
    with pytest.raises(CheckpointUnreadableError):
        open_checkpoint(tmp_path / "state.pt")


def _without_a_layer(model):
    del model.model[5]


def _narrower(model):
    model.model[0].conv.weight.data = model.model[0].conv.weight.data[:, :1]


@pytest.mark.parametrize(
    "spoil",
    [
        _without_a_layer,
        _narrower,
        lambda model: setattr(model.model[-1], "nc", "x"),
        lambda model: setattr(model, "stride", torch.zeros(3)),
        lambda model: setattr(model, "stride", torch.tensor([])),
        lambda model: setattr(model, "stride", torch.full((3,), float("nan"))),
        lambda model: model.model.__delitem__(-1),
    ],
    ids=["a-layer-missing", "another-shape", "classes-x", "stride-0", "no-stride", "stride-nan", "no-head"],
)
def test_a_model_that_cannot_work_is_refused_when_it_is_opened(checkpoint, tmp_path, spoil):
    stored = torch.load(checkpoint, weights_only=False)
    for key in ("model", "ema"):
        if stored.get(key) is not None:
            spoil(stored[key])
    path = tmp_path / "spoiled.pt"
    torch.save(stored, path)
    with pytest.raises(CheckpointUnreadableError, match=r"spoiled\.pt"):
        open_checkpoint(path)


@pytest.mark.parametrize("architecture", ["yolo26n-seg", "yolo11n-cls", "yolov8n-pose"])
def test_another_task_is_refused(tmp_path, architecture):
    from ultralytics import YOLO

    YOLO(f"{architecture}.yaml").save(tmp_path / "other.pt")
    with pytest.raises(CheckpointTaskError, match="task") as caught:
        open_checkpoint(tmp_path / "other.pt")
    assert caught.value.exit_code == 32


def test_other_classes_are_refused(checkpoint):
    model = open_checkpoint(checkpoint)
    names = tuple(model.names[index] for index in range(80))
    require_classes(model, names, "detect.pt")
    for wrong in (names[:3], (names[1], names[0], *names[2:])):
        with pytest.raises(ClassCountError, match=f"expected: {len(wrong)}") as caught:
            require_classes(model, wrong, "detect.pt")
        assert caught.value.exit_code == 33


def test_a_size_off_the_stride_is_refused_with_the_nearest_ones(checkpoint):
    model = open_checkpoint(checkpoint)
    require_stride(model, 320)
    with pytest.raises(ImageSizeError, match="96 or 128") as caught:
        require_stride(model, 100)
    assert caught.value.exit_code == 34


def test_end2end_of_a_model_without_such_a_head_is_refused(checkpoint):
    with pytest.raises(UnsupportedModelError, match="end-to-end"):
        deploy(open_checkpoint(checkpoint), end2end=True)


@pytest.mark.parametrize(
    "name", ["o'brien's.pt", "yolov5n.pt", "yolov3-tiny.pt", "yolov5n6.pt", "yolo26n.pt", "a b.pt"]
)
def test_a_checkpoint_is_opened_by_the_path_as_it_is_given(checkpoint, tmp_path, monkeypatch, name):
    def refuse(*arguments, **keywords):
        raise AssertionError(f"a name was looked up: {arguments[0]}")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "it's mine"
    folder.mkdir()
    for other in (name.replace("'", ""), "yolov5nu.pt", "yolov3-tinyu.pt", "yolov5n6u.pt"):
        (folder / other).write_bytes(b"another file, which Ultralytics would take")
    (folder / name).write_bytes(checkpoint.read_bytes())
    for path in (folder / name, Path("it's mine") / name):
        model = open_checkpoint(path)
        assert model.task == "detect" and model.pt_path == str(path.absolute())


def test_a_checkpoint_that_is_gone_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    with as_given(), pytest.raises(FileNotFoundError):
        from ultralytics.nn.tasks import load_checkpoint

        load_checkpoint(tmp_path / "yolo26n.pt")


def test_a_name_of_the_hub_is_downloaded_under_that_name(tmp_path, monkeypatch, checkpoint):
    import io
    import urllib.request

    asked = []

    def answer(url, timeout):
        asked.append(url)
        stream = io.BytesIO(checkpoint.read_bytes())
        stream.headers = {"Content-Length": str(checkpoint.stat().st_size)}
        return stream

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.chdir(tmp_path)
    assert locate_checkpoint("yolov5nu.pt") == tmp_path / "yolov5nu.pt"
    assert asked == ["https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov5nu.pt"]
    assert [path.name for path in tmp_path.iterdir()] == ["yolov5nu.pt"]


def test_the_release_is_the_one_that_ultralytics_downloads_from():
    import inspect

    from ultralytics.utils.downloads import attempt_download_asset

    from edgegd.detectors import float_checkpoint

    assert inspect.signature(attempt_download_asset).parameters["release"].default == float_checkpoint._RELEASE


@pytest.mark.parametrize(
    "name",
    ["yolo26n.yaml", "yolov8n.yaml", "yolov8n6.yaml", "yolov5nu.yaml", "yolo11s.yaml", "rtdetr-l.yaml", "yolov9t.yaml"],
)
def test_an_architecture_is_the_one_that_ultralytics_reads(name):
    from ultralytics.nn.tasks import yaml_model_load

    ours, theirs = read_architecture(name), yaml_model_load(name)
    assert {key: value for key, value in ours.items() if key != "yaml_file"} == {
        key: value for key, value in theirs.items() if key != "yaml_file"
    }
