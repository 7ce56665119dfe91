"""The worker as a device sees it: a copy of its one file, run isolated, spoken to over its pipes."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import END_S

from edgegd.device import latency_worker as worker_module
from edgegd.device.latency_worker import Refusal, make_feed

CONFIGURATION = {"threads": 1, "spinning": False, "optimization": "all", "seed": 0, "input": None}


class Conversation:
    """One worker process; `ask` returns its answer to one message."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={"PYTHONPATH": "", **(environment or {})},
        )

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Conversation]:
    """A copy of worker.py in an empty folder, run by `python -I`, where edgegd is not importable."""
    file = tmp_path / "worker.py"
    text = Path(worker_module.__file__).read_text()
    block = "import sys as _s\n_s.modules['edgegd'] = _s.modules['torch'] = _s.modules['onnx'] = None\n"
    file.write_text(text.replace("import os\n", block + "import os\n", 1))
    conversation = Conversation([sys.executable, "-I", str(file)], tmp_path)
    yield conversation
    conversation.process.kill()
    conversation.process.communicate(timeout=END_S)


def test_copy_measures_without_edgegd(copied: Conversation, make_model: Any) -> None:
    model = make_model("copied")
    ready = copied.ask({"configure": {**CONFIGURATION, "model": str(model)}})
    assert ready["ready"] is True and ready["load_ms"] > 0
    assert ready["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert ready["machine"]["onnxruntime"] and ready["machine"]["numpy"] == np.__version__
    answer = copied.ask({"run": 0.05})
    assert len(answer["durations_ns"]) >= 3 and all(isinstance(d, int) and d > 0 for d in answer["durations_ns"])
    assert sum(answer["durations_ns"]) > 0.01e9, "most of a 0.05 s block is spent in inferences, in ns"


def test_hello_tells_the_machine_and_its_state(copied: Conversation, tmp_path: Path) -> None:
    answer = copied.ask({"hello": worker_module.PROTOCOL})
    assert answer["protocol"] == worker_module.PROTOCOL and answer["pid"] == copied.process.pid
    assert answer["machine"]["core_mask"] == sorted(os.sched_getaffinity(copied.process.pid))
    assert "git-commit-id" in answer["machine"]["onnxruntime_build"]
    assert set(answer["state"]["clocks_ns"]) == {"monotonic", "boottime", "wall"}
    assert 0 < answer["free_bytes"] < shutil.disk_usage(tmp_path).total
    assert copied.ask({"hello": 1}) == {
        "error": f"this worker speaks version {worker_module.PROTOCOL}, not 1",
        "about": "protocol",
    }


def test_blocks_carry_the_states_of_the_device(copied: Conversation, make_model: Any) -> None:
    copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("states"))}})
    answer = copied.ask({"run": 0.2})
    passed_ns = answer["after"]["clocks_ns"]["monotonic"] - answer["before"]["clocks_ns"]["monotonic"]
    assert passed_ns >= 0.2e9 and passed_ns >= answer["first_ns"] + sum(answer["durations_ns"])
    assert answer["after"]["own_ticks"] > answer["before"]["own_ticks"]


