"""A device that is played, and may lie in one answer. A program of its own; it needs nothing but Python.

    python device.py SPEC.json [OPTION ...] WORKER_FILE

It stands where a device's Python stands: it is given the worker's file, or the keeper's of the lock, and speaks the
protocol of either as edgegd/device/latency_worker.py and tensor_worker.py describe it, without running a model.
SPEC.json:

    {"facts": FILE, "lie": null | {"message", "nth", "how", ...}, "real": PYTHON or ""}

`facts` are a real machine's. With `real`, the answers are a real worker's, passed on. The lie replaces the answer
number `nth` to `message`; see `tell` for the ways. A heartbeat (`{}`) has no answer: a lie about it is one too many.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

MARK = "@@LIE@@"
HEARTBEAT = "heartbeat"
NODE_US = 10.0
OUTPUT = "output0"
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def state(ahead_ns: int = 0) -> dict[str, Any]:
    """A device state as the worker reports it, `ahead_ns` later than now."""
    return {
        "clocks_ns": {
            "monotonic": time.monotonic_ns() + ahead_ns,
            "boottime": time.monotonic_ns() + ahead_ns,
            "wall": time.time_ns() + ahead_ns,
        },
        "frequency_khz": [1_500_000, 1_500_000],
        "temperature_c": {"cpu-thermal": 50.0},
        "governor": "performance",
        "throttle_count": 0,
        "load1": 0.1,
        "busy_ticks": 1000,
        "steal_ticks": 0,
        "own_ticks": 10,
        "ticks_per_s": 100,
    }


def durations(count: int) -> list[int]:
    """Durations in ns of about 2 ms, which vary by 1 per mille, as a quiet device's."""
    return [2_000_000 + (index * 7919 + time.monotonic_ns()) % 2000 for index in range(count)]


def profile(model: str) -> dict[str, Any]:
    """The answer to `profile` for an exported file: a node for every address in it, each as fast as the others."""
    with open(model, "rb") as file:
        names = sorted(set(re.findall(rb"model(?:\.\w+)*:\w+:\d+", file.read())))
    shape = [["float", 1, 16, 8, 8]]
    nodes = [
        {
            "op_type": "Conv",
            "name": name.decode(),
            "provider": "CPUExecutionProvider",
            "median_us": NODE_US,
            "inputs": shape,
            "outputs": shape,
        }
        for name in names
    ]
    return {"nodes": nodes, "run_us": NODE_US * len(nodes) + 50, "plain_us": NODE_US * len(nodes)}


def output_shape(model: str) -> list[int]:
    """The shape of an exported file's output, as its metadata says; one of a raw output without a file."""
    if not model:
        return [1, 7, 84]
    with open(model, "rb") as file:
        found = re.search(rb'"kind": "\w+", "shape": \[([0-9, ]+)\]', file.read())
    assert found is not None
    return [int(side) for side in found[1].split(b",")]


def packed(content: bytes) -> str:
    """Bytes as a tensor worker sends them."""
    return base64.b64encode(zlib.compress(content)).decode()


