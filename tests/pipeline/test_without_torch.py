"""What works on a run folder where torch and Ultralytics are not installed. Oracle: the files that they make where
they are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from edgegd.export.traced_graph import TRACE_KEY
from edgegd.plan.profiles import TABLES

Command = Callable[..., Any]
OTHER = tuple(TABLES)
PACKAGE = Path(__file__).parents[2] / "edgegd"
BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def _without_torch(code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _edgegd_without_torch(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return _without_torch("from edgegd.cli.main import main; main()", *arguments)


def _other_profiles(run: Path) -> list[str]:
    own = json.loads((run / "run.json").read_text())["target"]["profile"]
    return [profile for profile in OTHER if profile != own]


def test_a_run_is_exported_for_another_profile(edgegd_command: Command, run_copy: Path) -> None:
    for profile in _other_profiles(run_copy):
        names = [f"{variant}-{profile}{kind}" for variant in ("ptq", "qat") for kind in (".onnx", ".edge.onnx")]
        assert edgegd_command("export", run_copy, "--profile", profile).code == 0
        expected = {name: (run_copy / name).read_bytes() for name in names}
        for name in names:
            (run_copy / name).unlink()
        done = _edgegd_without_torch("export", run_copy, "--profile", profile)
        assert done.returncode == 0, done.stderr
        assert {name: (run_copy / name).read_bytes() for name in names} == expected


def test_a_run_is_searched_from_its_float_file(run_copy: Path) -> None:
    """Calibration, sensitivities, files of the front: all in onnxruntime."""
    pytest.importorskip("scipy")
    path = run_copy / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["precision"]["images"] = 2
    path.write_text(yaml.safe_dump(recipe))
    done = _edgegd_without_torch("search", run_copy)
    assert done.returncode == 0, done.stderr
    result = json.loads((run_copy / "precision.json").read_text())
    rules, *front = result["points"]
    assert len(front) >= 2 and front[-1]["head_db"] > rules["head_db"]
    assert all(point["measured_ms"] > 0 for point in result["points"])


def test_a_float_file_of_another_checkpoint_is_not_searched(run_copy: Path) -> None:
    """It would be exported anew, which needs torch: without torch the search stops before it measures anything."""
    path, manifest = run_copy / "float.pt", run_copy / "manifests/float.json"
    path.write_bytes(path.read_bytes() + b"x")
    record = json.loads(manifest.read_text())
    record["outputs"]["float.pt"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(record))
    done = _edgegd_without_torch("search", run_copy)
    assert done.returncode != 0 and "blocked" in done.stderr and not (run_copy / "precision.json").exists()


def test_what_emulation_and_the_passes_gains_need_is_imported() -> None:
    code = "import edgegd.verify.emulated, edgegd.pipeline.pass_gains, edgegd.pipeline.stored, edgegd.cli.emulate"
    done = _without_torch(code)
    assert done.returncode == 0, done.stderr


def test_the_models_and_images_of_an_emulation_are_found(run_copy: Path) -> None:
    code = """
from pathlib import Path
from edgegd.cli.emulate import _models_and_images
models, images = _models_and_images(Path(sys.argv[1]), 1, Path(sys.argv[1]))
print(*(path.name for path in models), len(images))
"""
    done = _without_torch(code, run_copy)
    assert done.stdout.split() == ["qat.onnx", "qat.edge.onnx", "1"], done.stderr


def test_a_float_file_of_an_older_version_is_refused_with_what_to_do(
    edgegd_command: Command, run_copy: Path, contents: Callable[[Path], Mapping[str, bytes]]
) -> None:
    path, manifest = run_copy / "fp32.onnx", run_copy / "manifests/export.json"
    graph = onnx.load(path)
    (entry,) = [entry for entry in graph.metadata_props if entry.key == TRACE_KEY]
    graph.metadata_props.remove(entry)
    path.write_bytes(graph.SerializeToString())
    record = json.loads(manifest.read_text())
    record["outputs"]["fp32.onnx"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(record))
    before = contents(run_copy)
    outcome = edgegd_command("export", run_copy, "--profile", _other_profiles(run_copy)[0])
    assert outcome.code == 41 and "edgegd export --force" in outcome.err and "Traceback" not in outcome.err
    assert {name: data for name, data in contents(run_copy).items() if name in before} == before


def test_a_run_that_was_not_exported_says_what_to_do(edgegd_command: Command, run_copy: Path) -> None:
    (run_copy / "fp32.onnx").unlink()
    outcome = edgegd_command("export", run_copy, "--profile", _other_profiles(run_copy)[0])
    assert outcome.code == 53 and f"edgegd export {run_copy}" in outcome.err


@pytest.mark.parametrize("text", ["is_in_onnx_export", "symbolic("])
def test_no_source_knows_an_export_mode(text: str) -> None:
    assert not [str(path) for path in PACKAGE.rglob("*.py") if text in path.read_text(encoding="utf-8")]