def test_burst_and_memory(copied: Conversation, make_model: Any) -> None:
    copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("burst"))}})
    durations = copied.ask({"burst": 7})["durations_ns"]
    assert len(durations) == 7 and all(isinstance(d, int) and d > 0 for d in durations)

    def peak() -> int:
        status = Path(f"/proc/{copied.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024

    before = peak()
    assert before <= copied.ask({"memory": True})["peak_bytes"] <= peak()


def test_reading_a_large_file_for_its_hash_is_not_its_peak_memory(copied: Conversation, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    assert copied.ask({"configure": {**CONFIGURATION, "model": str(large), "sha256": "0" * 64}})["about"] == "hash"
    assert copied.ask({"memory": True})["peak_bytes"] < 200 << 20


def test_only_the_model_that_was_asked_for_is_loaded(copied: Conversation, make_model: Any) -> None:
    model = make_model("hashed")
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    wrong = copied.ask({"configure": {**CONFIGURATION, "model": str(model), "sha256": "f" * 64}})
    assert wrong["about"] == "hash" and sha256 in wrong["error"]
    assert "no model is loaded" in copied.ask({"run": 0})["error"]
    for expected in (sha256, None):
        assert copied.ask({"configure": {**CONFIGURATION, "model": str(model), "sha256": expected}})["ready"] is True


def test_another_provider_than_asked_for_is_an_error(copied: Conversation, make_model: Any) -> None:
    asked = {**CONFIGURATION, "model": str(make_model("provider")), "provider": "XnnpackExecutionProvider"}
    answer = copied.ask({"configure": asked})
    assert answer["about"] == "onnxruntime" and "XnnpackExecutionProvider" in answer["error"]


@pytest.mark.parametrize(
    ("stub", "words"),
    [
        ("raise ImportError('wrong ELF class')", "wrong ELF class"),
        ("__version__ = '1.22.0'", "1.22.0 is too old"),
        ("", "__version__"),
    ],
    ids=["broken", "too old", "no onnxruntime at all"],
)
def test_hello_works_where_configure_tells_what_onnxruntime_lacks(
    tmp_path: Path, make_model: Any, stub: str, words: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text(stub)
    conversation = Conversation([sys.executable, worker_module.__file__], tmp_path, {"PYTHONPATH": str(tmp_path)})
    version = conversation.ask({"hello": worker_module.PROTOCOL})["machine"]["onnxruntime"]
    assert version == ("1.22.0" if "1.22" in stub else None)
    answer = conversation.ask({"configure": {**CONFIGURATION, "model": str(make_model("stub"))}})
    assert answer["about"] == "onnxruntime" and words in answer["error"] and sys.executable in answer["error"]
    conversation.process.communicate('{"quit": true}\n', timeout=30)


def test_without_numpy_and_onnxruntime_hello_still_works(tmp_path: Path, make_model: Any) -> None:
    conversation = Conversation([sys.executable, "-S", worker_module.__file__], tmp_path)
    machine = conversation.ask({"hello": worker_module.PROTOCOL})["machine"]
    assert (machine["numpy"], machine["onnxruntime"], machine["onnxruntime_build"]) == (None, None, None)
    answer = conversation.ask({"configure": {**CONFIGURATION, "model": str(make_model("bare"))}})
    assert answer["about"] == "onnxruntime" and "No module named 'numpy'" in answer["error"]
    conversation.process.communicate('{"quit": true}\n', timeout=30)


def test_the_worker_opens_no_socket(copied: Conversation, make_model: Any) -> None:
    copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("closed"))}})
    copied.ask({"run": 0.05})
    open_files = [os.readlink(file) for file in Path(f"/proc/{copied.process.pid}/fd").iterdir()]
    assert len(open_files) >= 4 and not [file for file in open_files if file.startswith("socket:")]


def test_the_file_is_of_python_3_9() -> None:
    ast.parse(Path(worker_module.__file__).read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("spinning", [True, False], ids=["spinning", "not spinning"])
@pytest.mark.parametrize(("optimization", "level"), [("all", "ORT_ENABLE_ALL"), ("disable", "ORT_DISABLE_ALL")])
def test_session_has_the_options_asked_for(
    copied: Conversation, make_model: Any, spinning: bool, optimization: str, level: str
) -> None:
    asked = {
        **CONFIGURATION,
        "model": str(make_model("options")),
        "threads": 2,
        "spinning": spinning,
        "optimization": optimization,
    }
    assert copied.ask({"configure": asked})["session"] == {
        "threads": 2,
        "inter_op_threads": 1,
        "spinning": spinning,
        "optimization": level,
        "execution_mode": "ORT_SEQUENTIAL",
        "providers": ["CPUExecutionProvider"],
    }


def test_even_a_zero_block_has_three_inferences(copied: Conversation, make_model: Any) -> None:
    copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("three"))}})
    assert len(copied.ask({"run": 0})["durations_ns"]) == 2


