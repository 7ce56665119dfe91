"""Showing a page in a real browser, and asking it questions by a script."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.report.pages import Reader

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = pytest.mark.skipif(_BROWSER is None, reason="no browser: Chromium and Chrome are not installed")
_ANSWER = "the answer of the page: "


def command_line(folder: Path) -> list[str]:
    """A browser without a screen, which asks nobody for news."""
    return [
        *(str(_BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,1500"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        f"--user-data-dir={folder / 'profile'}",
    ]


def browse(address: str, folder: Path, *options: str) -> str:
    """The page's elements once it is loaded, as HTML."""
    command = [*command_line(folder), "--enable-logging=stderr", *options, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert done.returncode == 0 and not said, said or done.stderr
    return done.stdout


def answer(html: str, script: str, folder: Path, theme: str = "light") -> dict[str, Any]:
    """The object `found` that `script` fills in the page, whose policy allows that one script more."""
    script = f"""{{
{script}
const result = document.createElement("pre");
result.textContent = "{_ANSWER}" + JSON.stringify(found);
document.body.append(result);
}}"""
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = html.replace("script-src '", f"script-src 'sha256-{allowed}' '", 1)
    (folder / "page.html").write_text(html.replace("</body>", f"<script>{script}</script></body>"))
    scheme = {"dark": 0, "light": 1}[theme]
    shown = browse(f"file://{folder / 'page.html'}", folder, f"--blink-settings=preferredColorScheme={scheme}")
    return dict(json.loads(Reader(shown).text.rpartition(_ANSWER)[2]))
