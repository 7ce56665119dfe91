"""Baselines: stored model files that are run again beside a candidate, in folders meant for version control.

baselines/NAME/model.onnx       the model that was accepted
baselines/NAME/baseline.json    what it is, where it came from, on which devices it was accepted
baselines/NAME/history.jsonl    a line a gate (edgegd.latency.baseline.history)
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgegd.atomic_files import explaining_full_disk, write_atomically
from edgegd.device.answers import by_name, many, or_none, problem_of, record, text, whole
from edgegd.errors import (
    BaselineDamagedError,
    BaselineNotFoundError,
    BaselineShapeError,
    OnnxUnreadableError,
    WouldOverwriteError,
)
from edgegd.json_files import read_json, write_json
from edgegd.latency.measuring.model_signature import ModelSignature, read_model, read_signature, shape_differences
from edgegd.safe_outputs import own_folder, refuse_link

SCHEMA = 1
ROOT = Path("baselines")
MODEL, FACTS = "model.onnx", "baseline.json"
_TIMED = ("float32", "uint8")  # what the worker makes inputs of
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Baseline:
    """A baseline on disk; make one with `set`, read one with `load`.

    `source` is the path that the model was copied from, `created` the date and time in UTC (ISO 8601). `accepted_on`
    maps a target to the device's fingerprint when the baseline was accepted there; `static` holds the facts of the
    gate that needs no timing (`edgegd.verify.static_gate.static_facts`).
    """

    folder: Path
    signature: ModelSignature
    source: str
    note: str
    created: str
    accepted_on: Mapping[str, Mapping[str, Any]]
    static: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name under which it was set."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The path of the stored model."""
        return self.folder / MODEL

    @classmethod
    def set(
        cls,
        model: Path,
        name: str,
        *,
        static: Mapping[str, Any],
        root: Path = ROOT,
        note: str = "",
        force: bool = False,
    ) -> Baseline:
        """Copies a model into `root`/`name`. `force` replaces a baseline; its history stays, its devices do not.

        Raises WouldOverwriteError where one exists and `force` is not given, BaselineNotFoundError for a name that is
        no name of a folder, OnnxUnreadableError for a file that onnxruntime cannot load, and for one that no gate could
        run: with weights in a second file, sides that are not fixed, or another input than float32 or uint8.
        """
        folder = root / _checked(name)
        if (folder / FACTS).exists() and not force:
            raise WouldOverwriteError(
                f"There is a baseline {name} in {root} already.",
                expected="a new name",
                found=str(folder / FACTS),
                mend="choose another name, or replace it by --force",
            )
        refuse_link(folder)
        content = read_model(model)
        signature = _runnable_alone(model, content)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        baseline = cls(folder, signature, str(model), note, created, {}, dict(static))
        with explaining_full_disk(root):
            own_folder(folder)
        # The facts come last: a kill between the two leaves a model of another hash, which `load` refuses.
        write_atomically(baseline.model, content)
        baseline._write()
        return baseline

    @classmethod
    def load(cls, name: str, root: Path = ROOT) -> Baseline:
        """The baseline of this name. Raises BaselineNotFoundError, which lists those that exist, and
        BaselineDamagedError where the folder is not as `set` left it."""
        folder = root / _checked(name)
        if not (folder / FACTS).is_file():
            known = baseline_names(root)
            raise BaselineNotFoundError(
                f"There is no baseline {name} in {root}.",
                expected="one of those that exist",
                found=", ".join(known) or "none at all",
                mend=f"edgegd baseline set MODEL.onnx --name {name}" + ("" if root == ROOT else f" --dir {root}"),
            )
        try:
            stored = read_json(folder / FACTS)
            if wrong := problem_of(_STORED, stored):
                raise ValueError(wrong)
            if stored["schema"] != SCHEMA:
                raise ValueError(f"schema {stored['schema']}, this edgegd reads {SCHEMA}")
            baseline = cls(
                folder,
                ModelSignature.from_json(stored["model"]),
                stored["source"],
                stored["note"],
                stored["created"],
                stored["accepted_on"],
                stored["static"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(
                folder / FACTS, "what `edgegd baseline set` writes", f"{type(error).__name__}: {error}"
            ) from error
        expected = f"the accepted model, SHA-256 {baseline.signature.sha256}"
        if not baseline.model.is_file():
            raise _damaged(baseline.model, expected, "no such file")
        content = baseline.model.read_bytes()
        if sha256(content).hexdigest() != baseline.signature.sha256:
            raise _damaged(baseline.model, expected, f"{sha256(content).hexdigest()}, {len(content)} bytes")
        return baseline

    def require_same_shape(self, candidate: Path) -> ModelSignature:
        """The candidate's signature; BaselineShapeError where an input or output differs in shape or type.

        The message says what differs, and which of the candidate's files to gate where one of both is an edge file
        (uint8 pixels, NHWC) and the other is not. Raises OnnxUnreadableError as well.
        """
        other = read_signature(candidate)
        differing = shape_differences(self.signature, other)
        if differing:
            raise BaselineShapeError(
                f"{candidate} cannot be gated against the baseline {self.name}: its {' and '.join(differing)} differ.",
                expected=_shown(self.signature, differing),
                found=_shown(other, differing),
                mend=_file_to_gate(self, other, candidate),
            )
        return other

    def accepted(self, target: str, fingerprint: Mapping[str, Any]) -> Baseline:
        """Stores the fingerprint of a device that the baseline was accepted on; an earlier one of the target goes."""
        baseline = replace(self, accepted_on={**self.accepted_on, target: dict(fingerprint)})
        baseline._write()
        return baseline

    def _write(self) -> None:
        stored = {
            "schema": SCHEMA,
            "model": self.signature.to_json(),
            "source": self.source,
            "note": self.note,
            "created": self.created,
            "accepted_on": self.accepted_on,
            "static": self.static,
        }
        write_json(self.folder / FACTS, stored)


_ANY = by_name(lambda value, where: None, 10_000)
_TEXT = text(100_000)
_NAMES, _COUNTS = many(_TEXT, 0, 1_000_000), by_name(whole(0, 1 << 40), 10_000)
_MEASURED = record(
    {
        "made_by": _ANY,
        "bytes": whole(0, 1 << 63),
        "nodes": _COUNTS,
        "float_nodes": _COUNTS,
        "integer_convolutions": _NAMES,
        "float_convolutions": _NAMES,
    }
)


def _static(value: Any, where: str) -> None:
    """What `edgegd.verify.static_gate.static_facts` gives; other facts are taken anew from the model."""
    _ANY(value, where)
    if "made_by" in value:
        _MEASURED(value, where)


_TENSORS = many(record({"name": _TEXT, "dtype": _TEXT, "shape": many(lambda value, where: None, 0, 100)}), 0, 1000)
_STORED = record(
    {
        "schema": whole(0, 1000),
        "source": _TEXT,
        "note": _TEXT,
        "created": _TEXT,
        "accepted_on": by_name(_ANY, 10_000),
        "static": _static,
        "model": record(
            {
                "sha256": text(64, "[0-9a-f]{64}"),
                "size_bytes": whole(0, 1 << 63),
                "inputs": _TENSORS,
                "outputs": _TENSORS,
                "imgsz": or_none(many(whole(1, 1 << 20), 2, 2)),
                "portable": _TEXT,
            }
        ),
    }
)


def baseline_names(root: Path = ROOT) -> list[str]:
    """The names of the baselines in a folder, sorted; none where there is no such folder."""
    return sorted(path.parent.name for path in root.glob(f"*/{FACTS}"))


def _runnable_alone(model: Path, content: bytes) -> ModelSignature:
    """The signature of what will be stored: the one file, in a folder of its own; OnnxUnreadableError."""
    with tempfile.TemporaryDirectory(prefix="edgegd-") as folder:
        alone = Path(folder) / MODEL
        alone.write_bytes(content)
        try:
            signature = read_signature(alone)
        except OnnxUnreadableError as error:
            read_signature(model)  # where the file is at fault, its own error says so
            raise OnnxUnreadableError(
                f"{model} cannot be a baseline: it has weights in a second file, which would not be stored with it.",
                expected="one file that runs by itself",
                found=error.found,
                mend="save it in one file: onnx.save(onnx.load(FILE), NEW)",
            ) from error
    wrong = [
        str(tensor)
        for tensor in signature.inputs
        if tensor.dtype not in _TIMED or not all(isinstance(side, int) and side > 0 for side in tensor.shape)
    ]
    if wrong or not signature.inputs:
        raise OnnxUnreadableError(
            f"{model} cannot be a baseline: no gate could run it.",
            found="; ".join(wrong) or "no input",
            expected=f"inputs of {' or '.join(_TIMED)} whose sides are all fixed",
            mend="export it with a fixed size",
        )
    return signature


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BaselineNotFoundError(
            f"{name!r} is no name of a baseline.",
            found=repr(name),
            mend="choose another name",
            expected="letters, digits, `.`, `_` and `-`, the first a letter or digit",
        )
    return name


def _damaged(path: Path, expected: str, found: str) -> BaselineDamagedError:
    return BaselineDamagedError(
        f"{path} is not as it was accepted.",
        expected=expected,
        found=found,
        mend="restore it from version control (with Git LFS: git lfs pull), or set the baseline anew with --force",
    )


def _shown(signature: ModelSignature, sides: tuple[str, ...]) -> str:
    return ", ".join(f"{side}: {'; '.join(map(str, getattr(signature, side)))}" for side in sides)


def _file_to_gate(baseline: Baseline, other: ModelSignature, candidate: Path) -> str:
    """How to go on: with the candidate's file of the baseline's kind, or with another baseline."""
    anew = f"another baseline: edgegd baseline set {candidate} --name NEW"
    wants_pixels = baseline.signature.takes_pixels
    if wants_pixels == other.takes_pixels:
        return f"export the candidate with the baseline's shape, or set {anew}"
    kind = "the candidate's edge file" if wants_pixels else "the portable file"
    name = f"{candidate.stem}.edge.onnx" if wants_pixels else other.portable
    path = candidate.with_name(name) if name else candidate
    shown = f", {path}" + ("" if path.exists() else " (not there)") if name else ""
    reason = "takes uint8 pixels" if wants_pixels else "takes floats"
    return f"the baseline {reason}: gate {kind}{shown}; or set {anew}"
