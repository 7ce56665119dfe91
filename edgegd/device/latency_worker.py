"""The latency worker: one file that times one ONNX model on the machine it runs on.

It is started as a fresh process (`python worker.py`), needs only Python 3.9, numpy and onnxruntime, imports nothing of
edgegd, opens no socket, and may be copied to a device. It speaks one JSON object a line on stdin and stdout:

    {"hello": 3}           -> {"protocol", "machine": machine_facts(), "state": device_state(), "free_bytes", "pid"}
    {"configure": {"model", "sha256", "threads", "spinning", "optimization", "provider", "seed", "input"}}
                           -> {"ready": true, ...}; "sha256" (expected, or null) and "provider" may be left out. Also:
                              "cores": [numbers] to which the process is bound, before the session makes its threads;
                              "entries": {name: text} of onnxruntime's session configuration
    {"warm_up": limit_s}   -> {"stable", "seconds", "inferences", "window_medians_ms"}
    {"run": block_s}       -> {"first_ns", "durations_ns", "before", "after"}, the last two being device states
    {"burst": n}           -> {"durations_ns"} of n inferences as they come
    {"concurrent": {"workers": n, "seconds": s}}
                           -> {"counts", "walls_ns", "cpu_ns", "before", "after"}: n callers of the one session at once,
                              how many inferences each of them made, and in how long
    {"paced": {"inferences": n, "pause_s": s}}
                           -> {"durations_ns", "idle_wall_ns", "idle_cpu_ns", "cpu_ns"}: a pause before every inference,
                              CPU time of all threads in these pauses, and in all
    {"memory": true}       -> {"peak_bytes"}: the most memory that this process has had resident
    {"runtime": true}      -> {"version"}: of the runtime that this worker is for; asked before a model is loaded
    {"profile": runs}      -> {"nodes", "run_us", "plain_us"}: see summarize_profile
    {"quit": true}         -> the process ends; so it does on SIGINT, when stdin ends, and after 300 idle seconds
    {}                     -> no answer; it only shows that the connection lives

Workers of other runtimes are made of this file (edgegd.device.runtime_workers). They have no profile, and one message
more: {"outputs": {"image", "output"}} -> {"shape"}, both being .npy files.

A failure is answered by {"error": text, "about": "model" | "hash" | "onnxruntime" | "runtime" | "protocol" | "worker"}.
Whatever libraries print to stdout goes to stderr, because the protocol owns a private copy of the original stdout.
"""
# ruff: noqa: E402 -- the search path is mended before anything but os and sys is imported

from __future__ import annotations

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported; its uploads would be timed
_FOLDER = os.path.dirname(os.path.abspath(__file__))
if __name__ == "__main__" and _FOLDER in sys.path:
    sys.path.remove(_FOLDER)  # a neighbour of this file must never shadow a module of the standard library

import contextlib
import gc
import glob
import hashlib
import json
import math
import queue
import re
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PROTOCOL = 3
OLDEST_ONNXRUNTIME = (1, 23)
IDLE_LIMIT_S = 300.0  # a connection may die without a word
MIN_BLOCK_INFERENCES, WINDOW_S, WINDOW_INFERENCES, STABLE_SPREAD = 2, 0.2, 5, 0.02
PROFILE_WARM_UP, INPUT_BYTES = 5, 1 << 30  # inferences of a profile that do not count; of one input in float32


class Refusal(Exception):
    """Why a message was not obeyed, and what is at fault: by default the model, whatever the machine."""

    def __init__(self, text: str, about: str = "model") -> None:
        super().__init__(text)
        self.about = about


