"""`edgegd export|verify --profile` on a finished run; oracle: what the commands say, and the files they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edgegd.device.profile import Machine, this_machine
from edgegd.pipeline import target_profile
from edgegd.recipe.schema import PROFILES
from edgegd.runtime import Detector, ProfileWarning, detector
from edgegd.verify import exact_session, proof, verification

Command = Callable[..., Any]
# Only ARM runs int8 activations in integers, and a CPU without VNNI saturates: what this CPU cannot play.
PLAYABLE = {"x86-vnni": ["x86-vnni", "x86-avx2"], "arm64": [*PROFILES], "arm64-nodot": [*PROFILES]}.get(
    str(this_machine().profile), ["x86-avx2"]
)


@pytest.fixture(scope="module")
def vnni_run(tiny_recipe: Path, edgegd_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose recipe names the profile x86-vnni, whatever this machine is."""
    folder = tmp_path_factory.mktemp("vnni") / "run"
    outcome = edgegd_command("run", tiny_recipe, "--set", "target.profile=x86-vnni", "--run-dir", folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def run_copy(vnni_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(vnni_run, tmp_path / "run", symlinks=True))


def test_a_run_is_exported_verified_and_reported_for_another_profile(edgegd_command: Command, run_copy: Path) -> None:
    own = edgegd_command("verify", run_copy, "--profile", "x86-avx2")
    assert own.code == 74 and "ptq.onnx has weights that could saturate" in own.err
    assert "edgegd export RUN_DIR --profile x86-avx2" in own.err and not (run_copy / "verify-x86-avx2.json").exists()

    exported = edgegd_command("export", run_copy, "--profile", "x86-avx2", "--json")
    assert json.loads(exported.out)["stages"] == {"export --profile x86-avx2": "ran"}
    assert "requantized to 7 bits (-63..63)" in exported.err and "trained for x86-vnni" in exported.err
    verified = edgegd_command("verify", run_copy, "--profile", "x86-avx2", "--json")
    assert verified.code == 0, verified.err
    result = json.loads((run_copy / "verify-x86-avx2.json").read_text())
    assert result["files"] == {"ptq": "ptq-x86-avx2.onnx", "qat": "qat-x86-avx2.onnx"}
    again = edgegd_command("verify", run_copy, "--profile", "x86-avx2", "--json")
    assert json.loads(again.out)["stages"] == {"verify --profile x86-avx2": "unchanged"}

    assert edgegd_command("report", run_copy).code == 0
    report = json.loads((run_copy / "report.json").read_text())
    assert report["profiles"]["x86-avx2"]["qat"]["file"] == "qat-x86-avx2.onnx"
    assert "| qat-x86-avx2.onnx " in (run_copy / "report.md").read_text()

    (run_copy / "qat-x86-avx2.onnx").write_bytes(b"damaged")
    outcome = edgegd_command("verify", run_copy, "--profile", "x86-avx2")
    assert outcome.code == 53 and f"edgegd export --profile x86-avx2 {run_copy}" in outcome.err


def test_the_recipes_own_profile_is_the_plain_stage(edgegd_command: Command, run_copy: Path) -> None:
    outcome = edgegd_command("verify", run_copy, "--profile", "x86-vnni", "--json")
    assert json.loads(outcome.out)["stages"] == {"verify": "unchanged"}


@pytest.mark.parametrize("other", PLAYABLE)
def test_files_are_verified_on_a_cpu_of_another_kind(
    edgegd_command: Command, run_copy: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This CPU is played as each kind in turn; what runs is right on the real one in any case."""
    played = Machine("a played CPU", other)
    for module in (exact_session, proof, verification, target_profile, detector):
        monkeypatch.setattr(module, "this_machine", lambda: played)
    outcome = edgegd_command("verify", run_copy, "--force")
    assert outcome.code == 0, outcome.err
    found = json.loads((run_copy / "verify.json").read_text())["proof"]
    assert (found["profile"], found["machine_profile"]) == ("x86-vnni", other)
    assert bool(found["not_proved"]) == (other != "x86-vnni")
    assert ("needs the profile x86-avx2" in outcome.err) == (other == "x86-avx2")
    accuracy = edgegd_command("accuracy", run_copy, "--force")
    assert accuracy.code == 0 and "sums saturate" not in accuracy.err, accuracy.err  # in an exact session
    with pytest.warns(ProfileWarning) if other == "x86-avx2" else nullcontext():
        Detector(run_copy / "qat.edge.onnx")  # as a device runs it
    before, after = (
        json.loads(text) for text in ((run_copy / "report.json").read_text(), (run_copy / "accuracy.json").read_text())
    )
    assert after["qat"]["map50_95"] == before["accuracy"]["qat"]["map50_95"]
    assert after["proof"]["machine_profile"] == other


def test_one_folder_carries_files_for_all_profiles_and_the_report_says_what_was_proved_of_each(
    edgegd_command: Command, run_copy: Path
) -> None:
    for profile in PROFILES[1:]:
        for command in ("export", "verify"):
            outcome = edgegd_command(command, run_copy, "--profile", profile)
            assert outcome.code == 0, outcome.err
    assert edgegd_command("report", run_copy).code == 0
    lines = (run_copy / "report.md").read_text().partition("## What was proved where")[2].splitlines()
    here = this_machine().profile
    for profile in PROFILES:
        (line,) = [line for line in lines if line.startswith(f"| {profile} ")]
        assert this_machine().cpu in line
        assert ("nothing" in line) == (profile == here) and (f"kernels of {profile} CPUs" in line) == (profile != here)
