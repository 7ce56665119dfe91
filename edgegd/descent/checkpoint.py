"""The file from which a killed descent goes on: safetensors, so that nothing in it can run code when it is read.

Tensors are named GROUP/NAME (student, average, best, optimizer, oscillation, random); everything else is one JSON
value in the metadata. It replaces its predecessor atomically.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from edgegd.atomic_files import replaced_atomically
from edgegd.descent.record import CHECKPOINT_KEY
from edgegd.errors import TrainingCheckpointError

SCHEMA = 1
_FINITE = ("student", "average", "best")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: tensors by group and name, and plain data."""

    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    record: Mapping[str, Any]


class CheckpointFile:
    """The checkpoint of one descent; `identity` is plain data on all that decides what the descent computes."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))

    def write(self, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint; NoSpaceError where the disk is full, the former one is then still there."""
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().contiguous()
            for group, members in checkpoint.tensors.items()
            for name, tensor in members.items()
        }
        content = {"schema": SCHEMA, "identity": self.identity, "record": checkpoint.record}
        with replaced_atomically(self.path) as temporary:
            save_file(tensors, temporary, {CHECKPOINT_KEY: json.dumps(content)})

    def read(self) -> tuple[Checkpoint | None, list[str]]:
        """The checkpoint, and what has changed since: a sentence part for each input that is not what it was.

        None where there is no file.
        Raises TrainingCheckpointError for a damaged or foreign file, one of another version, or with values that
        are not finite; the file is left as it is.
        """
        if not self.path.exists():
            return None, []
        tensors: dict[str, dict[str, torch.Tensor]] = {}
        try:
            with safe_open(self.path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[CHECKPOINT_KEY])
                found = content["schema"]
                if found != SCHEMA:
                    raise self.error("is of another version of edgegd", f"schema {SCHEMA}", f"schema {found}")
                for key in file.keys():  # noqa: SIM118 - no mapping, it has no other iteration
                    group, _, name = key.partition("/")
                    tensors.setdefault(group, {})[name] = file.get_tensor(key)
            changes = list(_differences(content["identity"], self.identity))
            checkpoint = Checkpoint(tensors, content["record"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self.error(
                "cannot be read",
                "a whole file that edgegd wrote",
                f"{self.path.stat().st_size} bytes; {type(error).__name__}: {str(error)[:200]}",
            ) from error
        for group in _FINITE:
            for name, tensor in tensors.get(group, {}).items():
                if not torch.isfinite(tensor).all():
                    raise self.error("holds values that are not finite", "finite weights and ranges", f"{group}/{name}")
        return checkpoint, changes

    def set_aside(self) -> Path:
        """Renames the file, so that a new descent can write its own; returns the new path."""
        aside = self.path.with_name(f"{self.path.stem}-set-aside{self.path.suffix}")
        os.replace(self.path, aside)
        return aside

    def error(self, what: str, expected: str, found: str) -> TrainingCheckpointError:
        """The error for this file, with how to mend it."""
        return TrainingCheckpointError(
            f"The checkpoint {self.path} {what}.",
            expected=expected,
            found=found,
            mend="put an undamaged copy there to go on from it, or delete the file: training then starts anew",
        )


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        is_hash = isinstance(now, str) and len(now) == 64
        yield name if is_hash else f"{name} (was {before}, is {now})"
