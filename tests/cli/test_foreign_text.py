"""What others wrote never commands a terminal, forges a line, or becomes markup. Oracle: Unicode's categories."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edgegd.cli.progress import TerminalProgress
from edgegd.errors import EdgegdError
from edgegd.foreign_text import PrintableStream, cell, indented, one_line, printable

EVIL = "a\x1b[2J\x1b]0;owned\x07b\r\x9b31m\u202egnp\u2066x\u200b\ud800\u2028\x00\x7f\nedgegd: PASS (0)"


def is_plain(text: str) -> bool:
    return all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text.replace("\n", ""))


@pytest.mark.parametrize("shown", [printable, one_line, indented, cell, lambda text: cell(text, "github")])
def test_nothing_that_is_obeyed_is_left(shown: Any) -> None:
    assert is_plain(shown(EVIL)) and "edgegd: PASS" in shown(EVIL)


@pytest.mark.parametrize("shown", [one_line, cell])
def test_one_line_is_one_line(shown: Any) -> None:
    assert "\n" not in shown(EVIL) and len(shown("x" * 10**6)) < 2_000


def test_plain_text_stays_as_it_is() -> None:
    text = "Zürich 交通標識 🚸 traffic sign\nline"
    assert printable(text) == text and one_line("überholt") == "überholt"


def test_no_line_of_a_message_is_forged() -> None:
    error = EdgegdError("What.", expected=EVIL, found=EVIL, mend="as it is")
    lines = error.message().splitlines()
    assert is_plain(error.message()) and not any(line.startswith("edgegd:") for line in lines)
    assert sum(line.startswith("  to mend it") for line in lines) == 1


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        "a|b|c",
        "`code`",
        "[link](http://x)",
        "![image](http://x)",
        "&lt;img src=x&gt;",
        "@all",
        "x\n| forged | row |",
        "\\|",
        "<img src=x onerror=y>",
    ],
)
def test_markdown_cells_hold_no_markup(evil: str) -> None:
    shown = cell(evil, "github")
    assert "<" not in shown and "`" not in shown and "](" not in shown and "@" not in shown and "\n" not in shown
    assert not re.search(r"(?<!\\)\|", shown) and not re.search(r"&(?!amp;|lt;|#\d+;)", shown)


def test_a_stream_shows_what_it_cannot_write_as_escapes() -> None:
    stream = StringIO()
    PrintableStream(stream).write(EVIL)
    assert is_plain(stream.getvalue())


def test_notes_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalProgress().note(EVIL)
    assert is_plain(capsys.readouterr().err)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    targets = tmp_path / "edgegd" / "targets.yaml"
    targets.parent.mkdir()
    targets.write_text('pi: {url: "command:\\e[2J\\nedgegd: PASS é交 python"}\n', encoding="utf-8")
    return {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_streams_that_cannot_print_a_name(environment: dict[str, str], encoding: str) -> None:
    command = [sys.executable, "-m", "edgegd.cli.main", "target", "ls"]
    plain = subprocess.run(command, env={**environment, "PYTHONIOENCODING": encoding}, capture_output=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert b"\x1b" not in plain.stdout and len(plain.stdout.splitlines()) == 2
    as_json = subprocess.run(
        [*command, "--json"], env={**environment, "PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    assert json.loads(as_json.stdout)[1]["url"] == "command:\x1b[2J\nedgegd: PASS é交 python"
