"""Storing a measurement while it runs, and reading it back: JSON lines (edgegd.latency.measuring.record)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from edgegd.atomic_files import explaining_full_disk
from edgegd.device.answers import HOUR_NS, STATE, by_name, many, number, one_of, problem_of, record, text, whole
from edgegd.errors import MeasurementFileError
from edgegd.foreign_text import one_line
from edgegd.json_files import JsonProblem, load_json, read_lines
from edgegd.latency.measuring.record import SCHEMA, Block, Design, Launch, Measurement, ModelFile
from edgegd.limits import RECORD_BYTES


class Recording:
    """A measurement under way, kept in memory and appended line by line to `path`, which must not exist yet.

    Use it in a `with` statement: an exception that leaves it is named in a last line, and the file stays as partial.
    """

    def __init__(self, path: Path, target: str, design: Design, models: Mapping[str, ModelFile]) -> None:
        """Creates the file with its header; FileExistsError where there is one."""
        self.path, self._target, self._design, self._models = path, target, design, dict(models)
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._launches: list[Launch] = []
        self._blocks: list[Block] = []
        self._complete = False
        with explaining_full_disk(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="utf-8")
            self._write(
                {
                    "kind": "header",
                    "schema": SCHEMA,
                    "target": target,
                    "started": self._started,
                    "design": asdict(design),
                    "models": {name: asdict(f) for name, f in models.items()},
                }
            )

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with explaining_full_disk(self.path.parent):
            if error is not None and not self._complete:
                self._write({"kind": "end", "complete": False, "reason": f"{type(error).__name__}: {error}"})
            os.fsync(self._file.fileno())
            self._file.close()

    def emit(self, event: Launch | Block) -> None:
        """Adds a launch or a block."""
        with explaining_full_disk(self.path.parent):
            if isinstance(event, Launch):
                self._launches.append(event)
                self._write({"kind": "launch", **asdict(event)})
            else:
                self._blocks.append(event)
                self._write({"kind": "block", **asdict(event)})

    def finish(self, reason: str) -> None:
        """Writes that nothing more was to be measured, and why: the measurement is complete."""
        self._complete = True
        self._write({"kind": "end", "complete": True, "reason": reason})

    def measurement(self) -> Measurement:
        """What has been measured until now."""
        return Measurement(
            self._target,
            self._design,
            self._models,
            tuple(self._launches),
            tuple(self._blocks),
            self._complete,
            self._started,
        )

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


_COUNT, _TEXT = whole(0, 1_000_000), text(10_000)
DESIGN = record(
    {
        "launches": _COUNT,
        "quads": _COUNT,
        "block_s": number(0, 1e6),
        "warmup_s": number(0, 1e6),
        "threads": _COUNT,
        "spinning": one_of(True, False),
    },
    {"seed": whole(0, 1 << 63)},
)
"""A stored Design (edgegd.latency.measuring.record)."""
_HEADER = record(
    {
        "kind": _TEXT,
        "schema": whole(0, 1000),
        "target": _TEXT,
        "started": _TEXT,
        "design": DESIGN,
        "models": by_name(record({"file": _TEXT, "sha256": _TEXT, "size_bytes": whole(0, 1 << 63)}), 50),
    }
)
_OBJECT = by_name(lambda value, where: None, 1000)


def _state(value: Any, where: str) -> None:
    """A device's state, or nothing about it."""
    if value != {}:
        STATE(value, where)


_LINES = {
    "launch": record(
        {
            "launch": _COUNT,
            "fingerprint": _OBJECT,
            "workers": by_name(record({"warm_up": record({"stable": one_of(True, False)})}), 1000),
        }
    ),
    "block": record(
        {
            "launch": _COUNT,
            "quad": _COUNT,
            "place": _COUNT,
            "model": _TEXT,
            "first_ns": whole(1, HOUR_NS),
            "durations_ns": many(whole(1, HOUR_NS), 1, 50_000_000),
            "before": _state,
            "after": _state,
            "faults": many(_TEXT, 0, 1000),
        }
    ),
    "end": record({"complete": one_of(True, False), "reason": _TEXT}),
}


def load_measurement(path: Path) -> Measurement:
    """The measurement of a file; one that was cut off, even within a line, is loaded as partial.

    Raises MeasurementFileError for a file that is missing, damaged before its last line, or of another schema.
    """
    lines = _lines(path)
    launches: list[Launch] = []
    blocks: list[Block] = []
    complete = False
    try:
        header = lines[0]
        if wrong := problem_of(_HEADER, header):
            raise ValueError(f"the header: {wrong}")
        if header["kind"] != "header" or header["schema"] != SCHEMA:
            raise ValueError(f"a {header['kind']} of schema {header.get('schema')}")
        design = Design(**header["design"])
        models = {name: ModelFile(**fields) for name, fields in header["models"].items()}
        for line in lines[1:]:
            kind = line.pop("kind")
            if wrong := problem_of(_LINES[kind], line) if kind in _LINES else "":
                raise ValueError(f"a {kind}: {wrong}")
            if kind == "block" and line["model"] not in models:
                raise ValueError(f"a block of the unknown model {one_line(line['model'], 80)}")
            if kind == "launch":
                launches.append(Launch(**line))
            elif kind == "block":
                blocks.append(
                    Block(**line | {"durations_ns": tuple(line["durations_ns"]), "faults": tuple(line["faults"])})
                )
            elif kind == "end":
                complete = bool(line["complete"])
            else:
                raise ValueError(f"a line of kind {kind}")
        return Measurement(
            header["target"], design, models, tuple(launches), tuple(blocks), complete, header["started"]
        )
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    parsed = []
    try:
        for number, (line, has_end) in enumerate(read_lines(path, RECORD_BYTES)):
            try:
                parsed.append(load_json(line, _refuse_constant))
            except ValueError as error:
                if not has_end:
                    break  # the writer was killed within this line
                raise _damaged(path, f"line {number + 1}: {error}") from error
    except (OSError, JsonProblem) as error:
        raise _damaged(path, str(error)) from error
    return parsed


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no measurement")


def _damaged(path: Path, found: str) -> MeasurementFileError:
    return MeasurementFileError(
        f"{path} cannot be read as a latency measurement.",
        expected=f"JSON lines of schema {SCHEMA} that `edgegd latency` or `edgegd gate` wrote",
        found=found,
        mend="measure again; a file that was cut off at its end can be read",
    )
