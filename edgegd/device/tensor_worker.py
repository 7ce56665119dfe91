"""The tensor worker: one file that runs an ONNX model on letterboxed images and tells what its outputs are.

It is started as a fresh process (`python tensor_worker.py`), needs only Python 3.9, numpy and onnxruntime, imports
nothing of edgegd, opens no socket, and may be copied to a device. It speaks one JSON object a line on stdin and stdout:

    {"open": {"model", "sha256", "threads", "store"}} -> {"opened": true, "onnxruntime"}
    {"compute": {"image", "sha256", "form"}}    -> {"computed", "tensors": {name: {"sha256", "dtype", "shape"}}}
    {"values": {"names", "above"}}              -> {"values": {name: {"data", "columns"}}}
    {"done": true}                              -> {"done": true}: what was stored is removed
    {}                                          -> no answer; it only shows that the connection lives

`image` is the path of a .npy file, (h, w, C) uint8, and `form` says how it becomes the model's input (network_input).
Tensors are hashed and sent in one form everywhere: little-endian float32, and uint8 for integer codes of either sign
(int8 ones plus 128). `values` are of the image computed last: bytes, zlib, base64. With a score in `above`, of an
output (1, 4 + classes, N) only the columns with a class above it are sent, and `columns` (int32) says which.

With a folder in `store`, outputs are kept there until the next image is asked for, so that an image whose answer got
lost is not computed again: `computed` is then false. In `store` "", that folder is beside this file.

A failure is answered by {"error": text, "about": "model" | "hash" | "onnxruntime" | "space" | "worker"}. The process
ends on SIGINT, when stdin ends, and after 300 idle seconds.
"""
# ruff: noqa: E402 -- the search path is mended before anything but os and sys is imported

from __future__ import annotations

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
_FOLDER = os.path.dirname(os.path.abspath(__file__))
if __name__ == "__main__" and _FOLDER in sys.path:
    sys.path.remove(_FOLDER)  # a neighbour of this file must never shadow a module of the standard library

import base64
import contextlib
import errno
import hashlib
import io
import json
import queue
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

IDLE_LIMIT_S = 300.0  # a connection may die without a word
STORE = "outputs"  # the folder beside this file
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refusal(Exception):
    """Why a message was not obeyed, and what is at fault."""

    def __init__(self, text: str, about: str) -> None:
        super().__init__(text)
        self.about = about


def checked_content(path: str, sha256: str) -> bytes:
    """The bytes of a file; Refusal unless their SHA-256 is as expected."""
    with open(path, "rb") as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refusal(f"{path} has SHA-256 {found}, not {sha256}", "hash")
    return content


def network_input(pixels: Any, form: dict[str, Any]) -> Any:
    """A letterboxed image (h, w, C) uint8 as a model's input, bit for bit as edgegd.runtime.letterbox makes it.

    `form` has `dtype` (uint8: (1, h, w, channels), a fourth channel beside three is 255; float32: (1, C, h, w)),
    `channels`, and for float32 `reversed` (BGR to RGB) and `divisor`, by which pixels are divided in float32.
    """
    import numpy as np

    if form["dtype"] == "uint8":
        if form["channels"] > pixels.shape[2]:
            more = np.full((*pixels.shape[:2], form["channels"] - pixels.shape[2]), 255, np.uint8)
            pixels = np.concatenate((pixels, more), axis=2)
        return pixels[None]
    if form["reversed"]:
        pixels = pixels[:, :, ::-1]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])  # (h, w, C) -> (1, C, h, w)
    return np.divide(planes, np.float32(form["divisor"]), dtype=np.float32)


def canonical(array: Any) -> Any:
    """A tensor in the form in which it is hashed and sent: uint8 for integer codes, else little-endian float32."""
    import numpy as np

    if array.dtype == np.int8:
        array = array.view(np.uint8) ^ np.uint8(128)
    elif array.dtype != np.uint8:
        array = array.astype("<f4")
    return np.ascontiguousarray(array)


