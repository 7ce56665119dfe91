"""With --json a command prints one JSON value on stdout and nothing else there; without it, what a person reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.cli.progress import TerminalProgress
from edgegd.pipeline.registry import STAGES

Command = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [
        ("recipe", "ls"),
        ("recipe", "validate", "bccd/yolo26n"),
        ("recipe", "cp", "bccd/yolo26n", "{tmp}/mine.yaml"),
        ("doctor",),
        ("data", "make", "streets", "{tmp}/set", "--train", "1", "--val", "1"),
        ("run", "{recipe}", "--run-dir", "{run}"),
        ("explain", "{run}"),
        ("predict", "{run}/qat.onnx", "{image}"),
        *((stage, "{run}") for stage in STAGES if stage not in ("data", "activation", "adapt", "control", "search")),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_json_is_all_that_is_on_stdout(
    edgegd_command: Command,
    tiny_recipe: Path,
    run_copy: Path,
    tiny_set: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    image = next((tiny_set / "images/val").iterdir())
    filled = [text.format(tmp=tmp_path, recipe=tiny_recipe, run=run_copy, image=image) for text in arguments]
    outcome = edgegd_command(*filled, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)


def test_json_stays_clean_while_ultralytics_prints(
    edgegd_command: Command, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegd.verify import verification

    real = verification.take_census

    def noisy(*arguments: Any) -> Any:
        print("Ultralytics says something")
        return real(*arguments)

    monkeypatch.setattr(verification, "take_census", noisy)
    outcome = edgegd_command("verify", run_copy, "--force", "--json")
    assert json.loads(outcome.out)["stages"] == {"verify": "ran"} and "Ultralytics says" in outcome.err


def test_the_registry_names_each_stage_and_each_artifact_its_stage() -> None:
    pytest.importorskip("torch")
    for name, entry in STAGES.items():
        stage = entry.load()
        assert stage.name == name and {artifact.stage for artifact in stage.makes} == {name}
        assert all(list(STAGES).index(artifact.stage) < list(STAGES).index(name) for artifact in stage.reads)


def test_the_table_is_what_run_and_report_print(edgegd_command: Command, tiny_recipe: Path, run_copy: Path) -> None:
    printed = edgegd_command("run", tiny_recipe, "--run-dir", run_copy).out
    assert [line.split("  ")[0] for line in printed.splitlines()[2:7]] == [
        "FP32",
        "INT8 PTQ",
        "INT8 PTQ, edge file",
        "INT8 QAT",
        "INT8 QAT, edge file",
    ]
    assert printed.rstrip().endswith(f"{run_copy / 'report.md'}")
    assert edgegd_command("report", run_copy).out == printed


class Terminal:
    """A stderr that claims to be a terminal and keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_the_bar_is_gone_before_an_error_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(KeyError), TerminalProgress() as progress:
        progress.update(1, 2, "a text that is longer than the terminal is wide")
        assert len(terminal.text.removeprefix("\r\x1b[K")) == 39 and "1/2 a text" in terminal.text
        raise KeyError
    assert terminal.text.endswith("\r\x1b[K")
