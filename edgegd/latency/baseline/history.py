"""The history of a baseline's gates: JSON lines under version control, for trends only.

A stored number is never gated against. Lines of unlike fingerprints, or of another baseline model, are not comparable:
a trend breaks there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any

from edgegd.atomic_files import explaining_full_disk
from edgegd.device.answers import HOUR_NS, number, or_none, problem_of
from edgegd.errors import BaselineDamagedError, NoSpaceError
from edgegd.json_files import JsonProblem, load_json, read_lines
from edgegd.latency.baseline.baseline import Baseline
from edgegd.limits import JSON_BYTES
from edgegd.safe_outputs import open_descriptor, require_appendable
from edgegd.verdict import Verdict

HISTORY = "history.jsonl"
_MS = or_none(number(1e-6, HOUR_NS / 1e6))
_NUMBERS = {"baseline_ms": _MS, "candidate_ms": _MS, "ratio": or_none(number(1e-6, 1e6))}


@dataclass(frozen=True)
class HistoryEntry:
    """One gate: when (UTC, ISO 8601), on which target, and what came of it.

    `fingerprint` is `fingerprint_hash` of the device's; the medians are in ms, None where nothing was measured;
    `ratio` is candidate / baseline, None where the gate had none.
    """

    date: str
    target: str
    fingerprint: str
    baseline_ms: float | None
    candidate_ms: float | None
    ratio: float | None
    verdict: str
    candidate_sha256: str
    baseline_sha256: str

    def continues(self, before: HistoryEntry) -> bool:
        """Whether its latencies may be compared with those of an earlier entry."""
        return (self.target, self.fingerprint, self.baseline_sha256) == (
            before.target,
            before.fingerprint,
            before.baseline_sha256,
        )


def fingerprint_hash(fingerprint: Mapping[str, Any]) -> str:
    """A short name of a fingerprint: the first 12 digits of the SHA-256 of its JSON with sorted keys."""
    return sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]


def append_history(baseline: Baseline, entry: HistoryEntry) -> None:
    """Appends a line in a single write, so that two gates at once cannot mix theirs.

    Raises NoSpaceError where the disk is full, OutputFileError where the history is a link, ValueError for a number
    that is not finite.
    """
    line = (json.dumps(asdict(entry), allow_nan=False) + "\n").encode()
    path = baseline.folder / HISTORY
    with explaining_full_disk(path.parent):
        descriptor = open_descriptor(path, os.O_WRONLY | os.O_APPEND)
        try:
            written = os.write(descriptor, line)
        finally:
            os.close(descriptor)
    if written != len(line):
        raise NoSpaceError(
            f"{path} got only {written} of the {len(line)} bytes of a line.", mend="free some space and remove the line"
        )


def require_history(baseline: Baseline) -> None:
    """OutputFileError or FileAccessError where a line could not be appended; nothing is written."""
    require_appendable(baseline.folder / HISTORY)


def read_history(baseline: Baseline) -> tuple[HistoryEntry, ...]:
    """The entries in the order of the file; none where there is no file yet.

    Raises BaselineDamagedError that names the line which is none, as a conflict of two branches leaves them.
    """
    path = baseline.folder / HISTORY
    try:
        lines = list(read_lines(path, JSON_BYTES)) if path.exists() else []
    except JsonProblem as error:
        raise BaselineDamagedError(
            f"{path} is no history.",
            expected="lines that gates appended",
            found=str(error),
            mend="restore it from version control",
        ) from error
    entries = []
    for place, (line, _) in enumerate(lines, start=1):
        try:
            entries.append(_entry(load_json(line)))
        except ValueError as error:
            raise BaselineDamagedError(
                f"Line {place} of {path} is no entry.",
                expected="a line that a gate appended",
                found=line[:80],
                mend="remove or mend the line",
            ) from error
    return tuple(entries)


def _entry(entry: Any) -> HistoryEntry:
    """A line's entry; ValueError where it is none."""
    if not isinstance(entry, dict) or set(entry) != {field.name for field in fields(HistoryEntry)}:
        raise ValueError("not the keys of an entry")
    for key, value in entry.items():
        if key in _NUMBERS:
            if wrong := problem_of(_NUMBERS[key], value):
                raise ValueError(f"{key}: {wrong}")
        elif not isinstance(value, str):
            raise ValueError(f"{key} is no text")
    datetime.fromisoformat(entry["date"])
    Verdict(entry["verdict"])
    return HistoryEntry(**entry)
