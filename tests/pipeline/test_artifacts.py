"""Artifacts with which the manifests agree, and which are yet not what a stage writes: one error that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _replace(run: Path, name: str, content: str) -> None:
    """Writes an artifact and the hash that its stage's manifest has of it: the readers run again, and read it."""
    (run / name).write_text(content)
    digest = hashlib.sha256((run / name).read_bytes()).hexdigest()
    for manifest in (run / "manifests").iterdir():
        stored = json.loads(manifest.read_text())
        if name in stored["outputs"]:
            stored["outputs"][name] = digest
            manifest.write_text(json.dumps(stored))


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"models": 1}', "{" * 50_000, "\x00", '{"a": nul}'])
@pytest.mark.parametrize("name", ["verify.json", "accuracy.json", "latency.json", "descent.json", "calibration.json"])
def test_report_names_what_it_cannot_use(
    name: str, content: str, run_copy: Path, edgegd_command: Callable[..., Any]
) -> None:
    before = (run_copy / "report.json").read_bytes()
    _replace(run_copy, name, content)
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 53, outcome.err
    assert name in outcome.err and "Traceback" not in outcome.err
    assert (run_copy / "report.json").read_bytes() == before


def test_a_report_that_is_none_is_not_shown(run_copy: Path, edgegd_command: Callable[..., Any]) -> None:
    _replace(run_copy, "report.json", "[1]")
    outcome = edgegd_command("report", run_copy)
    assert outcome.code == 53 and "report.json" in outcome.err


def test_json_output_has_a_word_for_every_number(run_copy: Path, edgegd_command: Callable[..., Any]) -> None:
    latency = json.loads((run_copy / "latency.json").read_text())
    latency["fingerprint"]["cpu"] = float("inf")
    _replace(run_copy, "latency.json", json.dumps(latency))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    outcome = edgegd_command("report", run_copy, "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out, parse_constant=refuse)
    assert printed["report"]["latency_conditions"]["fingerprint"]["cpu"] is None


@pytest.mark.parametrize("change", [{"outputs": 1}, {"outputs": []}, {"inputs": None}, {"inputs": {"artifacts": "x"}}])
def test_a_manifest_of_another_form_counts_as_none(
    change: dict[str, Any], run_copy: Path, edgegd_command: Callable[..., Any]
) -> None:
    manifest = run_copy / "manifests/ptq.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    outcome = edgegd_command("explain", run_copy)
    assert outcome.code == 53 and "interrupted" in outcome.err


def test_a_folder_of_an_earlier_version_is_read_under_the_names_of_today(run_copy: Path, edgegd_command: Any) -> None:
    from edgegd.pipeline.run_folder import sha256_of

    for name, stage, old, new in (
        ("latency.json", "latency", "speedup_vs_fp32", "speedup"),
        ("descent.json", "qat", "calibrated_map50_95", "start_map50_95"),
    ):
        file, manifest = run_copy / name, run_copy / f"manifests/{stage}.json"
        before = sha256_of(file)
        file.write_text(file.read_text().replace(f'"{new}"', f'"{old}"'))
        assert f'"{old}"' in file.read_text()
        for one in (run_copy / "manifests").iterdir():
            one.write_text(one.read_text().replace(before, sha256_of(file)))
        assert sha256_of(file) in manifest.read_text()
    outcome = edgegd_command("report", run_copy, "--force")
    assert outcome.code == 0 and "INT8 QAT" in outcome.out, outcome.err
