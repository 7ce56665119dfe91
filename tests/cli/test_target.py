"""`edgegd target`: names, what a device lacks, exit codes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edgegd" / "targets.yaml"


def test_add_ls_and_rm(edgegd_command: Any, own_file: Path) -> None:
    outcome = edgegd_command("target", "add", "pi5", "ssh://pi@10.0.0.5", "--python", "~/venv/bin/python", "--emulated")
    assert outcome.code == 0 and str(own_file) in outcome.out
    assert "(emulated)" in edgegd_command("target", "ls").out
    listed = json.loads(edgegd_command("target", "ls", "--json").out)
    assert [entry["name"] for entry in listed] == ["local", "pi5"] and listed[1]["python"] == "~/venv/bin/python"
    assert json.loads(edgegd_command("target", "rm", "pi5", "--json").out) == {"removed": "pi5"}
    assert "pi5" not in edgegd_command("target", "ls").out


def test_a_configuration_file_is_found_from_any_folder(
    edgegd_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = json.loads(edgegd_command("target", "add", "pi", "ssh://pi", "--ssh-config", "mine", "--json").out)
    assert stored["ssh_config"] == str(tmp_path / "mine")


def test_check_through_ssh(edgegd_command: Any, sshd_device: Any) -> None:
    edgegd_command(
        "target",
        "add",
        "board",
        sshd_device.url,
        "--python",
        shlex.quote(sys.executable),
        "--ssh-config",
        sshd_device.config,
    )
    before = sshd_device.sessions()
    outcome = edgegd_command("target", "check", "board", "--json")
    answer = json.loads(outcome.out)
    assert outcome.code == 0 and answer["ready"] is True and answer["target"] == "board"
    assert {"connection", "Python", "onnxruntime", "space", "lock"} <= {item["subject"] for item in answer["items"]}
    sshd_device.wait_until(lambda: set(sshd_device.sessions()) <= set(before))  # the connection is closed


def test_check_says_what_is_missing_and_fails(edgegd_command: Any, sshd_device: Any) -> None:
    edgegd_command(
        "target",
        "add",
        "bare",
        sshd_device.url,
        "--python",
        f"{shlex.quote(sys.executable)} -S",
        "--ssh-config",
        sshd_device.config,
    )
    outcome = edgegd_command("target", "check", "bare")
    assert outcome.code == 82
    assert "MISSING onnxruntime" in outcome.out and "-m pip install" in outcome.out and "ok      Python" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "no-such"), 97),
        (("rm", "no-such"), 97),
        (("add", "x", "http://x"), 97),
        (("check", "ssh://127.0.0.1:1"), 87),
    ],
)
def test_faults_have_exit_codes_of_their_own(edgegd_command: Any, arguments: tuple[str, ...], code: int) -> None:
    outcome = edgegd_command("target", *arguments)
    assert outcome.code == code and "to mend it" in outcome.err
