"""The bounded form of the fuzzing harness: every kind of case, as many as its time holds. `make fuzz` runs all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 90
KINDS = 25


@pytest.mark.slow
@pytest.mark.training
def test_no_case_has_a_fault(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "fuzz", "--seed", "0", "--for-s", str(SECONDS), "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=560)
    assert found.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(found.read_text())
    faults = {one["case"]: one["faults"] for one in result["cases"] if one["faults"]}
    assert result["complete"] and faults == {}, done.stdout[-6000:]
    kinds = Counter(one["case"].rpartition("-")[0] for one in result["cases"])
    assert len(kinds) >= KINDS - (not result["sshd"]), kinds
