"""The latency worker: one file that times one ONNX model on the machine it runs on.

It is started as a fresh process (`python worker.py`), needs only the standard library, numpy and onnxruntime, imports
nothing of edgegd, and may be copied to a device. It speaks one JSON object a line on stdin and stdout:

    {"configure": {"model", "threads", "spinning", "optimization", "seed", "input"}}  -> {"ready": true, ...}
    {"warm_up": limit_s}   -> {"stable", "seconds", "inferences", "window_medians_ms"}
    {"run": block_s}       -> {"first_ns", "durations_ns"}
    {"profile": runs}      -> {"nodes": [{"op_type", "name", "provider", "median_us", "inputs", "outputs"}], "run_us",
                               "plain_us"}
    {"quit": true}         -> the process ends; so does the end of stdin, so that no worker outlives its parent

A failure is answered by {"error": text, "about": "model" | "worker"}. Whatever libraries print to stdout goes to
stderr, because the protocol owns a private copy of the original stdout.
"""
# ruff: noqa: E402 -- the search path is mended before anything but os and sys is imported

from __future__ import annotations

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
if __name__ == "__main__" and _FOLDER in sys.path:
    sys.path.remove(_FOLDER)  # a neighbour of this file must never shadow a module of the standard library

import gc
import hashlib
import importlib
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

PROTOCOL = 1
OPTIMIZATION = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
MIN_BLOCK_INFERENCES = 3
WINDOW_S = 0.2
WINDOW_INFERENCES = 5
STABLE_SPREAD = 0.02
PROFILE_WARM_UP = 5  # inferences of a profile that do not count


class ModelError(Exception):
    """The model file (or the input for it) cannot be used, whatever the machine."""


def read_text(path: str) -> str:
    """The text of a file under /proc or /sys without trailing blanks; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def installed_version(module: str) -> str | None:
    """`__version__` of an importable module, or None."""
    try:
        return str(importlib.import_module(module).__version__)
    except ImportError:
        return None


def machine_facts() -> dict[str, Any]:
    """Raw facts of this machine, for edgegd.latency.fingerprint to interpret on the machine that asked for them."""
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/"
    cores = os.cpu_count() or 1
    return {
        "cpuinfo": read_text("/proc/cpuinfo"),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "logical_cores": cores,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        "governor": read_text(frequency + "scaling_governor"),
        "max_frequency_khz": read_text(frequency + "scaling_max_freq"),
        "onnxruntime": installed_version("onnxruntime"),
        "numpy": installed_version("numpy"),
        "python": platform.python_version(),
    }


def make_feed(inputs: list[Any], seed: int, file: str | None) -> dict[str, Any]:
    """One array per model input: uniform float32 in [0, 1) or uint8 in 0..255 by seed, or the array of a .npy file.

    Raises ModelError for dynamic shapes, for other dtypes, and for a .npy that does not fit the model.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    feed = {}
    for node in inputs:
        if not all(isinstance(side, int) and side > 0 for side in node.shape):
            raise ModelError(f"input {node.name} has a dynamic shape {node.shape}; latency needs a static one")
        if node.type == "tensor(float)":
            feed[node.name] = generator.random(node.shape, dtype=np.float32)
        elif node.type == "tensor(uint8)":
            feed[node.name] = generator.integers(0, 256, node.shape, dtype=np.uint8)
        else:
            raise ModelError(f"input {node.name} is {node.type}; only tensor(float) and tensor(uint8) are timed")
    if file is not None:
        name, made = next(iter(feed.items()))
        array = np.load(file)
        if len(feed) != 1 or array.shape != made.shape or array.dtype != made.dtype:
            raise ModelError(f"{file} is {array.dtype} {array.shape}, input {name} is {made.dtype} {made.shape}")
        feed[name] = np.ascontiguousarray(array)
    return feed