def read_text(path: str) -> str:
    """The text of a file under /proc or /sys without trailing blanks; empty where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode(errors="replace").strip()
    except OSError:
        return ""


def machine_facts() -> dict[str, Any]:
    """Raw facts of this machine, for edgegd.device.fingerprint to interpret on the machine that asked for them."""
    frequency, cores = "/sys/devices/system/cpu/cpu0/cpufreq/", sorted(os.sched_getaffinity(0))
    modules: dict[str, Any] = {}
    for name in ("numpy", "onnxruntime"):
        with contextlib.suppress(Exception):  # missing, half installed, or made for another CPU
            modules[name] = __import__(name)
    build_info = getattr(modules.get("onnxruntime"), "get_build_info", lambda: None)
    return {
        "cpuinfo": read_text("/proc/cpuinfo"),
        "architecture": os.uname().machine,
        "kernel": os.uname().release,
        "logical_cores": os.cpu_count() or 1,
        "usable_cores": len(cores),
        "core_mask": cores,
        "governor": read_text(frequency + "scaling_governor"),
        "python": sys.version.split()[0],
        "max_frequency_khz": read_text(frequency + "scaling_max_freq"),
        "core_speeds": core_speeds(),
        "onnxruntime_build": build_info(),
        **{name: getattr(modules.get(name), "__version__", None) for name in ("numpy", "onnxruntime")},
    }


def core_speeds(root: str = "/") -> list[dict[str, int]]:
    """Of each core its number, its capacity (1024: the system's largest) and highest frequency, where Linux tells."""
    found = []
    for folder in glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*")):
        texts = {"capacity": "cpu_capacity", "max_frequency_khz": "cpufreq/cpuinfo_max_freq"}
        speeds = {key: read_text(os.path.join(folder, name)) for key, name in texts.items()}
        core = {"core": int(os.path.basename(folder)[3:])}
        found.append({**core, **{key: int(text) for key, text in speeds.items() if re.fullmatch("[0-9]+", text)}})
    return sorted(found, key=lambda one: one["core"])


def device_state(root: str = "/") -> dict[str, Any]:
    """What the device tells about itself at this moment; files are read below `root`, what is missing is left out.

    `frequency_khz` has a value a core, `temperature_c` one a type of zone (the hottest); `throttled_flags` are those of
    a Raspberry Pi, `throttle_count` is x86's; ticks are all cores', `own_ticks` this process'.
    """

    def read(pattern: str) -> list[str]:
        return [read_text(path) for path in sorted(glob.glob(os.path.join(root, pattern)), key=lambda p: (len(p), p))]

    def whole(texts: list[str], base: int = 10) -> list[int]:
        return [int(text, base) for text in texts if re.fullmatch(r"-?\d+" if base == 10 else "[0-9a-f]+", text)]

    cpu, zone = "sys/devices/system/cpu/cpu[0-9]*/", "sys/class/thermal/thermal_zone[0-9]*/"
    temperatures: dict[str, float] = {}
    for kind, text in zip(read(zone + "type"), read(zone + "temp")):  # noqa: B905 -- `strict` is of Python 3.10
        for millidegrees in whole([text]):
            temperatures[kind] = max(millidegrees / 1000, temperatures.get(kind, -273.15))
    throttles = whole(read(cpu + "thermal_throttle/core_throttle_count"))
    ticks, load = (" ".join(read(f"proc/{name}")).split() for name in ("stat", "loadavg"))
    own = " ".join(read("proc/self/stat")).rpartition(")")[2].split()  # the program's name may hold blanks
    state = {
        "clocks_ns": {
            "monotonic": time.monotonic_ns(),
            "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            "wall": time.time_ns(),
        },
        "frequency_khz": whole(read(cpu + "cpufreq/scaling_cur_freq")),
        "temperature_c": temperatures,
        "governor": " + ".join(sorted(set(read(cpu + "cpufreq/scaling_governor")))),
        "throttled_flags": (*whole(read("sys/devices/platform/soc/soc:firmware/get_throttled"), 16), None)[0],
        "throttle_count": sum(throttles) if throttles else None,
        "cgroup_throttled_us": cgroup_throttled_us(root),
        "load1": float(load[0]) if load else None,
        "busy_ticks": sum(int(ticks[i]) for i in (1, 2, 3, 6, 7)) if ticks else None,  # not idle, iowait, steal
        "steal_ticks": int(ticks[8]) if ticks else None,
        "own_ticks": int(own[11]) + int(own[12]) if own else None,
        "ticks_per_s": os.sysconf("SC_CLK_TCK"),
    }
    return {key: value for key, value in state.items() if value not in (None, "", [], {})}


def cgroup_throttled_us(root: str = "/") -> int | None:
    """How long CPU limits held this process' cgroup and those above; version 1 tells ns, version 2 us, others None."""
    times: list[tuple[str, str]] = []
    for line in read_text(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            folder = os.path.join(root, "sys/fs/cgroup", controllers)
            for part in ["", *filter(None, path.split("/"))]:
                folder = os.path.join(folder, part)
                times += re.findall(r"throttled_(usec|time) (\d+)", read_text(os.path.join(folder, "cpu.stat")))
    return sum(int(value) // (1 if unit == "usec" else 1000) for unit, value in times) if times else None


def make_feed(inputs: list[Any], seed: int, file: str | None) -> dict[str, Any]:
    """One array per model input: uniform float32 in [0, 1) or uint8 in 0..255 by seed, or the array of a .npy file.

    Raises Refusal for dynamic shapes, for other dtypes, and for a .npy that does not fit the model.
    """
    import numpy as np

    random, feed = np.random.default_rng(seed), {}
    for node in inputs:
        if not all(isinstance(side, int) and side > 0 for side in node.shape):
            raise Refusal(f"input {node.name} has a dynamic shape {node.shape}; latency needs a static one")
        if node.type not in ("tensor(float)", "tensor(uint8)"):
            raise Refusal(f"input {node.name} is {node.type}; only tensor(float) and tensor(uint8) are timed")
        if math.prod(node.shape) * 4 > INPUT_BYTES:
            raise Refusal(f"input {node.name} {node.shape} has more than {INPUT_BYTES >> 22} million values")
        feed[node.name] = (
            random.random(node.shape, dtype=np.float32)
            if node.type == "tensor(float)"
            else random.integers(0, 256, node.shape, dtype=np.uint8)
        )
    if file is not None:
        name, made = next(iter(feed.items()))
        array = np.load(file)
        if len(feed) != 1 or array.shape != made.shape or array.dtype != made.dtype:
            raise Refusal(f"{file} is {array.dtype} {array.shape}, input {name} is {made.dtype} {made.shape}")
        feed[name] = np.ascontiguousarray(array)
    return feed


def checked_sha256(model: str, expected: str | None) -> str:
    """SHA-256 of a file; Refusal unless as expected. Read in pieces, for the process' peak of memory is the model's."""
    digest = hashlib.sha256()
    with open(model, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if expected not in (None, digest.hexdigest()):
        raise Refusal(f"{model} has SHA-256 {digest.hexdigest()}, not {expected}", "hash")
    return digest.hexdigest()


def bind(cores: list[int]) -> None:
    """Binds this thread, and those that it starts, to the cores; Refusal where the device has not all of them."""
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise Refusal(f"cores {cores}: {error.strerror}", "worker") from error
    if sorted(os.sched_getaffinity(0)) != sorted(cores):
        raise Refusal(f"cores {sorted(os.sched_getaffinity(0))} of {cores} can be used", "worker")


def open_session(
    model: str,
    threads: int,
    spinning: bool,
    optimization: str,
    provider: str,
    entries: dict[str, str],
    profile: str = "",
) -> Any:
    """An onnxruntime session with explicit options; with `profile`, it records its nodes in a file so prefixed."""
    try:
        import numpy  # noqa: F401
        import onnxruntime as ort

        if tuple(map(int, ort.__version__.split(".")[:2])) < OLDEST_ONNXRUNTIME:
            raise ImportError(f"onnxruntime {ort.__version__} is too old")
    except Exception as error:  # also a library for another CPU, or half an installation
        raise Refusal(f"{sys.executable}: {type(error).__name__}: {error}", "onnxruntime") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    level = "ORT_DISABLE_ALL" if optimization == "disable" else f"ORT_ENABLE_{optimization.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # while another worker is timed
    for key, text in entries.items():
        options.add_session_config_entry(key, text)
    options.enable_profiling, options.profile_file_prefix = bool(profile), profile
    try:
        session = ort.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
        raise Refusal(str(error)) from error
    if session.get_providers()[0] != provider:  # onnxruntime only warns, and takes the CPU
        raise Refusal(f"{provider} is not usable here, only {', '.join(session.get_providers())}", "onnxruntime")
    return session


def summarize_profile(events: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """The answer to `profile` from onnxruntime's events: of each node the median of its last `runs` runs in us.

    Nodes ("op_type", "name", "provider", "median_us", "inputs", "outputs": lists of [element type, *shape]) are in
    running order; `run_us` is the median of the whole run, which is longer than its nodes together.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events:
        name, _, rest = event["name"].rpartition("_kernel_time")
        if event.get("cat") == "Node" and name and not rest:
            found.setdefault((event["args"].get("node_index", ""), name), []).append(event)
    nodes = []
    for (_, name), times in found.items():
        last = times[-1]["args"]
        inputs, outputs = (
            [[kind, *shape] for one in last[key] for kind, shape in one.items()]
            for key in ("input_type_shape", "output_type_shape")
        )
        nodes.append(
            {
                "op_type": last["op_name"],
                "name": name,
                "provider": last["provider"],
                "median_us": statistics.median(event["dur"] for event in times[-runs:]),
                "inputs": inputs,
                "outputs": outputs,
            }
        )
    whole = [event["dur"] for event in events if event["name"] == "model_run"]
    return {"nodes": nodes, "run_us": statistics.median(whole[-runs:])}


class LoadedModel:
    """One onnxruntime session with explicit options, its input, and the clock around single inferences."""

    def __init__(
        self,
        model: str,
        threads: int,
        spinning: bool,
        optimization: str,
        seed: int,
        input: str | None,
        sha256: str | None = None,
        provider: str = "CPUExecutionProvider",
        cores: list[int] | None = None,
        entries: dict[str, str] | None = None,
    ) -> None:
        self.sha256 = checked_sha256(model, sha256)
        self._asked = (model, threads, spinning, optimization, provider, entries or {})
        if cores:
            bind(cores)
        start = time.perf_counter_ns()
        self.session = open_session(*self._asked)
        self.load_ms = (time.perf_counter_ns() - start) / 1e6
        self.feed = make_feed(self.session.get_inputs(), seed, input)

    @classmethod
    def runtime_version(cls) -> str:
        """onnxruntime's version."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def ready(self) -> dict[str, Any]:
        """The answer to `configure`; the options are read back from the session, not repeated from the request."""
        options = self.session.get_session_options()
        entries = {key: options.get_session_config_entry(key) for key in self._asked[-1]}
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
                **({"entries": entries} if entries else {}),
            },
            "inputs": {name: [str(array.dtype), *array.shape] for name, array in self.feed.items()},
        }

    def time_once(self) -> int:
        """Duration of one inference in ns."""
        start = time.perf_counter_ns()
        self.session.run(None, self.feed)
        return time.perf_counter_ns() - start

    def warm_up(self, limit_s: float) -> dict[str, Any]:
        """Run until the medians of two consecutive windows differ by less than 2 %, or for limit_s seconds. A window is
        at least 0.2 s and at least 5 inferences; one that the limit cuts short does not count."""
        start, medians, inferences = time.monotonic(), [], 0
        while True:
            window: list[int] = []
            while sum(window) < WINDOW_S * 1e9 or len(window) < WINDOW_INFERENCES:
                window.append(self.time_once())
                if time.monotonic() >= start + limit_s:
                    break
            else:
                medians.append(statistics.median(window) / 1e6)
            inferences += len(window)
            stable = len(medians) > 1 and abs(medians[-1] / medians[-2] - 1) < STABLE_SPREAD
            seconds = time.monotonic() - start
            if stable or seconds >= limit_s:
                return {"stable": stable, "seconds": seconds, "inferences": inferences, "window_medians_ms": medians}

    def run(self, block_s: float) -> dict[str, Any]:
        """Single inferences for block_s seconds, at least two; the first one after idling is told apart."""
        before, first_ns = device_state(), self.time_once()
        durations_ns: list[int] = []
        gc.disable()  # a collection inside an inference would be counted as the model's
        end = time.monotonic() + block_s
        while time.monotonic() < end or len(durations_ns) < MIN_BLOCK_INFERENCES:
            durations_ns.append(self.time_once())
        gc.enable()
        return {"first_ns": first_ns, "durations_ns": durations_ns, "before": before, "after": device_state()}

    def concurrent(self, asked: dict[str, Any]) -> dict[str, Any]:
        """`workers` threads that call the session for `seconds`, each at least once after one that does not count."""
        together, made, failed = threading.Barrier(asked["workers"] + 1), [], []

        def call() -> None:
            try:
                self.time_once()
                together.wait()
                count, start = 0, time.monotonic_ns()
                while not count or time.monotonic_ns() < start + asked["seconds"] * 1e9:
                    self.time_once()
                    count += 1
                made.append((count, time.monotonic_ns() - start))
            except Exception as error:
                failed.append(error)
                together.abort()

        callers = [threading.Thread(target=call, daemon=True) for _ in range(asked["workers"])]
        for caller in callers:
            caller.start()
        before = device_state()
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()
        cpu_ns = time.process_time_ns()
        for caller in callers:
            caller.join()
        cpu_ns = time.process_time_ns() - cpu_ns
        if failed:
            raise failed[0]
        counts, walls_ns = zip(*made)  # noqa: B905 -- `strict` is of Python 3.10
        return {"counts": counts, "walls_ns": walls_ns, "cpu_ns": cpu_ns, "before": before, "after": device_state()}

    def paced(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Inferences as of a camera, whose next frame is not there yet when one is done."""
        durations_ns, idle_wall_ns, idle_cpu_ns, start_cpu_ns = [], 0, 0, time.process_time_ns()
        for _ in range(asked["inferences"]):
            wall, cpu = time.monotonic_ns(), time.process_time_ns()
            time.sleep(asked["pause_s"])
            idle_cpu_ns += time.process_time_ns() - cpu
            idle_wall_ns += time.monotonic_ns() - wall
            durations_ns.append(self.time_once())
        return {
            "durations_ns": durations_ns,
            "idle_wall_ns": idle_wall_ns,
            "idle_cpu_ns": idle_cpu_ns,
            "cpu_ns": time.process_time_ns() - start_cpu_ns,
        }

    def burst(self, inferences: int) -> dict[str, Any]:
        """The first inferences as a user meets them."""
        return {"durations_ns": [self.time_once() for _ in range(inferences)]}

    def profile(self, runs: int) -> dict[str, Any]:
        """Every node's time, from a second session's profile of `runs` inferences; `plain_us` is without, made right
        before: in turn with the others it would find the caches filled with another session's weights."""
        plain_ns = [self.time_once() for _ in range(PROFILE_WARM_UP + runs)]
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(*self._asked, profile=os.path.join(folder, "profile"))
            for _ in range(PROFILE_WARM_UP + runs):
                session.run(None, self.feed)
            summary = summarize_profile(json.loads(read_text(session.end_profiling())), runs)
        return {**summary, "plain_us": statistics.median(plain_ns[-runs:]) / 1000}


def serve(
    lines: Iterable[str | bytes], send: Callable[[dict[str, Any]], None], load: type[LoadedModel] = LoadedModel
) -> None:
    """Answer each line until `quit`; an exception becomes an answer. `load` is another runtime's model, if any."""
    model: LoadedModel | None = None
    for line in lines:
        try:
            message = json.loads(line)
            kind, value = next(iter(message.items()), ("", None))
            if kind == "quit":
                return
            if kind == "hello":
                if value != PROTOCOL:
                    raise Refusal(f"this worker speaks version {PROTOCOL}, not {value}", "protocol")
                disk = os.statvfs(_FOLDER)
                send(
                    {
                        "protocol": PROTOCOL,
                        "machine": machine_facts(),
                        "state": device_state(),
                        "pid": os.getpid(),
                        "free_bytes": disk.f_bavail * disk.f_frsize,
                    }
                )
            elif kind == "memory":
                send({"peak_bytes": 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", read_text("/proc/self/status"))[0])})
            elif kind == "runtime":
                send({"version": load.runtime_version()})
            elif kind == "configure":
                model = load(**message["configure"])
                send(model.ready())
            elif kind and model is None:
                raise Refusal("no model is loaded: send configure first", "worker")
            elif kind in ("warm_up", "run", "burst", "concurrent", "paced", "profile", "outputs"):
                send(getattr(model, kind)(value))
            elif kind:
                raise Refusal(f"unknown message with keys {sorted(message)}", "worker")
        except Exception as error:
            text = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            send({"error": text, "about": getattr(error, "about", "worker")})


def heard() -> Iterator[bytes]:
    """The lines of stdin. The thread that waits for them ends the process with stdin, whatever it is doing then."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in open(0, "rb", buffering=0):  # noqa: SIM115 -- the process ends with it
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        while True:
            yield lines.get(timeout=IDLE_LIMIT_S)


def main(load: type[LoadedModel] = LoadedModel) -> None:
    """Serve the protocol on the original stdout, with file descriptor 1 pointed at stderr for everybody else."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started this may ignore it, and that is inherited
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(heard(), lambda message: print(json.dumps(message), file=protocol), load)


if __name__ == "__main__":
    main()
