"""A sweep of 12 real trials that is killed twice, and one on a Ray cluster of two nodes of which one is killed.

    python benchmarks/sweep_kills.py [--only local]

Trials are runs of the streets recipe with 8 images at 64 px for one epoch, up to QAT. The sweep's process gets SIGKILL
at a random moment of the descent of its 3rd and of its 8th trial, and the same command goes on; of the cluster
(ray.cluster_utils) one node is killed in the middle. Stored in benchmarks/results/sweep_kills.json: the trials and
their states, how often each run was started, the seconds after which no process of a killed sweep was left, and how
often the float model was made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from result_file import ROOT, ResultFile, installed

TRIALS, KILLED_IN = 12, (2, 7)
SETTINGS = (
    "model.imgsz=64",
    "data.train_images=8",
    "data.val_images=4",
    "quant.calibration_images=4",
    "quant.refine=none",
    "train.epochs=1",
    "train.batch=4",
    "train.lr0=log:1e-5..1e-3",
)
LONGEST_S = 1200.0


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """The sweep's command."""
    settings = [part for one in (*SETTINGS, f"data.path={folder.parent / 'set'}") for part in ("--set", one)]
    objective = ["--objective", "descent.best_map50_95", "--no-prune", "--trials", str(TRIALS), *options]
    command = ["sweep", "streets/yolo26n", *settings, *objective, "--sweep-dir", str(folder)]
    return subprocess.Popen([sys.executable, "-m", "edgegd.cli.main", *command], stdout=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool]) -> float:
    """The seconds until a condition holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > LONGEST_S:
            sys.exit("nothing happened for too long")
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)


def processes_of(folder: Path) -> list[int]:
    """The runs that are under way in a sweep's folder, by what they were started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"edgegd.cli.child" in words and any(str(folder).encode() in word for word in words):
            found.append(int(path.parent.name))
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished sweep left."""
    trials = json.loads((folder / "sweep.json").read_text())["trials"]
    logs = sorted(folder.glob("logs/[0-9]*.log"))
    float_stages = [json.loads(one.read_text())["stages"]["float"] for one in folder.glob("logs/*.json")]
    return {
        "numbers": [one["number"] for one in trials],
        "states": [one["state"] for one in trials],
        "points": len({str(one["values"]) for one in trials}),
        "starts": [one.read_text().count("target profile") for one in logs],
        "float_stage_ran": float_stages.count("ran"),
    }


def killed_twice(work: Path, chance: random.Random) -> dict[str, Any]:
    """SIGKILL in two trials."""
    folder, ended = work / "local/sweep", []
    for number in KILLED_IN:
        process = start(folder)
        wait_for((folder / f"trials/{number:04d}/qat-checkpoint.safetensors").exists)
        time.sleep(chance.uniform(0, 2))
        process.kill()
        process.wait()
        ended.append(wait_for(lambda: not processes_of(folder)))
    if start(folder).wait():
        sys.exit("the sweep failed")
    return {"engine": "local", "kills": len(KILLED_IN), "seconds_until_no_process": ended} | outcome(folder)


def node_killed(work: Path, chance: random.Random) -> dict[str, Any]:
    """A cluster of two nodes, one of which is killed while both work."""
    # Ray starts its workers at niceness 15, and would wait for whatever else this machine does.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    import ray
    from ray.cluster_utils import Cluster

    folder = work / "ray/sweep"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    process = start(folder, "--engine", "ray", "--address", cluster.address)
    wait_for(lambda: len(processes_of(folder)) == 2 and (folder / "logs/0004.log").exists())
    time.sleep(chance.uniform(0, 1))
    cluster.remove_node(other, allow_graceful=False)
    code = process.wait()
    ray.shutdown()
    cluster.shutdown()
    if code:
        sys.exit("the sweep failed")
    return {"engine": "ray", "kills": 1} | outcome(folder)


def main() -> None:
    """Runs both, and stores what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("local", "ray"))
    parser.add_argument("--work", type=Path, default=ROOT / "runs/sweep_kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work, results = arguments.work.absolute(), ResultFile("sweep_kills")
    for name, run in (("local", killed_twice), ("ray", node_killed)):
        if arguments.only in (None, name):
            shutil.rmtree(work / name, ignore_errors=True)
            (work / name).mkdir(parents=True)
            found = run(work, random.Random(arguments.seed))
            results.drop(lambda entry, engine=found["engine"]: entry["engine"] == engine)
            results.add(found, {package: installed(package) for package in ("optuna", "ray")})
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