class OpenModel:
    """One onnxruntime session, and the outputs of the image that it ran on last."""

    def __init__(self, model: str, sha256: str, threads: int, store: str | None) -> None:
        try:
            import numpy  # noqa: F401
            import onnxruntime as ort
        except Exception as error:  # also a library for another CPU, or half an installation
            raise Refusal(f"{sys.executable}: {type(error).__name__}: {error}", "onnxruntime") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # fatal ones only
        self._sha256, self.onnxruntime = sha256, ort.__version__
        content = checked_content(model, sha256)
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
            raise Refusal(str(error), "model") from error
        self._names = [output.name for output in self._session.get_outputs()]
        self._store = os.path.join(_FOLDER, STORE) if store == "" else store
        self._last: dict[str, Any] = {}

    def compute(self, image: str, sha256: str, form: dict[str, Any]) -> dict[str, Any]:
        """The outputs for one image, from the store where they are there; nothing else stays in the store."""
        import numpy as np

        kept = os.path.join(self._store, f"{self._sha256[:16]}-{sha256}.npz") if self._store is not None else ""
        stored = self._read(kept)
        if stored is None:
            pixels = np.load(io.BytesIO(checked_content(image, sha256)), allow_pickle=False)
            (source,) = self._session.get_inputs()
            values = self._session.run(self._names, {source.name: network_input(pixels, form)})
            self._last = {name: canonical(value) for name, value in zip(self._names, values)}  # noqa: B905 -- 3.9
            if kept:
                self._write(kept)
        else:
            self._last = stored
        tensors = {
            name: {
                "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
                "dtype": str(array.dtype),
                "shape": list(array.shape),
            }
            for name, array in self._last.items()
        }
        return {"computed": stored is None, "tensors": tensors}

    def values(self, names: list[str], above: float | None) -> dict[str, Any]:
        """Outputs of the image computed last."""
        import numpy as np

        found = {}
        for name in names:
            array, columns = self._last[name], None
            if above is not None:
                columns = np.flatnonzero(array[0, 4:].max(axis=0) > np.float32(above)).astype("<i4")
                array = np.ascontiguousarray(array[:, :, columns])  # (1, 4 + classes, N) -> (1, 4 + classes, M)
            found[name] = {"data": packed(array), "columns": None if columns is None else packed(columns)}
        return {"values": found}

    def forget(self, kept: str = "") -> None:
        """Removes what is stored, but for the file `kept`."""
        if self._store is not None and os.path.isdir(self._store):
            for entry in os.listdir(self._store):
                path = os.path.join(self._store, entry)
                if entry.endswith((".npz", ".part")) and path != kept:
                    with contextlib.suppress(OSError):
                        os.unlink(path)

    def _read(self, path: str) -> dict[str, Any] | None:
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[str(number)] for number, name in enumerate(self._names)}
        except Exception:  # not there, or not whole: a zip file has errors of its own
            return None

    def _write(self, path: str) -> None:
        import numpy as np

        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.forget()
        try:
            with open(path + ".part", "wb") as file:
                np.savez(file, **{str(number): self._last[name] for number, name in enumerate(self._names)})
            os.replace(path + ".part", path)
        except OSError as error:
            self.forget()
            if error.errno in _FULL:
                raise Refusal(f"{path}: {error.strerror}", "space") from error
            raise


def packed(array: Any) -> str:
    """An array's bytes as text."""
    return base64.b64encode(zlib.compress(array.tobytes(), 1)).decode()


def serve(lines: Iterable[bytes], send: Callable[[dict[str, Any]], None]) -> None:
    """Answers each line; an exception becomes an answer."""
    model: OpenModel | None = None
    for line in lines:
        try:
            message = json.loads(line)
            kind, value = next(iter(message.items()), ("", {}))
            if kind == "open":
                model = OpenModel(**value)
                send({"opened": True, "onnxruntime": model.onnxruntime})
            elif kind and model is None:
                raise Refusal("no model is open", "worker")
            elif kind in ("compute", "values"):
                send(getattr(model, kind)(**value))
            elif kind == "done" and model is not None:
                model.forget()
                send({"done": True})
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


def main() -> None:
    """Serves the protocol on the original stdout, with file descriptor 1 pointed at stderr for everybody else."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started this may ignore it, and that is inherited
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(heard(), lambda message: print(json.dumps(message), file=protocol))


if __name__ == "__main__":
    main()
