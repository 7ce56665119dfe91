"""`edgegd descent watch` as a user runs it: its address, its page, its end. Oracle: what a second process sees."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegd.report.serve import PageServer

pytest.importorskip("torch")

WITHOUT_TORCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with Ctrl-C ignored

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from edgegd.cli.main import main
main()
"""


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_page_without_torch_until_it_is_interrupted(
    finished_run: Path, contents: Callable[[Path], Any], way: signal.Signals
) -> None:
    before = contents(finished_run)
    command = [sys.executable, "-c", WITHOUT_TORCH, "descent", "watch", str(finished_run), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        with urllib.request.urlopen(address, timeout=120) as answer:
            page = answer.read().decode()
        process.send_signal(way)
        out, err = process.communicate(timeout=120)
    assert page == (finished_run / "report.html").read_text()
    assert (process.returncode, out, err) == (0, "", "")
    assert contents(finished_run) == before


def test_a_port_in_use_and_no_run_folder_are_one_message_each(
    edgegd_command: Callable[..., Any], run_copy: Path, tmp_path: Path
) -> None:
    with PageServer(lambda: "") as server:
        outcome = edgegd_command("descent", "watch", run_copy, "--port", server.server_port)
    assert outcome.code == 79 and outcome.out == "" and f"Port {server.server_port} of 127.0.0.1" in outcome.err
    assert edgegd_command("descent", "watch", tmp_path).code == 50
