"""`edgegd latency tune` on a finished run: what it prints, stores, reports and puts beside the models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edgegd.device.fingerprint import fingerprint
from edgegd.device.threads import ThreadSetting
from edgegd.errors import MissingArtifactError
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.tuning import stored_tuning, tuned_setting
from edgegd.report.threads import recommendations
from edgegd.runtime import Detector, Stream
from edgegd.runtime.tuned import METADATA_KEY

Command = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def tuned_run(finished_run: Path, edgegd_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, tuned on this machine; `shipped.onnx` beside it carries the result."""
    folder = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("tuned") / "run", symlinks=True))
    outcome = edgegd_command("latency", "tune", folder, "--embed", folder.parent / "shipped.onnx", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == json.loads((folder / "tune-local.json").read_text())
    return folder


@pytest.fixture
def tuned_copy(tuned_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned_run, tmp_path / "run", symlinks=True))


@pytest.fixture
def stored(tuned_run: Path) -> dict[str, Any]:
    return json.loads((tuned_run / "tune-local.json").read_text())


def setting_of(found: Any, question: str) -> ThreadSetting:
    return ThreadSetting.from_json(found[question]["setting"])


def test_every_candidate_of_both_files_is_stored(stored: dict[str, Any], tuned_run: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shipped = json.loads((tuned_run / "report.json").read_text())["ship"]["model"]
    assert stored["file"] == f"{shipped}.edge.onnx" and set(stored["models"]) == {stored["file"], "fp32.onnx"}
    assert stored["machine"]["cpu"] == fingerprint()["cpu"] and stored["launches"] == 1
    for question in ("latency", "throughput"):
        found = stored["candidates"][question]
        assert {one["file"] for one in found} == set(stored["models"])
        assert max(one["setting"]["threads"] for one in found) == cores
        best = stored[question]
        assert best["setting"] in [one["setting"] for one in found if one["file"] == stored["file"]]
        assert best["fp32"]["as_good"] is (best["fp32"]["speedup_low"] <= 1)
    assert all(one["idle_load"] < 0.5 for one in stored["candidates"]["latency"])


def test_detectors_take_what_lies_beside_their_models(stored: dict[str, Any], tuned_run: Path) -> None:
    model = tuned_run / stored["file"]
    assert Detector(model, threads="tuned").threads == setting_of(stored, "latency")
    assert Stream(model, threads="tuned").threads == setting_of(stored, "throughput")
    fp32 = Detector(tuned_run / "fp32.onnx", threads="tuned")
    assert fp32.threads in [setting_of({"one": one}, "one") for one in stored["candidates"]["latency"]]


def test_one_file_to_ship_carries_them(stored: dict[str, Any], tuned_run: Path) -> None:
    import numpy as np

    shipped, model = tuned_run.parent / "shipped.onnx", tuned_run / stored["file"]
    assert METADATA_KEY in Detector(shipped).session.get_modelmeta().custom_metadata_map
    assert Detector(shipped, threads="tuned").threads == setting_of(stored, "latency")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    ours, copied = (Detector(path, conf=0.001)(image) for path in (model, shipped))
    assert len(ours) and ours.scores.tobytes() == copied.scores.tobytes()


def test_the_function_for_others_gives_the_setting_or_none(stored: dict[str, Any], tuned_run: Path) -> None:
    folder = RunFolder.open_existing(tuned_run)
    assert tuned_setting(folder, "local") == setting_of(stored, "latency")
    assert tuned_setting(folder, "pi5") is None and stored_tuning(folder, "local") == stored


def test_the_report_shows_it_and_is_made_anew(edgegd_command: Command, tuned_copy: Path, stored: dict[str, Any]) -> None:
    made = edgegd_command("report", tuned_copy, "--json")
    assert json.loads(made.out)["stages"] == {"report": "ran"}, made.err
    assert json.loads((tuned_copy / "report.json").read_text())["tuning"] == [stored]
    text = (tuned_copy / "report.md").read_text()
    section = text[text.index("## Threads") : text.index("## ", text.index("## Threads") + 5)]
    assert all(line in section for line in recommendations(stored)) and section.count("| best") == 2
    assert json.loads(edgegd_command("report", tuned_copy, "--json").out)["stages"] == {"report": "unchanged"}
    (tuned_copy / "tune-local.json").unlink()
    edgegd_command("report", tuned_copy)
    assert "## Threads" not in (tuned_copy / "report.md").read_text()


def test_people_read_a_table_and_two_recommendations(edgegd_command: Command, tuned_copy: Path) -> None:
    outcome = edgegd_command("latency", "tune", tuned_copy, "--file", "ptq.onnx", "--launches", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("ptq.onnx on local\n")
    for line in ("For one image as soon as possible: ", "For images per second: ", "busy cores in a pause"):
        assert line in outcome.out
    assert (tuned_copy / "ptq.threads.json").exists()


def as_good(stored: dict[str, Any], question: str, low: float) -> list[str]:
    one = stored[question]
    one["fp32"] |= {"speedup": 1.2, "speedup_low": low, "speedup_high": 1.5, "as_good": low <= 1}
    return [line for line in recommendations(stored) if line.startswith("FP32 is as good here")]


def test_it_says_where_fp32_is_as_good(stored: dict[str, Any]) -> None:
    as_good(stored, "throughput", 1.1)
    assert as_good(stored, "latency", 1.1) == []
    (line,) = as_good(stored, "latency", 0.95)
    assert "for one image as soon as possible" in line and "1.20x [0.95, 1.50]" in line
    assert len(as_good(stored, "throughput", 0.95)) == 2
    disturbed = recommendations(stored | {"stable": False, "faults": ["throttled: CPU"]})
    assert "Not every warm-up became stable" in disturbed[-2] and "throttled: CPU" in disturbed[-1]


@pytest.fixture
def unchanged(tuned_copy: Path, contents: Contents) -> Iterator[None]:
    before = contents(tuned_copy)
    yield
    assert contents(tuned_copy) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--file", "none.onnx"), 40, "There is no model none.onnx"),
        (("--file", "../run/qat.onnx"), 40, "There is no model ../run/qat.onnx"),
        (("--target", "mars"), 97, "mars"),
        (("--launches", "0"), 2, "0 is not in the range"),
    ],
    ids=str,
)
def test_bad_input_is_refused_and_nothing_is_changed(
    edgegd_command: Command, tuned_copy: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    outcome = edgegd_command("latency", "tune", tuned_copy, *arguments)
    assert outcome.code == code and said in outcome.err and "Traceback" not in outcome.err


@pytest.mark.usefixtures("unchanged")
def test_outputs_that_must_not_be_written_are_refused_before_the_measurement(
    edgegd_command: Command, tuned_copy: Path, tmp_path: Path
) -> None:
    for out in (tuned_copy / "qat.onnx", tuned_copy):
        outcome = edgegd_command("latency", "tune", tuned_copy, "--embed", out)
        assert outcome.code == 56 and "--embed" in outcome.err


def test_nothing_is_written_through_a_link(edgegd_command: Command, tuned_copy: Path, tmp_path: Path) -> None:
    for name in ("fp32.threads.json", "tune-local.json"):
        file, elsewhere = tuned_copy / name, tmp_path / "elsewhere"
        file.unlink()
        file.symlink_to(elsewhere)
        outcome = edgegd_command("latency", "tune", tuned_copy)
        assert outcome.code == 56 and "is a link" in outcome.err and not elsewhere.exists()
        file.unlink()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"latency": {"setting": {"threads": "2"}}}'])
def test_a_damaged_tuning_is_named(edgegd_command: Command, tuned_copy: Path, text: str) -> None:
    (tuned_copy / "tune-local.json").write_text(text)
    with pytest.raises(MissingArtifactError, match=r"(?s)tune-local.json.*edgegd latency tune"):
        tuned_setting(RunFolder.open_existing(tuned_copy), "local")
    outcome = edgegd_command("report", tuned_copy)
    assert outcome.code == 53 and "tune-local.json" in outcome.err and "Traceback" not in outcome.err
