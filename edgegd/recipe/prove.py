"""The section `prove` of a recipe: what a device must reach (edgegd.verify.acceptance)."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgegd.recipe.option import option


@dataclass(frozen=True)
class ProveLimits:
    """`prove.limits`: limits of the edge file on the device; with any of them `edgegd prove` is an acceptance test."""

    p95_ms: float | None = option(
        None,
        "longest 95th percentile of latency in ms, of the slowest launch; at the threads that were tuned for the "
        "target, otherwise at latency.threads",
        minimum=0.001,
        maximum=1_000_000,
    )
    load_ms: float | None = option(
        None, "longest time to load the file in ms, of the slowest fresh process", minimum=0.001, maximum=1_000_000
    )
    peak_mb: float | None = option(
        None, "most memory in MB (10^6 bytes) of a process that has run it once", minimum=0.001, maximum=1_000_000
    )
    bytes: int | None = option(None, "largest file in bytes", minimum=1, maximum=2**31)
    map50_95: float | None = option(None, "least mAP50-95 in 0..1, from the device's own outputs", minimum=0, maximum=1)


@dataclass(frozen=True)
class ProveSection:
    """`prove`: what `edgegd prove` demands of a device."""

    limits: ProveLimits = field(default_factory=ProveLimits, metadata={"help": "limits of the edge file on the device"})
