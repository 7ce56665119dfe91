"""What the host says to a tensor worker (edgegd.device.tensor_worker): a model on a target, its hashes and values."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from edgegd.device import tensor_worker
from edgegd.device.answers import device_of
from edgegd.device.tensor_worker import canonical
from edgegd.errors import WorkerError
from edgegd.targets.base import Target, Worker
from edgegd.targets.worker_protocol import ask

TENSOR_WORKER = Path(tensor_worker.__file__)
BESIDE = ""
"""The store of a tensor worker that a target has copied somewhere: a folder beside that copy."""
_COMPUTE_S = 600.0  # of one inference: an emulated CPU takes half a minute


@dataclass(frozen=True)
class DeliveredImage:
    """A letterboxed image on a target: its path there, and the SHA-256 of its file."""

    path: str
    sha256: str


@dataclass(frozen=True)
class TensorHash:
    """What a tensor is on one side: SHA-256, dtype and shape of its canonical form (tensor_worker.canonical)."""

    sha256: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> TensorHash:
        """That of a tensor on this side."""
        array = canonical(array)
        return cls(sha256(array.tobytes()).hexdigest(), str(array.dtype), array.shape)


@dataclass(frozen=True)
class Computed:
    """An image's outputs by name; `fresh` is False where the device had computed them before, and its answer got lost.

    `tensors` are what the device says, not compared with anything yet.
    """

    fresh: bool
    tensors: Mapping[str, TensorHash]


class RemoteModel:
    """A model that a tensor worker on a target has open. Every method raises as edgegd.targets.worker_protocol.ask."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def compute(self, image: DeliveredImage, form: Mapping[str, Any]) -> Computed:
        """Runs the model on an image; `form` says how it becomes the input (tensor_worker.network_input)."""
        message = {"image": image.path, "sha256": image.sha256, "form": dict(form)}
        answer = ask(self._worker, {"compute": message}, _COMPUTE_S)
        tensors = {
            name: TensorHash(one["sha256"], one["dtype"], tuple(one["shape"]))
            for name, one in answer["tensors"].items()
        }
        return Computed(answer["computed"], tensors)

    def values(self, wanted: Mapping[str, TensorHash], above: float | None = None) -> dict[str, np.ndarray]:
        """The named outputs of the image computed last, in canonical form and of the dtypes and shapes in `wanted`.

        `above` is for one output (1, 4 + classes, N): columns without a class that scores more come back as zeros.
        WorkerError for values that are not of that form, or (without `above`) not those whose hash is in `wanted`.
        """
        answer = ask(self._worker, {"values": {"names": list(wanted), "above": above}}, _COMPUTE_S)["values"]
        if answer.keys() != wanted.keys():
            raise self._wrong(f"the tensors {', '.join(wanted)}", ", ".join(answer))
        return {name: self._array(name, answer[name], expected, above) for name, expected in wanted.items()}

    def done(self) -> None:
        """Removes what the device has stored: this side has it all."""
        ask(self._worker, {"done": True}, 0)

    def _array(self, name: str, sent: Mapping[str, Any], expected: TensorHash, above: float | None) -> np.ndarray:
        dtype, shape = np.dtype(expected.dtype), expected.shape
        if above is None:
            array = self._unpacked(name, sent["data"], dtype, int(np.prod(shape))).reshape(shape)
            if TensorHash.of(array) != expected:
                raise self._wrong(f"the values of {name} that have the SHA-256 it told", "others")
            return array
        columns = self._unpacked(name, sent["columns"] or "", np.dtype("<i4"), None, most=shape[2])
        if len(columns) and (columns[0] < 0 or columns[-1] >= shape[2] or (np.diff(columns) <= 0).any()):
            raise self._wrong(f"ascending columns of {name} from 0 to {shape[2] - 1}", "others")
        array = np.zeros(shape, dtype)
        found = self._unpacked(name, sent["data"], dtype, shape[1] * len(columns))
        array[0][:, columns] = found.reshape(shape[1], len(columns))  # (4 + classes, M) among (4 + classes, N)
        return array

    def _unpacked(self, name: str, text: str, dtype: np.dtype[Any], count: int | None, most: int = 0) -> np.ndarray:
        """`count` values, or at most `most`; a device may send what unpacks without an end."""
        limit = (most if count is None else count) * dtype.itemsize
        try:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(base64.b64decode(text, validate=True), limit + 1) if text else b""
        except (zlib.error, ValueError) as error:
            raise self._wrong(f"the packed values of {name}", str(error)) from error
        if len(content) > limit or (count is not None and len(content) != limit) or len(content) % dtype.itemsize:
            raise self._wrong(f"{limit} bytes of {name}", f"{len(content)}{' or more' * (len(content) > limit)}")
        return np.frombuffer(content, dtype)

    def _wrong(self, expected: str, found: str) -> WorkerError:
        return WorkerError(
            f"{device_of(self._worker)} sent tensors that cannot be true.",
            expected=expected,
            found=found,
            mend="look for another program or a changed worker on the device",
        )


@contextmanager
def opened(
    target: Target, path: str, model_sha256: str, *, threads: int, store: str | None = None
) -> Iterator[RemoteModel]:
    """A model, by its path on the target and its hash, in a fresh tensor worker. Raises as `ask`.

    `store` is the folder on the target for an answer that may get lost (tensor_worker); None: nothing is stored.
    """
    with closing(target.start_worker(TENSOR_WORKER)) as worker:
        ask(worker, {"open": {"model": path, "sha256": model_sha256, "threads": threads, "store": store}}, _COMPUTE_S)
        yield RemoteModel(worker)


def differing(here: Mapping[str, TensorHash], there: Mapping[str, TensorHash], names: Sequence[str]) -> list[str]:
    """Those of `names`, in this order, that are not the same tensor on both sides."""
    return [name for name in names if there.get(name) != here[name]]
