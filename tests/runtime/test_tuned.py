"""Tuned threads beside a model or in its metadata, and what Detector and Stream make of them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgegd.device.fingerprint import fingerprint
from edgegd.device.threads import ThreadSetting
from edgegd.errors import OnnxUnreadableError, TuningError
from edgegd.runtime import Detector, Stream
from edgegd.runtime.session import load_session
from edgegd.runtime.tuned import METADATA_KEY, TunedThreads, metadata_text, read_tuned, store_tuned, tuned_file

MODEL = Path(__file__).parents[1] / "latency/baselines/streets-yolo26n/model.onnx"
LATENCY, THROUGHPUT = ThreadSetting(threads=2, spinning=True), ThreadSetting(threads=1, workers=3)
can_bind = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no threads to cores")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODEL, tmp_path / "qat.edge.onnx"))


def here(**changes: Any) -> TunedThreads:
    """Tuned threads for this machine."""
    machine = fingerprint()
    return replace(
        TunedThreads("local", machine["cpu"], machine["logical_cores"], LATENCY, THROUGHPUT), **changes
    )


def options(detector: Detector | Stream) -> tuple[int, str, str]:
    """Threads of a detector's session, and what was asked of their spinning."""
    session = detector.session if isinstance(detector, Detector) else detector._detectors.get().session
    found = session.get_session_options()
    keys = ("session.intra_op.allow_spinning", "session.force_spinning_stop")
    return (found.intra_op_num_threads, *map(found.get_session_config_entry, keys))  # type: ignore[return-value]


def test_a_detector_takes_the_setting_for_latency_a_stream_that_for_images_per_second(model: Path) -> None:
    assert store_tuned(model, here()) == model.with_name("qat.edge.threads.json")
    detector, stream = Detector(model, threads="tuned"), Stream(model, threads="tuned")
    assert detector.threads == LATENCY and options(detector) == (2, "1", "1")
    assert stream.threads == THROUGHPUT and stream.workers == 3 and options(stream) == (1, "0", "1")
    image = np.zeros((48, 64, 3), np.uint8)
    assert len(list(stream([image] * 4))) == 4 and detector(image).scores.dtype == np.float32


def test_several_threads_spin_while_an_inference_runs_and_never_between(model: Path) -> None:
    assert options(Detector(model)) == (1, "0", "1")
    assert options(Detector(model, threads=2)) == (2, "1", "1")
    assert options(Detector(model, threads=2, spinning=False)) == (2, "0", "1")
    assert options(Detector(model, threads=ThreadSetting(threads=2))) == (2, "0", "1")
    assert options(Stream(model)) == (1, "0", "1") and Stream(model).workers == 2
    assert options(Stream(model, workers=1, threads=2, spinning=False)) == (2, "0", "1")


def test_metadata_serves_where_there_is_no_file_beside_the_model(model: Path) -> None:
    file = onnx.load(model)
    keys = {entry.key: entry.value for entry in file.metadata_props}
    onnx.helper.set_model_props(file, {**keys, METADATA_KEY: metadata_text([here(latency=ThreadSetting(threads=3))])})
    onnx.save(file, model)
    assert Detector(model, threads="tuned").threads.threads == 3
    store_tuned(model, here())
    assert Detector(model, threads="tuned").threads == LATENCY, "the file beside it is the newer one"


def test_each_device_has_its_entry_and_the_newest_of_a_kind_counts(model: Path) -> None:
    store_tuned(model, here(target="board", cpu="Cortex-A76", logical_cores=4))
    with pytest.raises(TuningError, match=r"(?s)no tuned threads for this machine.*Cortex-A76 with 4"):
        read_tuned(model)
    store_tuned(model, here(latency=ThreadSetting(threads=5)))
    store_tuned(model, here(target="another name", latency=ThreadSetting(threads=6)))
    assert read_tuned(model).latency.threads == 6
    store_tuned(model, here())
    assert read_tuned(model) == here()
    found = json.loads(tuned_file(model).read_text())["devices"]
    assert [one["target"] for one in found] == ["board", "another name", "local"]


def test_without_a_record_the_message_says_how_to_make_one(model: Path, tmp_path: Path) -> None:
    for kind in (Detector, Stream):
        with pytest.raises(TuningError, match=r"(?s)qat.edge.threads.json.*edgegd latency tune"):
            kind(model, threads="tuned")
    assert TuningError.exit_code == 77
    with pytest.raises(OnnxUnreadableError):
        Detector(tmp_path / "none.onnx", threads="tuned")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"devices": {}},
        {"devices": [{}]},
        {"devices": [here().to_json() | {"latency": {"threads": 0, "spinning": True, "cores": [], "workers": 1}}]},
        {"devices": [here().to_json() | {"throughput": LATENCY.to_json() | {"cores": [-1]}}]},
        {"devices": [here().to_json() | {"cpu": 5}]},
        None,
    ],
    ids=str,
)
def test_a_damaged_record_is_named(model: Path, change: dict[str, Any] | None) -> None:
    file = store_tuned(model, here())
    file.write_text("{" if change is None else json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(TuningError, match=r"qat.edge.threads.json cannot be read"):
        read_tuned(model)
    store_tuned(model, here())  # tuning again mends it
    assert read_tuned(model) == here()


def test_a_record_of_another_model_is_refused(model: Path) -> None:
    store_tuned(model, here())
    other = onnx.load(model)
    other.doc_string = "made anew"
    onnx.save(other, model)
    with pytest.raises(TuningError, match="made for another model"):
        Detector(model, threads="tuned")


def test_what_is_no_number_of_threads_is_refused(model: Path) -> None:
    for wrong in (0, -1, 1.5, "best", True, None):
        with pytest.raises(ValueError, match="number of threads"):
            Detector(model, threads=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spinning is part"):
        Detector(model, threads=LATENCY, spinning=False)
    with pytest.raises(ValueError, match="workers of its own"):
        Stream(model, threads="tuned", workers=2)


def masks() -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()]


@can_bind
def test_threads_are_bound_to_the_cores_of_the_setting(model: Path) -> None:
    core, before, bound = max(os.sched_getaffinity(0)), os.sched_getaffinity(0), []
    if len(before) == 1:
        pytest.skip("this process may use one core only")
    store_tuned(model, here(latency=replace(LATENCY, cores=(core,)), throughput=replace(THROUGHPUT, cores=(core,))))
    already = masks().count({core})
    session = load_session(model, threads=3, cores=(core,))
    assert masks().count({core}) == already + 2 and os.sched_getaffinity(0) == before
    del session

    def look() -> None:
        Detector(model, threads="tuned")
        bound.append(os.sched_getaffinity(0))

    other = threading.Thread(target=look)  # the one that makes a detector is bound for good
    other.start()
    other.join()
    assert bound == [{core}]
    stream = Stream(model, threads="tuned")
    assert os.sched_getaffinity(0) == before, "whoever reads frames for a stream is not bound"
    results = stream(np.zeros((48, 64, 3), np.uint8) for _ in range(8))
    next(results)
    named = [thread for thread in threading.enumerate() if thread.name.startswith("edgegd-stream")]
    assert len(named) == 3 and {*os.sched_getaffinity(named[0].native_id or 0)} == {core}
    assert len(list(results)) == 7


@can_bind
def test_cores_that_are_not_there_are_an_error(model: Path) -> None:
    before = os.sched_getaffinity(0)
    store_tuned(model, here(latency=ThreadSetting(cores=(0, 9999))))
    with pytest.raises(TuningError, match="cannot be bound to the cores 0, 9999"):
        Detector(model, threads="tuned")
    assert os.sched_getaffinity(0) == before
