"""Baselines for people: those that exist, what differs from one, and how its gates went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.baseline.history import HistoryEntry
from edgegd.latency.measuring.model_signature import ModelSignature, shape_differences
from edgegd.latency.statistics.verdict import StaticGate
from edgegd.report.table import table

HASH_DIGITS = 12


def baselines_table(baselines: Sequence[Baseline], damaged: Mapping[str, str]) -> str:
    """A line a baseline; `damaged` says of those that cannot be read, by name, why."""
    rows = [
        [
            one.name,
            "; ".join(map(str, one.signature.inputs)),
            f"{one.signature.size_bytes:,}",
            one.signature.sha256[:HASH_DIGITS],
            one.created,
            one.source,
            ", ".join(one.accepted_on) or "-",
            one.note,
        ]
        for one in baselines
    ]
    rows += [[name, "damaged", "", "", "", "", "", why] for name, why in damaged.items()]
    headers = ["name", "input", "bytes", "SHA-256", "set at (UTC)", "from", "accepted on", "note"]
    return table(sorted(rows), headers)


def file_differences(baseline: ModelSignature, other: ModelSignature, gate: StaticGate) -> list[dict[str, Any]]:
    """What differs between a baseline and another file: hash, shapes, then every fact of the gate without timing.

    Keys: what, baseline, candidate, and fails: why the gate fails there, empty where it does not.
    """
    found: list[tuple[str, str, str, str]] = []
    if baseline.sha256 != other.sha256:
        found.append(("SHA-256", baseline.sha256, other.sha256, ""))
    for what in shape_differences(baseline, other):
        sides = ["; ".join(map(str, getattr(signature, what))) for signature in (baseline, other)]
        found.append((what, sides[0], sides[1], "another shape: cannot be gated"))
    found += [
        (one.name, one.reference, one.candidate, one.reason)
        for one in gate.findings
        if one.reference != one.candidate or not one.passed
    ]
    return [dict(zip(("what", "baseline", "candidate", "fails"), one, strict=True)) for one in found]


def differences_table(differences: Sequence[dict[str, Any]]) -> str:
    """The differences as a table, hashes shortened."""
    rows = [
        [
            one["what"],
            *(one[side][:HASH_DIGITS] if one["what"] == "SHA-256" else one[side] for side in ("baseline", "candidate")),
            one["fails"],
        ]
        for one in differences
    ]
    headers = ["what differs", "baseline", "candidate", "why the gate without timing fails"]
    return table(rows, headers)


def trend_table(entries: Sequence[HistoryEntry]) -> str:
    """A line a gate, oldest first; the last column says where a target's latencies stop being comparable."""
    rows = []
    before: dict[str, HistoryEntry] = {}
    for entry in entries:
        last = before.get(entry.target)
        rows.append(
            [
                entry.date,
                entry.target,
                _ms(entry.baseline_ms),
                _ms(entry.candidate_ms),
                "-" if entry.ratio is None else f"{entry.ratio:.3f}",
                entry.verdict,
                entry.candidate_sha256[:HASH_DIGITS],
                break_reason(last, entry),
            ]
        )
        before[entry.target] = entry
    headers = ["date (UTC)", "target", "baseline ms", "candidate ms", "ratio", "verdict", "candidate", "not comparable"]
    return table(rows, headers)


def break_reason(before: HistoryEntry | None, entry: HistoryEntry) -> str:
    """Why the latencies of two gates on one target are not comparable; empty where they are, or for the first."""
    if before is None or entry.continues(before):
        return ""
    return "new baseline" if entry.fingerprint == before.fingerprint else "device or settings changed"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
