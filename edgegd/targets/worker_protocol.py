"""What the host says to a worker, and how its answers become results or errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edgegd.device import latency_worker
from edgegd.device.answers import check_answer, device_of
from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.threads import ThreadSetting
from edgegd.errors import (
    DeviceSoftwareError,
    DeviceSpaceError,
    EdgegdError,
    OnnxUnreadableError,
    ProtocolError,
    WorkerError,
)
from edgegd.foreign_text import one_line
from edgegd.targets.base import Worker

WORKER_FILE = Path(latency_worker.__file__)
INPUT_SEED = 0
ANSWER_MARGIN_S = 120.0  # above the time asked for: loading a model, or one slow inference on a small board


class SessionOptions(Protocol):
    """How a session is to be made; a measurement's Design has it."""

    @property
    def threads(self) -> int:
        """Threads inside one operation."""

    @property
    def spinning(self) -> bool:
        """Whether idle threads spin."""

    @property
    def provider(self) -> str:
        """onnxruntime's execution provider."""

    @property
    def optimization(self) -> str:
        """onnxruntime's level of graph optimization."""


def configure(
    worker: Worker,
    model: str,
    design: SessionOptions,
    sha256: str | None = None,
    *,
    setting: ThreadSetting | None = None,
    entries: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Loads the model (a path on the device) in the worker, after checking its hash where one is given.

    A `setting` says threads, spinning and cores in the place of the design; `entries` are further ones of onnxruntime's
    session configuration, such as `session.dynamic_block_base`.

    Raises OnnxUnreadableError for a model that cannot be timed, WorkerError for one with another hash and for a session
    that runs with other options than asked for, ProtocolError for a worker of another version; otherwise as `ask`.
    """
    threads = setting or ThreadSetting(threads=design.threads, spinning=design.spinning)
    asked: dict[str, Any] = {"threads": threads.threads, "spinning": threads.spinning, "provider": design.provider}
    # Left out where there are none: workers of other runtimes do not know them.
    more: dict[str, Any] = {"cores": sorted(threads.cores)} if threads.cores else {}
    if entries:
        more["entries"] = dict(entries)
    ready = ask(
        worker,
        {
            "configure": {
                **asked,
                **more,
                "model": model,
                "sha256": sha256,
                "optimization": design.optimization,
                "seed": INPUT_SEED,
                "input": None,
            }
        },
        0,
    )
    device = device_of(worker)
    if sha256 is not None and ready.get("model_sha256", sha256) != sha256:
        raise _other_file(device, f"SHA-256 {ready['model_sha256']}")
    session = ready["session"]
    runs_with = {"threads": session["threads"], "spinning": session["spinning"], "provider": session["providers"][0]}
    if "cores" in more:
        asked["cores"], runs_with["cores"] = more["cores"], ready["machine"]["core_mask"]
    if "entries" in more:
        asked["entries"], runs_with["entries"] = more["entries"], session.get("entries")
    if runs_with != asked:
        raise WorkerError(
            f"{device}: onnxruntime did not take the session options it was given.",
            expected=str(asked),
            found=str(runs_with),
            mend="run `edgegd doctor` and install a tested onnxruntime",
        )
    return ready


def ask(worker: Worker, message: dict[str, Any], duration_s: float) -> dict[str, Any]:
    """A worker's answer to a message that keeps it busy for `duration_s`, after it was checked whole.

    Raises OnnxUnreadableError where the model cannot be run, DeviceSoftwareError where the device lacks a usable
    onnxruntime, or another runtime that is asked for, DeviceSpaceError where its disk is full, ProtocolError for a
    worker of another version, WorkerError where the worker dies, hangs or fails, and where its answer cannot be true
    (edgegd.device.answers).
    """
    kind, device = next(iter(message)), device_of(worker)
    worker.send(message)
    answer = worker.receive(duration_s + ANSWER_MARGIN_S)
    if "error" in answer:
        check_answer("error", answer, device)
        raise _reported(kind, device, answer.get("about", ""), answer["error"])
    if type(answer.get("protocol", PROTOCOL)) is int and answer.get("protocol", PROTOCOL) != PROTOCOL:
        raise _protocol_error(device, one_line(answer["protocol"]))
    check_answer(kind, answer, device)
    for key, count in _lengths(kind, message[kind]).items():
        if len(answer[key]) != count:
            raise WorkerError(
                f"{device} answered for another number of {'inferences' if key == 'durations_ns' else 'callers'}.",
                expected=str(count),
                found=str(len(answer[key])),
                mend="use the same edgegd everywhere",
            )
    return answer


def _lengths(kind: str, asked: Any) -> dict[str, int]:
    """How long the lists of an answer must be that the message has decided."""
    if kind == "concurrent":
        return dict.fromkeys(("counts", "walls_ns"), asked["workers"])
    return {"durations_ns": asked["inferences"] if kind == "paced" else asked} if kind in ("burst", "paced") else {}


def _reported(kind: str, device: str, about: str, found: str) -> EdgegdError:
    """The error that a worker's own report of a failure stands for."""
    if about == "model":
        return OnnxUnreadableError(
            f"{device}: onnxruntime cannot run this model.",
            found=found,
            expected="an ONNX model with static float32 or uint8 inputs",
            mend="export the model again",
        )
    if about == "onnxruntime":
        return DeviceSoftwareError(
            f"{device} lacks what a worker needs.",
            found=found,
            expected="Python 3.9 or later with numpy and onnxruntime 1.23 or later",
            mend="install them on the device; `edgegd target check` shows the command",
        )
    if about == "runtime":
        found, _, command = found.partition("\n")
        return DeviceSoftwareError(
            f"{device} lacks the runtime that is to be measured there.",
            found=found,
            expected="its Python package",
            mend=f"install it there: {command}",
        )
    if about == "protocol":
        return _protocol_error(device, found)
    if about == "space":
        return DeviceSpaceError(
            f"{device}: its disk is full.",
            found=found,
            expected="space for what is computed there",
            mend="free some space there and run the same command again: it goes on where it stopped",
        )
    if about == "hash":
        return _other_file(device, found)
    return WorkerError(
        f"{device}: the worker reports a failure.",
        expected=f"an answer to {kind}",
        found=found,
        mend="run `edgegd doctor` on the machine that is measured",
    )


def _other_file(device: str, found: str) -> WorkerError:
    return WorkerError(
        f"The file on the device is not the model that was sent ({device}).",
        found=found,
        expected="the same SHA-256",
        mend="run it again: the file is copied anew",
    )


def _protocol_error(device: str, found: str) -> ProtocolError:
    return ProtocolError(
        f"The worker on the device speaks another protocol ({device}).",
        found=found,
        expected=f"version {PROTOCOL}",
        mend="use the same edgegd everywhere: an image may hold an old worker",
    )