def open_session(model: str, threads: int, spinning: bool, optimization: str, profile: str = "") -> Any:
    """An onnxruntime session with explicit options; with `profile`, it records its nodes in a file so prefixed."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, OPTIMIZATION[optimization])
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
        raise ModelError(str(error)) from error


def summarize_profile(events: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """The answer to `profile` from onnxruntime's events: of each node the median of its last `runs` runs in us.

    Nodes are in running order; `inputs` and `outputs` are lists of [element type, *shape]; `run_us` is the median of
    the whole run, which is longer than its nodes together.
    """
    durations: dict[tuple[str, str], list[int]] = {}
    arguments: dict[tuple[str, str], dict[str, Any]] = {}
    whole: list[int] = []
    for event in events:
        name = event["name"]
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            key = event["args"].get("node_index", ""), name[: -len("_kernel_time")]
            durations.setdefault(key, []).append(event["dur"])
            arguments[key] = event["args"]
        elif name == "model_run":
            whole.append(event["dur"])

    def types(entries: list[dict[str, list[int]]]) -> list[list[Any]]:
        return [[kind, *shape] for entry in entries for kind, shape in entry.items()]

    nodes = [{
        "op_type": arguments[key]["op_name"], "name": key[1], "provider": arguments[key]["provider"],
        "median_us": statistics.median(times[-runs:]), "inputs": types(arguments[key]["input_type_shape"]),
        "outputs": types(arguments[key]["output_type_shape"]),
    } for key, times in durations.items()]
    return {"nodes": nodes, "run_us": statistics.median(whole[-runs:])}


class LoadedModel:
    """One onnxruntime session with explicit options, its input, and the clock around single inferences."""

    def __init__(self, model: str, threads: int, spinning: bool, optimization: str, seed: int,
                 input: str | None) -> None:
        with open(model, "rb") as file:
            self.sha256 = hashlib.sha256(file.read()).hexdigest()
        self._asked = (model, threads, spinning, optimization)
        start = time.perf_counter_ns()
        self.session = open_session(*self._asked)
        self.load_ms = (time.perf_counter_ns() - start) / 1e6
        self.feed = make_feed(self.session.get_inputs(), seed, input)

    def ready(self) -> dict[str, Any]:
        """The answer to `configure`; the options are read back from the session, not repeated from the request."""
        options = self.session.get_session_options()
        return {
            "ready": True,
            "protocol": PROTOCOL,
            "load_ms": self.load_ms,
            "model_sha256": self.sha256,
            "machine": machine_facts(),
            "session": {
                "threads": options.intra_op_num_threads,
                "inter_op_threads": options.inter_op_num_threads,
                "spinning": options.get_session_config_entry("session.intra_op.allow_spinning") == "1",
                "optimization": options.graph_optimization_level.name,
                "execution_mode": options.execution_mode.name,
                "providers": self.session.get_providers(),
            },
            "inputs": {name: [str(array.dtype), *array.shape] for name, array in self.feed.items()},
        }

    def time_once(self) -> int:
        """Duration of one inference in ns."""
        start = time.perf_counter_ns()
        self.session.run(None, self.feed)
        return time.perf_counter_ns() - start

    def warm_up(self, limit_s: float) -> dict[str, Any]:
        """Run until the medians of two consecutive windows differ by less than 2 %, or for limit_s seconds.

        A window is at least 0.2 s and at least 5 inferences. The last window may be cut short by the limit and then
        does not count.
        """
        start = time.monotonic()
        end = start + limit_s
        medians: list[float] = []
        inferences = 0
        stable = False
        while not stable:
            window: list[int] = []
            while sum(window) < WINDOW_S * 1e9 or len(window) < WINDOW_INFERENCES:
                window.append(self.time_once())
                if time.monotonic() >= end:
                    break
            else:
                medians.append(statistics.median(window) / 1e6)
            inferences += len(window)
            stable = len(medians) > 1 and abs(medians[-1] / medians[-2] - 1) < STABLE_SPREAD
            if time.monotonic() >= end:
                break
        seconds = time.monotonic() - start
        return {"stable": stable, "seconds": seconds, "inferences": inferences, "window_medians_ms": medians}

    def run_block(self, block_s: float) -> dict[str, Any]:
        """Single inferences for block_s seconds, at least three; the first one after idling is told apart."""
        first_ns = self.time_once()
        durations_ns: list[int] = []
        gc.disable()  # a collection inside an inference would be counted as the model's
        end = time.monotonic() + block_s
        while time.monotonic() < end or len(durations_ns) < MIN_BLOCK_INFERENCES:
            durations_ns.append(self.time_once())
        gc.enable()
        return {"first_ns": first_ns, "durations_ns": durations_ns}

    def profile(self, runs: int) -> dict[str, Any]:
        """The time of every node of the optimized graph, from a second session's profile of `runs` inferences.

        `plain_us` is the median of as many inferences without a profile, made right before. (In turn with the others
        they would find the caches filled with another session's weights.)
        """
        plain_ns = [self.time_once() for _ in range(PROFILE_WARM_UP + runs)]
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(*self._asked, profile=os.path.join(folder, "profile"))
            for _ in range(PROFILE_WARM_UP + runs):
                session.run(None, self.feed)
            with open(session.end_profiling(), encoding="utf-8") as file:
                summary = summarize_profile(json.load(file), runs)
        return {**summary, "plain_us": statistics.median(plain_ns[-runs:]) / 1000}


def serve(lines: Iterable[str], send: Callable[[dict[str, Any]], None],
          load: Callable[..., LoadedModel] = LoadedModel) -> None:
    """Answer each line until `quit` or the end of the lines; an exception becomes an answer, never a crash.

    `load` makes the model of a `configure`: another runtime's worker has its own.
    """
    model: LoadedModel | None = None
    for line in lines:
        try:
            message = json.loads(line)
            if "quit" in message:
                return
            if "configure" in message:
                model = load(**message["configure"])
                send(model.ready())
            elif model is None:
                send({"error": "no model is loaded: send configure first", "about": "worker"})
            elif "warm_up" in message:
                send(model.warm_up(float(message["warm_up"])))
            elif "run" in message:
                send(model.run_block(float(message["run"])))
            elif "profile" in message:
                send(model.profile(int(message["profile"])))
            else:
                send({"error": f"unknown message with keys {sorted(message)}", "about": "worker"})
        except Exception as error:
            about = "model" if isinstance(error, ModelError) else "worker"
            send({"error": f"{type(error).__name__}: {error}", "about": about})


def main(load: Callable[..., LoadedModel] = LoadedModel) -> None:
    """Serve the protocol on the original stdout, with file descriptor 1 pointed at stderr for everybody else."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as protocol:
        os.dup2(2, 1)

        def send(message: dict[str, Any]) -> None:
            protocol.write(json.dumps(message) + "\n")
            protocol.flush()

        serve(iter(sys.stdin.readline, ""), send, load)


if __name__ == "__main__":
    main()
