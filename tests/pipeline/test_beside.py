"""`edgegd latency RUN_DIR --beside NAME`, by the command. Oracle: the run's own files.

Where OpenVINO is not installed it is played by onnxruntime, and its model by the run's own fp32.onnx: then its mAP is
FP32's. Where a runtime's packages are installed, Ultralytics exports for it and the runtime itself is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from played_openvino import as_openvino, install

from edgegd.pipeline import beside as registry
from edgegd.pipeline.beside import BESIDE
from edgegd.pipeline.stages import beside as stage


@pytest.fixture
def played(run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, beside which OpenVINO is played, with the run's own float file as its model."""
    install(tmp_path / "packages", monkeypatch)

    def export(folder: Any, beside: Any, out: Path, contract: Any) -> None:
        as_openvino(folder.artifact("fp32.onnx"), out, contract.preprocessing.input_shape)

    monkeypatch.setattr(stage, "_export", export)
    return run_copy


def test_a_runtime_is_judged_and_timed_and_the_report_says_so(
    played: Path, edgegd_command: Callable[..., Any], contents: Callable[[Path], Mapping[str, bytes]]
) -> None:
    outcome = edgegd_command("latency", played, "--beside", "openvino", "--json")
    assert outcome.code == 0, outcome.err
    stored = json.loads(outcome.out)["results"]["local"]
    assert stored == json.loads((played / "latency-beside-local.json").read_text())
    assert set(stored["threads"]) >= {"1"} and stored["versions"] == {"openvino": "2026.0.0"}
    accuracy = json.loads((played / "accuracy.json").read_text())
    shipped = stored["edge"].removesuffix(".edge")
    assert stored["map50_95"]["openvino"] == stored["map50_95"]["fp32"] == accuracy["fp32"]["map50_95"]
    assert stored["map50_95"][stored["edge"]] == accuracy[shipped]["map50_95"]
    for threads, rivals in stored["rivals"].items():
        models = stored["threads"][threads]["models"]
        assert list(models) == [stored["edge"], "fp32", "openvino"] and [one["model"] for one in rivals] == ["openvino"]
        assert rivals[0]["speed"][0] == models["openvino"]["speedup"]
        assert stored["threads"][threads]["settings"]["threads"] == int(threads)
    of_pair = accuracy["differences"][f"{shipped}_vs_fp32"]["map50_95"]
    assert rivals[0]["difference"][0] == pytest.approx(-of_pair["difference"])

    again = edgegd_command("latency", played, "--beside", "openvino")
    assert "latency --beside openvino: unchanged, skipped" in again.err and "openvino (2026.0.0)" in again.out
    assert "On local with 1 thread" in again.out
    assert edgegd_command("report", played).code == 0
    text = (played / "report.md").read_text()
    assert "## Beside other runtimes" in text and "openvino (2026.0.0)" in text and "On local with 1 thread" in text

    (played / "latency-beside-pi5.json").write_text('{"files": 3}')  # whatever somebody left there
    (played / "fp32.onnx").write_bytes((played / "fp32.onnx").read_bytes() + b"\0")  # measured files are others now
    from edgegd.pipeline.beside_latency import stored_beside
    from edgegd.pipeline.run_folder import RunFolder

    assert stored_beside(RunFolder.open_existing(played)) == {}


def test_a_missing_package_is_one_message_with_one_command(
    run_copy: Path,
    edgegd_command: Callable[..., Any],
    contents: Callable[[Path], Mapping[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    before = contents(run_copy)
    outcome = edgegd_command("latency", run_copy, "--beside", "ncnn", "--beside", "litert-int8")
    assert outcome.code == 54 and not outcome.out
    command = "pip install ncnn pnnx==20260526 'ai-edge-litert>=2.3' 'litert-torch>=0.10' 'ai-edge-quantizer>=0.10'"
    assert command in outcome.err and contents(run_copy) == before


def test_a_device_that_lacks_the_runtime_is_told_before_anything_is_made(
    played: Path,
    edgegd_command: Callable[..., Any],
    contents: Callable[[Path], Mapping[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/openvino.py").write_text("raise ImportError('libopenvino.so: wrong ELF class')")
    before = contents(played)
    outcome = edgegd_command("latency", played, "--beside", "openvino")
    assert outcome.code == 82 and "wrong ELF class" in outcome.err
    assert f"{sys.executable} -m pip install openvino" in outcome.err and contents(played) == before


def test_an_export_that_fails_is_told_with_its_last_words(
    run_copy: Path, edgegd_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: True)
    install(tmp_path / "packages", monkeypatch)  # which has nothing that Ultralytics' export calls
    outcome = edgegd_command("latency", run_copy, "--beside", "openvino")
    assert outcome.code == 61 and "Ultralytics cannot export" in outcome.err and "exit status 1" in outcome.err
    assert not (run_copy / "beside-openvino.zip").exists() and not (run_copy / "latency-beside-local.json").exists()


def test_exporters_neither_install_packages_nor_report_what_they_convert() -> None:
    script = (
        "import sys; from edgegd.detectors import other_export\n"
        "class Stop(Exception): pass\n"
        "def stop(path): raise Stop\n"
        "other_export.YOLO = stop\n"
        "try:\n    other_export.export_other(other_export.Path(sys.argv[1]), None, 'mnn', (64, 64))\n"
        "except Stop:\n    print([sys.modules.get(name, 'could be imported') for name in sys.argv[2:]])"
    )
    names = ["MNN.tools.utils.log", "openvino_telemetry"]
    done = subprocess.run([sys.executable, "-c", script, __file__, *names], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[None, None]", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", BESIDE)
def test_an_installed_runtime_is_exported_judged_and_timed(
    name: str, run_copy: Path, edgegd_command: Callable[..., Any]
) -> None:
    for module in BESIDE[name].needs:
        pytest.importorskip(module, reason=f"{module} is not installed (edgegd[bench] or docs/device.md)")
    outcome = edgegd_command("latency", run_copy, "--beside", name, "--json")
    assert outcome.code == 0, outcome.err
    stored = json.loads(outcome.out)["results"]["local"]
    model = stored["threads"]["1"]["models"][name]
    assert model["median_ms"] > 0 and stored["versions"][name]
    if BESIDE[name].quantize is None:  # the same float network: what differs are roundings
        assert stored["map50_95"][name] == pytest.approx(stored["map50_95"]["fp32"], abs=0.02)
