"""One run in several processes, each with a place of its own and a share of the cases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_shares(arguments: list[str], jobs: int, folder: Path) -> list[dict[str, Any]]:
    """Starts `jobs` processes of `python -m fuzz ARGUMENTS` and waits for them; what each has written as --json.

    Ends the program where one of them could not do its share.
    """
    files = [folder / f"share-{number}.json" for number in range(1, jobs + 1)]
    processes = [
        subprocess.Popen([sys.executable, "-m", "fuzz", *arguments, "--share", f"{number}/{jobs}", "--json", str(file)])
        for number, file in enumerate(files, 1)
    ]
    for process in processes:
        process.wait()
    found = [json.loads(file.read_text()) if file.exists() else {"complete": False} for file in files]
    if not all(one["complete"] for one in found):
        sys.exit("fuzz: a share was not finished: see above")
    return found
