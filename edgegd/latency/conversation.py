"""What the host says to a worker, and how its answers become results or errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgegd.errors import DeviceSoftwareError, OnnxUnreadableError, ProtocolError, WorkerError
from edgegd.latency.record import Design
from edgegd.latency.worker import PROTOCOL
from edgegd.targets.base import Worker

WORKER_FILE = Path(__file__).with_name("worker.py")
INPUT_SEED = 0
ANSWER_MARGIN_S = 120.0  # above the time asked for: loading a model, or one slow inference on a small board


def configure(worker: Worker, model: str, design: Design, sha256: str | None = None) -> dict[str, Any]:
    """Loads the model (a path on the device) in the worker, after checking its hash where one is given.

    Raises OnnxUnreadableError for a model that cannot be timed, WorkerError for one with another hash and for a session
    that runs with other options than asked for, ProtocolError for a worker of another version.
    """
    asked = {"threads": design.threads, "spinning": design.spinning, "provider": design.provider}
    ready = ask(worker, {"configure": {**asked, "model": model, "sha256": sha256, "optimization": design.optimization,
                                        "seed": INPUT_SEED, "input": None}}, 0)
    if ready["protocol"] != PROTOCOL:
        raise _protocol_error(str(ready["protocol"]))
    session = ready["session"]
    runs_with = {"threads": session["threads"], "spinning": session["spinning"], "provider": session["providers"][0]}
    if runs_with != asked:
        raise WorkerError("onnxruntime did not take the session options it was given.", expected=str(asked),
                          found=str(runs_with), mend="run `edgegd doctor` and install a tested onnxruntime")
    return ready


def ask(worker: Worker, message: dict[str, Any], duration_s: float) -> dict[str, Any]:
    """A worker's answer to a message that keeps it busy for `duration_s`.

    Raises OnnxUnreadableError where the model cannot be timed, DeviceSoftwareError where the device lacks a usable
    onnxruntime, ProtocolError for a worker of another version, WorkerError where the worker dies, hangs or fails.
    """
    worker.send(message)
    answer = worker.receive(duration_s + ANSWER_MARGIN_S)
    if "error" not in answer:
        return answer
    about, found = answer.get("about"), str(answer["error"])
    if about == "model":
        raise OnnxUnreadableError("onnxruntime cannot time this model.", found=found,
                                  expected="an ONNX model with static float32 or uint8 inputs",
                                  mend="export the model again")
    if about == "onnxruntime":
        raise DeviceSoftwareError("The device lacks what a worker needs.", found=found,
                                  expected="Python 3.9 or later with numpy and onnxruntime 1.23 or later",
                                  mend="install them on the device; `edgegd target check` shows the command")
    if about == "protocol":
        raise _protocol_error(found)
    if about == "hash":
        raise WorkerError("The file on the device is not the model that was sent.", found=found,
                          expected="the same SHA-256", mend="run it again: the file is copied anew")
    raise WorkerError("The latency worker reports a failure.", expected=f"an answer to {sorted(message)[0]}",
                      found=found, mend="run `edgegd doctor` on the machine that is measured")


def _protocol_error(found: str) -> ProtocolError:
    return ProtocolError("The worker on the device speaks another protocol.", expected=f"version {PROTOCOL}",
                         found=found, mend="use the same edgegd everywhere: an image may hold an old worker")
