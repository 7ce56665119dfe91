"""The files of the detectors whose latency is measured: made once, by a program that takes its torch with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("make_detector.py")


def made(
    model: str,
    imgsz: int | str,
    out: Path,
    auto: Path | None = None,
    only: str = "",
    end2end: bool = False,
    channels: int = 3,
    profile: str = "",
) -> Path:
    """`out`, filled by make_detector.py in a subprocess where it is not complete; the others are its options."""
    complete = out / "made.json"
    if not complete.exists() or (auto and "auto" not in json.loads(complete.read_text())):
        print(f"making the files of {model} at {imgsz} ...", file=sys.stderr, flush=True)
        options = ["--auto", str(auto)] if auto else []
        options += ["--only", only] if only else []
        options += ["--end2end"] if end2end else []
        options += ["--channels", str(channels)] if channels != 3 else []
        options += ["--profile", profile] if profile else []
        subprocess.run(
            [sys.executable, str(PROGRAM), model, "--imgsz", str(imgsz), "--out", str(out), *options],
            check=True,
            stdout=sys.stderr,
        )
    return out
