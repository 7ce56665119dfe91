"""The outputs of `latency plot` and `gate` are checked first, and no file of another kind is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_measurement import made_measurement

from edgegd.errors import OutputFileError
from edgegd.latency.measuring.recording import Recording
from edgegd.safe_outputs import is_gate_markdown, is_junit, is_png

Command = Callable[..., Any]
MODEL = Path(__file__).parent / "baselines/streets-yolo26n/model.onnx"
SOMEBODYS = b"somebody's\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file of the user's, outside everything that a command may write to."""
    file = tmp_path / "elsewhere" / "precious.txt"
    file.parent.mkdir()
    file.write_bytes(SOMEBODYS)
    return file


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A file of raw data with one pair of blocks."""
    measurement = made_measurement(np.zeros(1))
    path = tmp_path / "raw.jsonl"
    with Recording(path, "local", measurement.design, measurement.models) as recording:
        for event in (*measurement.launches, *measurement.blocks):
            recording.emit(event)
        recording.finish("done")
    return path


@pytest.mark.parametrize("name", ["raw.jsonl", "elsewhere/precious.txt", "elsewhere", "elsewhere/precious.txt/x.png"])
def test_latency_plot(
    name: str, raw: Path, elsewhere: Path, edgegd_command: Command, contents: Callable[[Path], Mapping[str, bytes]]
) -> None:
    before = contents(raw.parent)
    outcome = edgegd_command("latency", "plot", raw, "--output", raw.parent / name)
    assert outcome.code == 56 and contents(raw.parent) == before


def test_latency_plot_replaces_its_own_picture(raw: Path, edgegd_command: Command) -> None:
    for _ in range(2):
        assert edgegd_command("latency", "plot", raw).code == 0
    assert is_png(raw.with_suffix(".png").read_bytes()[:4096])
    raw.with_suffix(".png").write_bytes(b"\x89PNG\r\n of a holiday")
    assert edgegd_command("latency", "plot", raw).code == 56


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
@pytest.mark.parametrize("name", ["candidate.onnx", "precious.txt", "folder", "link"])
def test_gate_refuses_an_output_before_it_measures(
    option: str,
    name: str,
    tmp_path: Path,
    edgegd_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], Mapping[str, bytes]],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("candidate.onnx", "baseline.onnx"):
        Path(file).write_bytes(MODEL.read_bytes())
    Path("precious.txt").write_bytes(SOMEBODYS)
    Path("folder").mkdir()
    Path("link").symlink_to("precious.txt")
    monkeypatch.setattr("edgegd.pipeline.gate.gate", lambda *_, **__: pytest.fail("it was measured"))
    before = contents(tmp_path)
    outcome = edgegd_command("gate", "candidate.onnx", "--baseline", "baseline.onnx", option, name)
    assert outcome.code == 56 and contents(tmp_path) == before and not Path("gates").exists()


def test_gate_of_a_run_folder_whose_gates_are_a_link(tmp_path: Path, elsewhere: Path, edgegd_command: Command) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "qat.edge.onnx").write_bytes(MODEL.read_bytes())
    (run / "gates").symlink_to(elsewhere.parent)
    outcome = edgegd_command("gate", run, "--baseline", MODEL, "--no-timing")
    assert outcome.code == 56 and list(elsewhere.parent.iterdir()) == [elsewhere]


def test_gate_writes_its_outputs_again(
    tmp_path: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        outcome = edgegd_command(
            "gate", MODEL, "--baseline", MODEL, "--no-timing", "--junit", "out/gate.xml", "--markdown", "out/gate.md"
        )
        assert outcome.code == 0, outcome.err
    assert is_junit(Path("out/gate.xml").read_bytes()) and is_gate_markdown(Path("out/gate.md").read_bytes())


def test_latency_on_a_target_is_not_measured_where_it_cannot_be_stored(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegd.pipeline import device_latency as latency
    from edgegd.pipeline.run_folder import RunFolder
    from edgegd.progress import Silent
    from edgegd.recipe.schema import Recipe

    folder = RunFolder.create(tmp_path / "run", Recipe(), "a/recipe")
    folder.artifact("latency-local.json").symlink_to(elsewhere)
    monkeypatch.setattr(latency, "on_each", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(OutputFileError, match="link"):
        latency.latency_on(folder, ["local"], Silent())
    assert elsewhere.read_bytes() == SOMEBODYS


def test_no_table_where_no_device_has_answered(
    run_copy: Path, edgegd_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    edgegd_command("target", "add", "mute", "command:true")
    outcome = edgegd_command("latency", "run", run_copy, "--target", "mute")
    assert outcome.code == 80 and "mute" in outcome.err and outcome.out == ""
