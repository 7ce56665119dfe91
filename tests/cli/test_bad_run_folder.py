"""A run folder that is another recipe's, no run's, damaged or in use is refused and left as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import END_S

Command = Callable[..., Any]
pytest.importorskip("torch")


def test_the_folder_of_another_recipe(edgegd_command: Command, run_copy: Path, contents: Callable[[Path], Any]) -> None:
    before = contents(run_copy)
    outcome = edgegd_command("run", "bccd/yolo26n", "--run-dir", run_copy)
    assert outcome.code == 50 and "expected: bccd/yolo26n" in outcome.err and "tiny.yaml" in outcome.err
    assert contents(run_copy) == before


def test_a_folder_with_other_files(edgegd_command: Command, tiny_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert edgegd_command("run", tiny_recipe, "--run-dir", tmp_path).code == 50
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert edgegd_command("run", tiny_recipe, "--run-dir", tmp_path / "thesis.txt").code == 50


@pytest.mark.parametrize("command", ["float", "qat", "accuracy", "report", "explain"])
def test_a_stage_of_no_run(edgegd_command: Command, tmp_path: Path, command: str) -> None:
    outcome = edgegd_command(command, tmp_path)
    assert outcome.code == 50 and "is no run folder" in outcome.err and not list(tmp_path.iterdir())


def test_a_damaged_identity(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    (run_copy / "run.json").write_text("{")
    for arguments in (("run", tiny_recipe, "--run-dir", run_copy), ("report", run_copy)):
        outcome = edgegd_command(*arguments)
        assert outcome.code == 50 and "run.json is damaged" in outcome.err


def test_a_folder_in_use_by_another_process(
    edgegd_command: Command, tiny_recipe: Path, run_copy: Path, contents: Callable[[Path], Any]
) -> None:
    hold = (
        "import sys; from pathlib import Path; from edgegd.pipeline.run_folder import RunFolder\n"
        "with RunFolder.open_existing(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(run_copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        before = contents(run_copy)
        for arguments in (("run", tiny_recipe, "--run-dir", run_copy), ("latency", run_copy)):
            outcome = edgegd_command(*arguments)
            assert outcome.code == 51 and f"process {holder.pid}" in outcome.err
        assert contents(run_copy) == before
    finally:
        holder.communicate("", timeout=END_S)
    assert edgegd_command("report", run_copy).code == 0