def sha256_of(path: str) -> str:
    """Of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def honest(facts: dict[str, Any], message: dict[str, Any], model: str = "") -> dict[str, Any] | None:
    """The answer of a sound device that has loaded the file `model`; None for a message that has none."""
    kind = next(iter(message), "")
    value: Any = message.get(kind)
    if kind == "lock":
        return {"locked": value is not None}
    if kind == "hello":
        return {"protocol": 3, "machine": facts, "state": state(), "pid": os.getpid(), "free_bytes": 10**11}
    if kind == "configure":
        session = {
            "threads": value["threads"],
            "inter_op_threads": 1,
            "spinning": value["spinning"],
            "optimization": "ORT_ENABLE_ALL",
            "execution_mode": "ORT_SEQUENTIAL",
            "providers": [value["provider"]],
        }
        return {
            "ready": True,
            "protocol": 3,
            "load_ms": 12.5,
            "model_sha256": sha256_of(value["model"]) if value["sha256"] is None else value["sha256"],
            "machine": facts,
            "session": session,
            "inputs": {"images": ["float32", 1, 3, 64, 64]},
        }
    if kind == "warm_up":
        return {"stable": True, "seconds": 0.3, "inferences": 100, "window_medians_ms": [2.0, 2.0]}
    if kind == "run":
        before, times = state(), durations(5)
        return {"first_ns": 3_000_000, "durations_ns": times, "before": before, "after": state(4_000_000 + sum(times))}
    if kind == "burst":
        return {"durations_ns": durations(value)}
    if kind == "concurrent":
        before, took = state(), [4_000_000] * value["workers"]
        counts = {"counts": [2] * value["workers"], "walls_ns": took, "cpu_ns": sum(took)}
        return {**counts, "before": before, "after": state(8_000_000)}
    if kind == "paced":
        times = durations(value["inferences"])
        return {"durations_ns": times, "idle_wall_ns": 50_000_000, "idle_cpu_ns": 1_000, "cpu_ns": sum(times)}
    if kind == "memory":
        return {"peak_bytes": 50_000_000}
    if kind == "profile":
        return profile(model)
    if kind == "open":
        return {"opened": True, "onnxruntime": "1.32.0"}
    if kind == "compute":
        sides = output_shape(model)
        digest = hashlib.sha256(bytes(4 * math.prod(sides))).hexdigest()
        return {"computed": True, "tensors": {OUTPUT: {"sha256": digest, "dtype": "float32", "shape": sides}}}
    if kind == "values":
        whole = value["above"] is None
        content = bytes(4 * math.prod(output_shape(model))) if whole else b""
        return {"values": {name: {"data": packed(content), "columns": packed(b"")} for name in value["names"]}}
    if kind == "done":
        return {"done": True}
    return None if not kind else {"error": f"unknown message {kind}", "about": "worker"}


def changed(answer: Any, path: list[Any], raw: str | None) -> str:
    """The answer as JSON, with the value at `path` replaced by the text `raw`, or left out where that is None."""
    copy = json.loads(json.dumps(answer))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if raw is None:
        del place[path[-1]]
        return json.dumps(copy)
    if path:
        place[path[-1]] = MARK
    else:
        copy = MARK
    return json.dumps(copy).replace(json.dumps(MARK), raw)


def tell(lie: dict[str, Any], answer: dict[str, Any], out: Any) -> None:
    """Writes the lie instead of the answer; `how` says which. The file `told` is made first."""
    how = lie["how"]
    with open(lie["told"], "w", encoding="utf-8"):
        pass
    if how == "change":
        out.write(changed(answer, lie["path"], lie["raw"]).encode("utf-8", "surrogatepass") + b"\n")
    elif how == "bytes":
        out.write(bytes.fromhex(lie["hex"]))
    elif how == "twice":
        out.write(2 * (json.dumps(answer).encode() + b"\n"))
    elif how == "exit":
        sys.stderr.write(lie.get("words", ""))
        sys.stderr.flush()
        os._exit(lie["status"])
    elif how == "silence":
        time.sleep(300)
    elif how == "endless line":
        while True:
            out.write(b"9" * (1 << 20))
    elif how == "endless stderr":
        while True:
            os.write(2, b"x" * 99 + b"\n")
    elif how == "long":
        out.write(json.dumps(answer)[:-1].encode() + b', "more": [' + b"1," * lie["values"] + b"1]}\n")
    out.flush()


def answers(spec: dict[str, Any], worker: list[str]) -> Answer:
    """The function that answers a message: a played device's, or a real worker's behind pipes."""
    if spec.get("real"):
        process = subprocess.Popen([spec["real"], *worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        def passed_on(message: dict[str, Any]) -> Any:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            return json.loads(stdout.readline() or b'{"error": "gone"}') if message and "quit" not in message else None

        return passed_on
    with open(spec["facts"], encoding="utf-8") as file:
        facts = json.load(file)

    loaded = [""]

    def played(message: dict[str, Any]) -> Any:
        for kind in ("configure", "open"):
            if kind in message:
                loaded[0] = message[kind]["model"]
        return honest(facts, message, loaded[0])

    return played


def heard() -> Iterator[dict[str, Any]]:
    """The messages of stdin."""
    for line in sys.stdin.buffer:
        yield json.loads(line)


def main() -> None:
    """Answers until stdin ends, or the lock is given back."""
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    out, answer_of, lie, seen = sys.stdout.buffer, answers(spec, sys.argv[2:]), spec["lie"], 0
    for message in heard():
        answer = answer_of(message)
        if "quit" in message:
            return
        kind = next(iter(message), HEARTBEAT)
        kind = "unlock" if kind == "lock" and message["lock"] is None else kind
        if lie is not None and kind == lie["message"]:
            seen += 1
            if seen == lie["nth"] + 1:
                tell(lie, answer or {}, out)
                continue
        if answer is None:
            continue
        out.write(json.dumps(answer).encode() + b"\n")
        out.flush()
        if kind == "unlock":
            return


if __name__ == "__main__":
    main()