def test_profile_names_every_node_and_leaves_no_file(copied: Conversation, make_model: Any, tmp_path: Path) -> None:
    copied.ask(
        {"configure": {**CONFIGURATION, "model": str(make_model("profiled", products=3)), "optimization": "disable"}}
    )
    before = set(Path(tempfile.gettempdir()).iterdir())
    answer = copied.ask({"profile": 4})
    assert [node["op_type"] for node in answer["nodes"]] == ["Cast", "MatMul", "MatMul", "MatMul"]
    assert all(node["provider"] == "CPUExecutionProvider" for node in answer["nodes"])
    assert answer["nodes"][1]["inputs"][0] == ["float", 1, 64]
    assert answer["nodes"][1]["outputs"] == [["float", 1, 64]]
    assert answer["run_us"] > 0 and answer["plain_us"] > 0
    left = {path.name for path in set(Path(tempfile.gettempdir()).iterdir()) - before}
    assert not any("profile" in name for name in left) and not list(tmp_path.glob("*.json"))


def test_profile_takes_the_median_of_the_last_runs() -> None:
    def event(name: str, duration_us: int) -> dict[str, Any]:
        return {
            "cat": "Node",
            "name": f"{name}_kernel_time",
            "dur": duration_us,
            "args": {
                "op_name": "Add",
                "provider": "P",
                "node_index": name,
                "input_type_shape": [{"float": [2]}, {"int8": []}],
                "output_type_shape": [{"float": [2]}],
            },
        }

    events = [event("a", 900), event("b", 7), {"cat": "Session", "name": "model_run", "dur": 1000}]
    for a, b in ((10, 1), (30, 2), (20, 9)):
        events += [event("a", a), event("b", b), {"cat": "Session", "name": "model_run", "dur": a + b}]
    answer = worker_module.summarize_profile(events, 3)
    assert [(node["name"], node["median_us"]) for node in answer["nodes"]] == [("a", 20), ("b", 2)]
    assert answer["nodes"][0]["inputs"] == [["float", 2], ["int8"]] and answer["run_us"] == 29


def test_errors_are_answers_and_the_worker_lives_on(copied: Conversation, make_model: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    assert copied.ask({"run": 0.1}) == {"error": "no model is loaded: send configure first", "about": "worker"}
    assert copied.ask({"configure": {**CONFIGURATION, "model": str(broken)}})["about"] == "model"
    dynamic = copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("dynamic", shape=("batch", 64)))}})
    assert dynamic["about"] == "model" and "dynamic shape" in dynamic["error"]
    assert copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("good"))}})["ready"] is True
    assert "unknown message" in copied.ask({"dance": 1})["error"]


def test_the_end_of_stdin_ends_a_worker_in_the_middle_of_a_block(copied: Conversation, make_model: Any) -> None:
    copied.ask({"configure": {**CONFIGURATION, "model": str(make_model("cut"))}})
    assert copied.process.stdin is not None
    copied.process.stdin.write('{"run": 600}\n')
    copied.process.stdin.close()
    copied.process.wait(timeout=30)
    copied.process.stdin = None  # what ends the process afterwards must not look at it


def test_an_idle_worker_waits_without_work_and_not_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "worker.py"
    file.write_text(Path(worker_module.__file__).read_text().replace("IDLE_LIMIT_S = 300.0", "IDLE_LIMIT_S = 1.5"))
    conversation = Conversation([sys.executable, str(file)], tmp_path)
    before = conversation.ask({"hello": worker_module.PROTOCOL})["state"]
    assert conversation.process.stdin is not None
    for _ in range(3):
        time.sleep(0.7)
        conversation.process.stdin.write("{}\n")  # heard, and not answered
        conversation.process.stdin.flush()
    after = conversation.ask({"hello": worker_module.PROTOCOL})["state"]
    assert after["clocks_ns"]["monotonic"] - before["clocks_ns"]["monotonic"] > 2e9, "it lived on by what it heard"
    assert (after["own_ticks"] - before["own_ticks"]) / after["ticks_per_s"] < 0.5
    conversation.process.wait(timeout=30)  # without a word from here: stdin is open
    assert conversation.process.returncode == 0
    conversation.process.communicate(timeout=END_S)


@pytest.mark.parametrize("end", ["quit", "closed stdin"])
def test_the_worker_ends_with_its_conversation(copied: Conversation, end: str) -> None:
    copied.process.communicate('{"quit": true}\n' if end == "quit" else None, timeout=30)
    assert copied.process.returncode == 0


