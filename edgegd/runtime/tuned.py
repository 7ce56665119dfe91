"""The tuned threads of a model: a small file beside it, or a text in its metadata; one entry per device.

`edgegd latency tune` writes them. The file of `qat.edge.onnx` is `qat.edge.threads.json`:

    {"schema": 1, "sha256": of the model, "devices": [{"target", "cpu", "logical_cores", "latency", "throughput"}, ...]}

The metadata key edgegd.threads holds the same without the hash. `latency` and `throughput` are
edgegd.device.threads.ThreadSetting: the first for one image as soon as possible, the second for images per second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from onnxruntime import InferenceSession

from edgegd.device.fingerprint import fingerprint
from edgegd.device.threads import ThreadSetting
from edgegd.errors import TuningError
from edgegd.json_files import load_json, read_json, write_json
from edgegd.runtime.session import load_session

SCHEMA = 1
METADATA_KEY = "edgegd.threads"
TUNED = "tuned"
_MEND = "run `edgegd latency tune RUN_DIR` (with --target for another device), or give a number of threads"


@dataclass(frozen=True)
class TunedThreads:
    """What was found best for a model on one kind of device: its name as a target, its CPU, how many cores it has."""

    target: str
    cpu: str
    logical_cores: int
    latency: ThreadSetting
    throughput: ThreadSetting

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        settings = {"latency": self.latency.to_json(), "throughput": self.throughput.to_json()}
        return {"target": self.target, "cpu": self.cpu, "logical_cores": self.logical_cores, **settings}

    @classmethod
    def from_json(cls, value: Any) -> TunedThreads:
        """What `to_json` gave; ValueError, KeyError or TypeError for anything else."""
        target, cpu, cores = value["target"], value["cpu"], value["logical_cores"]
        if not isinstance(target, str) or not isinstance(cpu, str) or type(cores) is not int:
            raise ValueError(f"no device: {value!r:.200}")
        settings = (ThreadSetting.from_json(value[key]) for key in ("latency", "throughput"))
        return cls(target, cpu, cores, *settings)


def setting_of(
    threads: int | str | ThreadSetting, spinning: bool | None, tuned: Callable[[], ThreadSetting]
) -> ThreadSetting:
    """What the arguments `threads` and `spinning` of Detector and Stream mean; `tuned` is asked for where they say so.

    Raises ValueError for what is neither a number above 0, a setting nor "tuned".
    """
    if isinstance(threads, ThreadSetting) or threads == TUNED:
        if spinning is not None:
            raise ValueError("spinning is part of a setting of threads: give one of them")
        return tuned() if threads == TUNED else threads  # type: ignore[return-value]
    if type(threads) is not int or threads < 1:
        raise ValueError(f'expected a number of threads above 0, a ThreadSetting or "{TUNED}", found {threads!r}')
    return ThreadSetting(threads=threads, spinning=threads > 1 if spinning is None else spinning)


def open_session(model: str | Path, setting: ThreadSetting) -> InferenceSession:
    """A session with these threads; the caller's own is not bound. Raises as load_session."""
    return load_session(model, threads=setting.threads, spinning=setting.spinning, cores=setting.cores)


def tuned_file(model: Path) -> Path:
    """The small file beside a model."""
    return model.with_suffix(".threads.json")


def read_tuned(model: str | Path) -> TunedThreads:
    """The tuned threads of a model file for this machine: of the file beside it, otherwise of its metadata.

    Raises TuningError where there are none, none for this CPU with as many cores, or where they are damaged or another
    model's; OnnxUnreadableError for a model that cannot be read.
    """
    model = Path(model)
    file = tuned_file(model)
    if file.exists():
        devices, where = read_tuned_file(model), str(file)
    else:
        metadata = load_session(model, optimization="disabled").get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise TuningError(
                f"{model} has no tuned threads.",
                expected=f"{file}, or {METADATA_KEY} in its metadata",
                found="neither",
                mend=_MEND,
            )
        devices, where = _devices(lambda: load_json(metadata[METADATA_KEY]), f"{METADATA_KEY} of {model}"), str(model)
    machine = fingerprint()
    for one in reversed(devices):  # the newest last
        if (one.cpu, one.logical_cores) == (machine["cpu"], machine["logical_cores"]):
            return one
    raise TuningError(
        f"{where} has no tuned threads for this machine.",
        expected=f"{machine['cpu']} with {machine['logical_cores']} cores",
        found=" and ".join(f"{one.cpu} with {one.logical_cores}" for one in devices) or "none",
        mend=_MEND,
    )


def read_tuned_file(model: Path) -> list[TunedThreads]:
    """All devices in the small file beside a model; TuningError where it is damaged, or another model's."""
    file = tuned_file(model)
    record: dict[str, Any] = {}

    def read() -> Any:
        record.update(read_json(file))
        return record

    devices = _devices(read, str(file))
    digest = sha256(model.read_bytes()).hexdigest() if model.is_file() else ""
    if digest and record.get("sha256") != digest:
        raise TuningError(
            f"{file} was made for another model.",
            expected=f"SHA-256 {digest}, that of {model}",
            found=f"{record.get('sha256')!s:.80}",
            mend=_MEND,
        )
    return devices


def store_tuned(model: Path, tuned: TunedThreads) -> Path:
    """Writes the device into the small file beside the model; what it held of other devices stays. Returns the file."""
    others: list[TunedThreads] = []
    with suppress(TuningError, FileNotFoundError):  # another model's, or damaged: written anew
        others = [one for one in read_tuned_file(model) if one.target != tuned.target]
    content = {"schema": SCHEMA, "sha256": sha256(model.read_bytes()).hexdigest()}
    write_json(tuned_file(model), {**content, "devices": [one.to_json() for one in (*others, tuned)]})
    return tuned_file(model)


def metadata_text(devices: Iterable[TunedThreads]) -> str:
    """The value of METADATA_KEY."""
    return json.dumps({"schema": SCHEMA, "devices": [one.to_json() for one in devices]})


def _devices(read: Any, where: str) -> list[TunedThreads]:
    try:
        record = read()
        if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
            raise ValueError(f"no object of schema {SCHEMA}")
        devices = record["devices"]
        if not isinstance(devices, list):
            raise ValueError("devices is no list")
        return [TunedThreads.from_json(one) for one in devices]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TuningError(
            f"{where} cannot be read.",
            expected="tuned threads, as `edgegd latency tune` writes them",
            found=f"{type(error).__name__}: {error}",
            mend=_MEND,
        ) from error
