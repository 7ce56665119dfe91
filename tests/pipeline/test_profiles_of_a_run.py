"""`edgegd export|verify --profile` on a finished run; oracle: what the commands say, and the files they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
Command = Callable[..., Any]


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


def test_verify_says_when_this_machine_needs_another_profile(edgegd_command: Command, run_copy: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegd.pipeline import verify

    monkeypatch.setattr(verify, "machine_profile", lambda: "x86-avx2")
    outcome = edgegd_command("verify", run_copy, "--force")
    assert outcome.code == 0 and "this machine needs the profile x86-avx2, the files are for x86-vnni" in outcome.err
    assert json.loads((run_copy / "verify.json").read_text())["machine_profile"] == "x86-avx2"