def test_prints_of_libraries_do_not_break_the_protocol(make_model: Any, tmp_path: Path) -> None:
    package = tmp_path / "onnxruntime_noise.py"
    package.write_text("import os\nprint('python noise', flush=True)\nos.write(1, b'native noise\\n')\n")
    file = tmp_path / "worker.py"
    shutil.copy(worker_module.__file__, file)
    text = file.read_text().replace("import onnxruntime as ort\n", "import onnxruntime as ort, onnxruntime_noise\n")
    file.write_text(text.replace("sys.path.remove(_FOLDER)", "pass"))
    conversation = Conversation([sys.executable, str(file)], tmp_path)
    assert conversation.ask({"configure": {**CONFIGURATION, "model": str(make_model("noise"))}})["ready"] is True
    _, stderr = conversation.process.communicate('{"quit": true}\n', timeout=30)
    assert "python noise" in stderr and "native noise" in stderr


def test_a_neighbouring_file_does_not_shadow_the_standard_library(tmp_path: Path) -> None:
    shutil.copy(worker_module.__file__, tmp_path / "worker.py")
    (tmp_path / "statistics.py").write_text("raise SystemExit('shadowed')")
    conversation = Conversation([sys.executable, str(tmp_path / "worker.py")], tmp_path)
    conversation.process.communicate('{"quit": true}\n', timeout=30)
    assert conversation.process.returncode == 0


class Node:
    """What onnxruntime's get_inputs() yields."""

    def __init__(self, type: str, shape: list[int]) -> None:
        self.name, self.type, self.shape = "images", type, shape


def test_feed_is_seeded_and_in_range() -> None:
    float_node, byte_node = Node("tensor(float)", [1, 3, 8, 8]), Node("tensor(uint8)", [1, 64, 64, 3])
    images = make_feed([float_node], 7, None)["images"]
    assert images.dtype == np.float32 and images.shape == (1, 3, 8, 8) and 0 <= images.min() < images.max() < 1
    assert np.array_equal(images, make_feed([float_node], 7, None)["images"])
    assert not np.array_equal(images, make_feed([float_node], 8, None)["images"])
    pixels = make_feed([byte_node], 7, None)["images"]
    assert pixels.dtype == np.uint8 and pixels.min() == 0 and pixels.max() == 255


def test_feed_from_a_file_is_that_file_or_an_error(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.full((1, 2), 0.25, np.float32))
    np.save(bad, np.zeros((1, 2), np.float64))
    node = Node("tensor(float)", [1, 2])
    assert make_feed([node], 0, str(good))["images"].tolist() == [[0.25, 0.25]]
    with pytest.raises(Refusal, match="float64"):
        make_feed([node], 0, str(bad))
    with pytest.raises(Refusal, match=r"tensor\(double\)"):
        make_feed([Node("tensor(double)", [1, 2])], 0, None)


class PlayedClock(worker_module.LoadedModel):
    """A loaded model whose inferences take the given times, on a clock that only they advance."""

    def __init__(self, durations_ms: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.now_s = list(durations_ms), 0.0
        monkeypatch.setattr(worker_module.time, "monotonic", lambda: self.now_s)

    def time_once(self) -> int:
        duration_ms = self.left.pop(0)
        self.now_s += duration_ms / 1000
        return int(duration_ms * 1e6)


@pytest.mark.parametrize(
    ("durations_ms", "limit_s", "stable", "medians_ms"),
    [
        ([100] * 5 + [90] * 5 + [89] * 5, 9, True, [100, 90, 89]),
        ([100] * 5 + [101] * 5, 9, True, [100, 101]),
        ([100, 90, 80, 70, 60, 50, 40, 30, 20, 10], 0.5, False, [80]),
        ([5000], 1, False, []),
    ],
    ids=["third window agrees", "1 % apart", "still getting faster at the limit", "one inference is over the limit"],
)
def test_warm_up_rule(
    durations_ms: list[float], limit_s: float, stable: bool, medians_ms: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedClock(durations_ms, monkeypatch)
    answer = played.warm_up(limit_s)
    assert (answer["stable"], answer["window_medians_ms"]) == (stable, medians_ms)
    assert answer["inferences"] == len(durations_ms) - len(played.left)
