"""What a gate of latency answers: a verdict, and everything that the answer rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgegd.verdict import Verdict


@dataclass(frozen=True)
class Look:
    """One of the pre-planned looks at the data: after how many launches, at which alpha, and the p-values of both
    one-sided tests (H0 of `p_regressed`: at most the margin slower; H0 of `p_pass`: at least the margin slower)."""

    launches: int
    alpha: float
    p_regressed: float
    p_pass: float


@dataclass(frozen=True)
class RelativeGate:
    """A candidate against a reference on one target. Ratios are candidate / reference, above 1 is slower.

    `ratio` is the Hodges-Lehmann estimate, `low` and `high` the one-sided bounds at the deciding look's alpha; `alpha`
    is the error rate of each side over all looks. `detectable` is the smallest regression, as a ratio, that this gate
    flags with 95 % probability on this device (None: not calibrated), `pass_probability` that an equal model passes.
    `launch_ratios` are the observations, as ratios too, in the order measured.
    """

    verdict: Verdict
    reason: str
    target: str
    model: str
    reference: str
    margin: float
    alpha: float
    ratio: float | None
    low: float | None
    high: float | None
    looks: tuple[Look, ...]
    launch_ratios: tuple[float, ...]
    discarded_quads: int
    quads: int
    detectable: float | None = None
    pass_probability: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self) | {"verdict": self.verdict.value}


@dataclass(frozen=True)
class AbsoluteGate:
    """A quantile of one model's latency against a limit on one target, with an exact bound at `confidence`.

    `low_ms` and `high_ms` are the order statistics that bound the quantile from both sides, each at `confidence`.
    """

    verdict: Verdict
    reason: str
    target: str
    model: str
    quantile: float
    limit_ms: float
    confidence: float
    estimate_ms: float | None
    low_ms: float | None
    high_ms: float | None
    samples: int

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self) | {"verdict": self.verdict.value}


@dataclass(frozen=True)
class StaticFinding:
    """One fact of the gate that needs no timing: what is compared, both values, and whether the new one may be so."""

    name: str
    reference: str
    candidate: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class StaticGate:
    """The gate that needs no timing: PASS when no finding failed, REGRESSED otherwise."""

    verdict: Verdict
    model: str
    reference: str
    findings: tuple[StaticFinding, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every field."""
        return asdict(self) | {"verdict": self.verdict.value}
