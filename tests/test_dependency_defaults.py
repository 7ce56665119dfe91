"""onnxruntime and Ultralytics report to nobody: the variables, the files in the home folder, the sockets."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgegd
from edgegd.dependency_defaults import set_dependency_defaults

ROOT = Path(edgegd.__file__).parents[1]
MODEL = ROOT / "tests/latency/baselines/streets-yolo26n/model.onnx"
SESSION = f"from edgegd.runtime.session import load_model; load_model({str(MODEL)!r}); "
WORKER = (
    f"import subprocess, sys; from edgegd.device import latency_worker as worker; "
    f"subprocess.run([sys.executable, worker.__file__], check=True, text=True, input="
    f'\'{{"configure": {{"model": "{MODEL}", "sha256": null, "threads": 1, "spinning": false, '
    f'"optimization": "all", "seed": 0, "input": null}}}}\\n{{"quit": true}}\\n\'); '
)
ULTRALYTICS = (
    "import os; os.environ['YOLO_VERBOSE'] = 'false'; import edgegd.detectors.float_checkpoint; "
    "from ultralytics.utils.events import events; assert not events.enabled; "
)


def in_empty_home(code: str, home: Path, *, trace: Path | None = None) -> None:
    """Runs Python with an empty home folder and without any variable that says what libraries may do."""
    named = ("ORT_", "YOLO_", "ULTRALYTICS_", "XDG_", "EDGEGD_TRUST")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(named)}
    environment |= {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(home.parent / "matplotlib"),
    }
    home.mkdir()
    strace = ["strace", "-f", "-e", "trace=socket,connect,sendto,sendmmsg", "-o", str(trace)] if trace else []
    done = subprocess.run(
        [*strace, sys.executable, "-c", code],
        env=environment,
        text=True,
        capture_output=True,
        cwd=home.parent,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(SESSION, id="a session"),
        pytest.param(WORKER, id="the device's worker"),
        pytest.param(ULTRALYTICS, id="Ultralytics"),
    ],
)
def test_no_file_appears_in_the_home_folder(code: str, tmp_path: Path) -> None:
    if code is ULTRALYTICS:
        pytest.importorskip("ultralytics")
    elif code is SESSION:
        pytest.importorskip("cv2")
    in_empty_home(code + "import time; time.sleep(2)", tmp_path / "home")
    assert list((tmp_path / "home").rglob("*")) == []


def can_trace() -> bool:
    return (
        shutil.which("strace") is not None
        and subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_trace(), reason="no strace, or a container that forbids it")
def test_no_socket_of_the_internet_is_opened(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    trace = tmp_path / "trace"
    in_empty_home(SESSION + WORKER + ULTRALYTICS + "import time; time.sleep(2)", tmp_path / "home", trace=trace)
    assert trace.stat().st_size and not [line for line in trace.read_text().splitlines() if "AF_INET" in line]


@pytest.mark.skipif(not can_trace(), reason="no strace, or a container that forbids it")
def test_the_trace_would_show_a_name_that_is_looked_up(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    in_empty_home(
        "import socket\ntry: socket.getaddrinfo('one.one.one.one', 0)\nexcept OSError: pass\n"
        "socket.socket(socket.AF_INET6)",
        tmp_path / "home",
        trace=trace,
    )
    assert "AF_INET" in trace.read_text()


def test_what_the_user_has_set_stays() -> None:
    environment = {"ORT_DISABLE_TELEMETRY": "0", "YOLO_OFFLINE": "false", "YOLO_CONFIG_DIR": "/mine"}
    set_dependency_defaults(environment)
    assert environment["ORT_DISABLE_TELEMETRY"] == "0" and environment["YOLO_OFFLINE"] == "false"
    assert environment["YOLO_CONFIG_DIR"] == "/mine" and environment["ULTRALYTICS_SAFE_LOAD"] == "true"


def test_settings_that_the_user_has_are_read_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "Ultralytics/settings.json"
    file.parent.mkdir()
    file.write_text("{}")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    set_dependency_defaults(environment)
    assert "YOLO_CONFIG_DIR" not in environment


@pytest.mark.parametrize(("value", "expected"), [("1", None), ("true", None), ("0", "true"), ("", "true")])
def test_whole_pickles_are_loaded_only_where_trust_says_so(value: str, expected: str | None) -> None:
    environment = {"EDGEGD_TRUST": value, "YOLO_CONFIG_DIR": "/mine"}
    set_dependency_defaults(environment)
    assert environment.get("ULTRALYTICS_SAFE_LOAD") == expected


@pytest.mark.parametrize(
    "module", ["edgegd.runtime", "edgegd.pytest_plugin", "edgegd.latency.measuring.measure", "edgegd.cli.main"]
)
def test_the_variables_are_set_before_any_library_is_imported(module: str) -> None:
    code = (
        "import builtins, os\nreal = builtins.__import__\n"
        "def watch(name, *rest):\n"
        "    if name.split('.')[0] in ('onnxruntime', 'ultralytics'):\n"
        "        assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1'\n"
        "        assert os.environ.get('YOLO_OFFLINE') == 'true'\n"
        "    return real(name, *rest)\n"
        f"builtins.__import__ = watch\nimport {module}\nimport onnxruntime\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "YOLO_"))}
    subprocess.run([sys.executable, "-c", code], env=environment | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)


ALONE = (
    "edgegd/device/latency_worker.py",
    "edgegd/device/dump_tensors.py",
    "edgegd/device/tensor_worker.py",
    "benchmarks/arm/guest_onnxruntime.py",
)
"""What runs where there is no edgegd."""


@pytest.mark.parametrize(
    "file",
    [file for file in sorted((ROOT / "benchmarks").rglob("*.py")) if str(file.relative_to(ROOT)) not in ALONE],
    ids=lambda file: file.name,
)
def test_a_benchmark_imports_edgegd_before_the_libraries(file: Path) -> None:
    names = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append((node.module or "").split(".")[0])
    libraries = [names.index(name) for name in ("onnxruntime", "ultralytics", "families") if name in names]
    assert not libraries or ("edgegd" in names and names.index("edgegd") < min(libraries))


@pytest.mark.parametrize("file", ALONE)
def test_a_file_that_runs_without_edgegd_sets_its_variable_itself(file: str) -> None:
    text = (ROOT / file).read_text()
    assert 0 < text.index('os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")') < text.index("import onnxruntime")
