"""Searches on a real Ray cluster of two nodes whose runs are played (tests/played_run.py). Oracle: counted starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import END_S

pytest.importorskip("ray", reason="Ray is not installed (edgegd[ray])")
pytest.importorskip("optuna")

import ray

from edgegd.errors import ClusterError
from edgegd.pipeline.sweep import cluster, shared
from edgegd.pipeline.sweep.engines import engine_maker
from edgegd.pipeline.sweep.search import SearchRequest, search

PLAYED = (sys.executable, "-S", str(Path(__file__).parents[1] / "played_run.py"))
BEST = "descent.best_map50_95"


class Notes:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, done: int, total: int, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Keeps it."""
        self.notes.append(text)


def running(trials: Path) -> int:
    """How many runs are under way: their last process lives."""
    last = [one.read_text().split()[-1] for one in trials.glob("*/starts.txt") if one.read_text().endswith("\n")]
    return sum(Path(f"/proc/{pid}/cmdline").exists() for pid in last)


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of a head and another node, with one CPU each."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.other = found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.mark.slow
def test_a_node_is_killed_in_the_middle(two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "shared_stages", lambda *_: [])
    monkeypatch.setitem(os.environ, "RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "my.yaml").write_text("version: 1\ndata: {path: my-set.yaml}\n")
    # PLAYED_S reaches a run by its command: the nodes were started before.
    command = ("/usr/bin/env", "PLAYED_S=2", *PLAYED)
    request = SearchRequest(
        str(tmp_path / "my.yaml"), ["train.lr0=log:1e-6..1e-1"], [BEST], 6, prunes=False, command=command
    )

    def kill_the_other_node() -> None:
        end = time.monotonic() + END_S
        while running(tmp_path / "sweep/trials") < 2 and time.monotonic() < end:  # one on each node
            time.sleep(0.05)
        two_nodes.remove_node(two_nodes.other, allow_graceful=False)

    notes, killer = Notes(), threading.Thread(target=kill_the_other_node)
    killer.start()
    make = engine_maker("ray", two_nodes.address, None, 1, request.objectives, notes)
    result = search(request, tmp_path / "sweep", make, notes)[1]
    killer.join()
    assert [(one["number"], one["state"]) for one in result["trials"]] == [(n, "complete") for n in range(6)]
    lost = [note for note in notes.notes if "its node was lost" in note]
    assert len(lost) == 1
    counted = {
        int(one.parent.name): len(one.read_text().split()) for one in (tmp_path / "sweep/trials").glob("*/starts.txt")
    }
    again = int(lost[0].split()[1].rstrip(":"))
    assert counted == {number: 2 if number == again else 1 for number in range(6)}


@pytest.mark.slow
def test_a_sweep_on_a_cluster_that_is_killed(two_nodes: Any, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "my.yaml", tmp_path / "sweep"
    recipe.write_text("version: 1\ndata: {path: my-set.yaml}\n")
    driver = str(Path(__file__).parents[1] / "played_sweep.py")

    def start(seconds: float) -> subprocess.Popen[bytes]:
        command = ["/usr/bin/env", f"PLAYED_S={seconds}", *PLAYED]
        return subprocess.Popen(
            [sys.executable, driver, str(recipe), str(folder), "4", "ray", two_nodes.address, *command],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )

    killed, end = start(100), time.monotonic() + END_S
    while running(folder / "trials") < 2 and time.monotonic() < end:
        time.sleep(0.05)
    killed.kill()
    killed.wait(END_S)
    end = time.monotonic() + END_S
    while running(folder / "trials") and time.monotonic() < end:
        time.sleep(0.05)
    assert running(folder / "trials") == 0
    assert start(0.1).wait(2 * END_S) == 0
    trials = json.loads((folder / "sweep.json").read_text())["trials"]
    assert [(one["number"], one["state"]) for one in trials] == [(n, "complete") for n in range(4)]
    counted = [len((folder / f"trials/{n:04d}/starts.txt").read_text().split()) for n in range(4)]
    assert counted == [2, 2, 1, 1]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:port", "127.0.0.1:1"])
def test_an_address_without_a_cluster(address: str) -> None:
    with pytest.raises(ClusterError, match=r"address of a Ray cluster|No Ray cluster answers"):
        cluster.RayEngine(address, None, 1, False, Notes())


def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PROBE_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ClusterError, match="no answer within 3 s"):
        cluster.RayEngine(f"127.0.0.1:{server.getsockname()[1]}", None, 1, False, Notes())
