"""Plays `edgegd run` for tests of sweeps: `python played_run.py run RECIPE --set KEY=VALUE ... --run-dir DIR ...`.

It counts its starts in DIR/starts.txt and leaves descent.json after SECONDS (environment variable PLAYED_S) per epoch,
with an mAP that is best at a learning rate of 1e-4; its weights are as large as the epochs. A learning rate above 0.5
fails as a run does, and one of exactly 0.25 by a signal. Like edgegd.cli.child it ends with its stdin, after
PLAYED_END_S.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path


def end_with_stdin() -> None:
    while os.read(0, 100):
        pass
    time.sleep(float(os.environ.get("PLAYED_END_S", "0")))
    os._exit(130)


def main() -> None:
    """One run."""
    threading.Thread(target=end_with_stdin, daemon=True).start()
    arguments = sys.argv[1:]
    settings = dict(arguments[i + 1].split("=", 1) for i, one in enumerate(arguments) if one == "--set")
    folder = Path(arguments[arguments.index("--run-dir") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(51)
    with (folder / "starts.txt").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    rate, epochs = float(settings.get("train.lr0", 1e-4)), int(settings.get("train.epochs", 1))
    if rate == 0.25:
        os.kill(os.getpid(), signal.SIGKILL)
    if rate > 0.5:
        fields = {"what": f"The rate {rate} is too high.", "expected": "", "found": "", "mend": ""}
        print(json.dumps({"error": "NaNLossError", "exit_code": 60, **fields}))
        sys.exit(60)
    rows = []
    for epoch in range(1, epochs + 1):
        time.sleep(float(os.environ.get("PLAYED_S", "0")))
        value = 0.5 - 0.1 * abs(math.log10(rate) + 4) + 0.01 * float(settings.get("train.seed", 0))
        rows.append({"epoch": epoch, "map50_95": value})
        (folder / "descent.json.tmp").write_text(json.dumps({"epochs": rows, "best_map50_95": value}))
        os.replace(folder / "descent.json.tmp", folder / "descent.json")
    (folder / "ptq.edge.onnx").write_bytes(b"x" * epochs)
    print(json.dumps({"run_dir": str(folder)}))


if __name__ == "__main__":
    main()
