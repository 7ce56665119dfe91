"""Which stages run again after what has changed; oracle: the outcome that the commands report, and the manifests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.device.profile import is_signed, this_machine
from edgegd.pipeline.registry import STAGES

Command = Callable[..., Any]
pytest.importorskip("torch")


def ran(command: Command, recipe: Path, folder: Path, *arguments: object, until: str = "report") -> list[str]:
    """The stages that `edgegd run` ran; the others it must have skipped, and said so."""
    outcome = command("run", recipe, "--run-dir", folder, "--json", "--until", until, *arguments)
    assert outcome.code == 0, outcome.err
    stages = json.loads(outcome.out)["stages"]
    expected = list(STAGES)[: list(STAGES).index(until) + 1]
    assert list(stages) == [name for name in expected if name not in ("activation", "adapt", "search", "control")]
    for name, what in stages.items():
        assert what in ("ran", "unchanged")
        assert f"{name}: {'done' if what == 'ran' else 'unchanged, skipped'}\n" in outcome.err
    return [name for name, what in stages.items() if what == "ran"]


def test_unchanged_stages_are_skipped(
    edgegd_command: Command, tiny_recipe: Path, run_copy: Path, contents: Callable[[Path], Any]
) -> None:
    before = contents(run_copy)
    assert ran(edgegd_command, tiny_recipe, run_copy) == []
    after = contents(run_copy)
    assert {name: value for name, value in after.items() if name != ".lock"} == {
        name: value for name, value in before.items() if name != ".lock"
    }


def test_a_change_of_epochs_starts_at_qat(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    assert ran(edgegd_command, tiny_recipe, run_copy, "--set", "train.epochs=1") == [
        "qat",
        "export",
        "verify",
        "accuracy",
        "latency",
        "report",
    ]


def test_refinement_is_recorded_and_is_the_default(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    def refined(refine: str, profile: str) -> tuple[Any, bytes]:
        changes = ["--set", f"quant.refine={refine}", "--set", f"target.profile={profile}"]
        assert edgegd_command("run", str(tiny_recipe), "--run-dir", str(run_copy), "--until", "ptq", *changes)[0] == 0
        stored = (run_copy / "ptq.safetensors").read_bytes()
        return json.loads((run_copy / "calibration.json").read_text())["refinement"], stored

    none, plain = refined("none", "x86-vnni")
    assert none is None
    found, stored = refined("full", "x86-vnni")
    assert found["images"] >= 1 and found["codes"] == 0 and found["largest_bias_change"] > 0 and plain != stored
    assert refined("fast", "x86-vnni")[1] not in (plain, stored)
    assert refined("auto", "x86-vnni") == (found, stored)  # nothing of it is chance
    rounded = refined("auto", "x86-avx2")[0]
    assert rounded["images"] == found["images"] and 0 < rounded["changed_codes"] < rounded["codes"]


def test_a_change_of_latency_measures_again(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    assert ran(edgegd_command, tiny_recipe, run_copy, "--set", "latency.block_s=0.03") == ["latency", "report"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy.json", ["accuracy"]),
        ("report.md", ["report"]),
        ("float.pt", ["float"]),
        ("plan.json", ["ptq"]),
    ],
)
def test_a_damaged_artifact_is_made_again_as_it_was(
    edgegd_command: Command, tiny_recipe: Path, run_copy: Path, name: str, expected: list[str]
) -> None:
    path = run_copy / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    # The stages after it are skipped because its bytes are again what they were made from.
    assert ran(edgegd_command, tiny_recipe, run_copy) == expected
    assert path.read_bytes() == whole


def test_a_damaged_manifest_counts_as_none(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    (run_copy / "manifests/accuracy.json").write_text('{"schema": 1')
    assert ran(edgegd_command, tiny_recipe, run_copy) == ["accuracy"]


def test_a_changed_label_reaches_everything_that_saw_it(
    edgegd_command: Command, tiny_recipe: Path, tiny_set: Path, tmp_path: Path
) -> None:
    data, folder = Path(shutil.copytree(tiny_set, tmp_path / "set")), tmp_path / "run"

    def again() -> list[str]:
        return ran(edgegd_command, tiny_recipe, folder, "--set", f"data.path={data}", until="ptq")

    assert again() == ["data", "float", "ptq"]
    assert again() == []
    label = next((data / "labels/train").iterdir())
    kind, *_ = label.read_text().split()
    label.write_text(f"{kind} 0.5 0.5 0.4 0.4\n" + "".join(label.read_text().splitlines(keepends=True)[1:]))
    assert again() == ["data", "float", "ptq"]  # although it holds as many boxes of the same classes as before
    image = next((data / "images/val").iterdir())
    os.utime(image, ns=(image.stat().st_atime_ns, image.stat().st_mtime_ns + 1))
    assert again() == ["data", "float", "ptq"]


MADE = ("qat.safetensors", "descent.json", "descent.jsonl", "descent-path.safetensors", "descent-images.safetensors")


def test_a_manifest_holds_the_hash_of_everything_read_and_made(finished_run: Path) -> None:
    def sha(name: str) -> str:
        return hashlib.sha256((finished_run / name).read_bytes()).hexdigest()

    manifest = json.loads((finished_run / "manifests/qat.json").read_text())
    assert manifest["stage"] == "qat" and manifest["schema"] == 1
    assert manifest["outputs"] == {name: sha(name) for name in MADE}
    assert manifest["inputs"]["artifacts"] == {
        name: sha(name) for name in ("data.json", "float.pt", "plan.json", "ptq.safetensors")
    }
    assert {"edgegd", "sources", "torch", "ultralytics", "onnxruntime"} <= manifest["inputs"]["code"].keys()
    assert len(manifest["inputs"]["recipe"]) == 64


def test_force_runs_an_unchanged_stage(edgegd_command: Command, run_copy: Path) -> None:
    def outcome(*arguments: str) -> Any:
        return json.loads(edgegd_command("accuracy", run_copy, "--json", *arguments).out)["stages"]

    assert outcome() == {"accuracy": "unchanged"} and outcome("--force") == {"accuracy": "ran"}


def test_a_stage_before_its_inputs_names_the_command_to_run(
    edgegd_command: Command, tiny_recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert edgegd_command("run", tiny_recipe, "--run-dir", folder, "--until", "data").code == 0
    outcome = edgegd_command("accuracy", folder)
    assert outcome.code == 53 and f"run `edgegd export {folder}` first" in outcome.err
    (folder / "data.json").unlink()
    outcome = edgegd_command("float", folder)
    assert outcome.code == 53 and f"run `edgegd run {tiny_recipe} --run-dir {folder}`" in outcome.err


@pytest.mark.parametrize(
    ("spoil", "stage", "fragment"),
    [
        (lambda run: (run / "manifests/ptq.json").unlink(), "qat", "Stage ptq, which makes plan.json, was interrupted"),
        (lambda run: (run / "accuracy.json").write_text("{}"), "report", "is not as stage accuracy left it"),
        (lambda run: (run / "qat.safetensors").write_bytes(b"new"), "accuracy", "is out of date: qat.safetensors"),
    ],
    ids=["interrupted", "damaged", "out of date"],
)
def test_a_stage_refuses_inputs_that_are_not_whole(
    edgegd_command: Command,
    run_copy: Path,
    contents: Callable[[Path], Any],
    spoil: Callable[[Path], Any],
    stage: str,
    fragment: str,
) -> None:
    spoil(run_copy)
    before = contents(run_copy)
    outcome = edgegd_command(stage, run_copy, "--force")
    assert outcome.code == 53 and fragment in outcome.err
    assert {n: v for n, v in contents(run_copy).items() if n != ".lock"} == {
        n: v for n, v in before.items() if n != ".lock"
    }


def test_verify_opens_every_file_session_and_image_once(
    run_copy: Path, edgegd_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegd.verify import opened, optimized_graph

    read: list[str] = []
    loaded: list[str] = []
    monkeypatch.setattr(opened, "load_onnx", _counting(opened.load_onnx, lambda path: read.append(path.name)))
    monkeypatch.setattr(opened, "read_for", _counting(opened.read_for, lambda path: read.append(path.name)))
    for module, name in ((opened, "load_exact"), (opened, "load_session"), (optimized_graph, "load_session")):
        monkeypatch.setattr(module, name, _counting(getattr(module, name), lambda *_: loaded.append("")))
    outcome = edgegd_command("verify", run_copy, "--force")
    assert outcome.code == 0, outcome.err
    images = [name for name in read if not name.endswith(".onnx")]
    assert len(images) == len(set(images)) == 4 and len(read) == len(set(read))
    # Of fp32 a plain session; of both quantized files one plain, two with codes; of their edge files one. int8 files,
    # which ARM64 takes, are compared with their edge files in a session of their own.
    assert len(loaded) == 1 + 2 * (3 + 1 + is_signed(this_machine().profile))


def _counting(function: Callable[..., Any], count: Callable[..., Any]) -> Callable[..., Any]:
    def counted(first: Any, *rest: Any, **others: Any) -> Any:
        count(first)
        return function(first, *rest, **others)

    return counted


def test_epochs_are_chosen_on_images_held_out(edgegd_command: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    outcome = edgegd_command(
        "run", tiny_recipe, "--run-dir", folder, "--set", "data.select=holdout", "--set", "data.holdout_share=0.25"
    )
    assert outcome.code == 0, outcome.err
    data = json.loads((folder / "data.json").read_text())
    assert len(data["held_out_images"]) == 2 and len(data["train_images"]) == 6 and len(data["contents"]) == 12
    report = json.loads((folder / "report.json").read_text())
    assert report["selection"] == "holdout" and report["torch_agreement"] is None
    assert report["ship"]["chosen_apart"] and not report["ship"]["optimistic_for_qat"]
    text = (folder / "report.md").read_text()
    assert "The epoch was chosen on training images held out" in text
    assert "The epoch of QAT was chosen on other images than these." in text
