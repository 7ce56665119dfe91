"""The absolute gate: a quantile of one model's latency against a limit, bounded by the exact binomial distribution.

The textbook bound takes all inferences as independent: the k-th smallest of n is above the quantile q unless more than
k - 1 of them lie below it, which is a binomial(n, q) matter. Inferences of one launch are not independent. Launches
differ as wholes, and neighbours resemble each other; pooled, 20 launches of 160 inferences count as 3200. Simulated,
normal, SD 3 % within a launch, p95, how often of 1,000 an upper bound errs that should in 1 %:

    SD between launches                    0 %    0.5 %   1 %    3 %    10 %
    pooled                                 1.2    4.3     14     40     47
    pooled, neighbours correlated by 0.9   22     26      26     38     47
    here                                   0.1    0.3     0.4    0.3    0.6
    here, neighbours correlated by 0.9     4.2    4.1     2.6    0.6    0.8

So the observation here is the launch. In each, exact order statistics stand for the launch's own quantile: one that
lies above it, and one below, in at least half of all cases. Over launches the exact binomial(launches, 1/2) bounds
their median. The statement is about **a typical launch** (the median one): a quantile over all launches that might ever
be, rare bad ones included, cannot be bounded from 20 launches by anybody. A PASS needs 8 of 8, 13 of 14 or 17 of 20
launches below the limit; the reason says how many were not. What remains is that a launch of few, strongly correlated
inferences shows too low a quantile (last line of the table): measure longer launches where the tail comes in bursts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgegd.latency.measuring.record import Measurement
from edgegd.latency.measuring.validity import unsound
from edgegd.latency.statistics.sequential_test import GateRule
from edgegd.latency.statistics.verdict import AbsoluteGate
from edgegd.verdict import Verdict


def absolute_gate(
    measurement: Measurement, model: str, quantile: float, limit_ms: float, confidence: float = 0.99
) -> AbsoluteGate:
    """Whether the `quantile` (0.95: p95) of `model`'s inferences in a typical launch is below `limit_ms`.

    Looks as those of the default GateRule, 1 - confidence split over them. PASS: the upper bound is below the limit.
    REGRESSED: the lower bound is above it. INCONCLUSIVE: neither at the last look. INVALID: another device in the
    middle, samples that are no durations, too many discarded quads, too few launches or inferences a launch to bound
    the quantile, or a partial measurement that no look decided. Raises ValueError for a model that was not measured, a
    quantile outside [0.5, 1) or a confidence outside (0.5, 1).
    """
    if model not in measurement.models or not 0.5 <= quantile < 1 or not 0.5 < confidence < 1:
        raise ValueError(f"no bound for quantile {quantile} of {model} at confidence {confidence}")
    rule = GateRule(alpha=1 - confidence)
    launches = used = samples_ms(measurement, model)
    verdict, low, high = Verdict.INVALID, -np.inf, np.inf
    reason = unsound(measurement) or _unbounded(measurement, launches, quantile, rule)
    if not reason:
        for count, alpha, _ in rule.planned(len(launches), measurement.complete):
            used = launches[:count]
            low, high = bounds_ms(used, quantile, alpha)
            if high < limit_ms or low > limit_ms:
                verdict = Verdict.PASS if high < limit_ms else Verdict.REGRESSED
                break
        else:
            if measurement.complete or len(launches) >= rule.looks[-1]:
                verdict = Verdict.INCONCLUSIVE
        reason = _reason(verdict, used, quantile, limit_ms, confidence, low, high)
    answered = verdict is not Verdict.INVALID
    return AbsoluteGate(
        verdict=verdict,
        reason=reason,
        target=measurement.target,
        model=model,
        quantile=quantile,
        limit_ms=limit_ms,
        confidence=confidence,
        samples=sum(len(ms) for ms in used),
        estimate_ms=float(np.median([np.quantile(ms, quantile) for ms in used])) if answered else None,
        low_ms=low if answered and np.isfinite(low) else None,
        high_ms=high if answered and np.isfinite(high) else None,
    )


def samples_ms(measurement: Measurement, model: str) -> list[NDArray[np.float64]]:
    """The (inferences,) durations of `model` in ms of each launch whose quads were all run, without discarded quads."""
    quads, discarded = measurement.quads(), measurement.discarded()
    run = [launch for launch, _ in quads]
    samples: dict[int, list[NDArray[np.float64]]] = {}
    for key, blocks in sorted(quads.items()):
        if key not in discarded and run.count(key[0]) == measurement.design.quads:
            samples.setdefault(key[0], []).extend(
                np.array(block.durations_ns) / 1e6 for block in blocks if block.model == model
            )
    return [np.concatenate(durations) for durations in samples.values()]


def bounds_ms(launches: list[NDArray[np.float64]], quantile: float, alpha: float) -> tuple[float, float]:
    """A lower and an upper bound, each at confidence 1 - alpha, of the quantile of (inferences,) in a typical launch.

    -inf and inf where so few launches cannot bound it (2^-launches > alpha). Every launch needs `least_inferences`.
    """
    count = len(launches)
    place = int(stats.binom.ppf(1 - alpha, count, 0.5))  # so many launches or fewer lie below the median
    if place >= count:
        return -np.inf, np.inf
    below, above = zip(*(_sides(ms, quantile) for ms in launches), strict=True)
    return float(np.sort(below)[count - 1 - place]), float(np.sort(above)[place])


def least_inferences(quantile: float) -> int:
    """How many inferences a launch needs, so that its largest is above the quantile in at least half of all cases."""
    return int(np.ceil(np.log(0.5) / np.log(quantile)))


def _sides(ms: NDArray[np.float64], quantile: float) -> tuple[float, float]:
    """The order statistics that lie below, and above, the launch's true quantile with probability 1/2 or more."""
    place = int(stats.binom.ppf(0.5, len(ms), quantile))  # so many inferences or fewer lie below the quantile
    ordered = np.sort(ms)
    return float(ordered[place - 1]), float(ordered[place])


def _unbounded(measurement: Measurement, launches: list[NDArray[np.float64]], quantile: float, rule: GateRule) -> str:
    discarded, quads = len(measurement.discarded()), measurement.planned_quads()
    if discarded > rule.max_discarded * quads:
        return (
            f"{discarded} of {quads} quads had to be discarded; with more than {100 * rule.max_discarded:g} % a "
            "gate does not answer."
        )
    if len(launches) < rule.looks[0]:
        return (
            f"Only {len(launches)} launches can be used; to bound the p{100 * quantile:g} of a typical launch "
            f"{rule.looks[0]} are needed."
        )
    fewest, needed = min(len(ms) for ms in launches), least_inferences(quantile)
    if fewest < needed:
        return (
            f"A launch has only {fewest} inferences; to bound its p{100 * quantile:g} {needed} are needed. "
            "Measure longer blocks or more quads."
        )
    return ""


def _reason(
    verdict: Verdict,
    launches: list[NDArray[np.float64]],
    quantile: float,
    limit_ms: float,
    confidence: float,
    low: float,
    high: float,
) -> str:
    name = f"p{100 * quantile:g}"
    own = [float(np.quantile(ms, quantile)) for ms in launches]
    over = sum(value > limit_ms for value in own)
    spread = (
        f"Of {len(own)} launches {over} had a {name} over the limit of {limit_ms:g} ms; the highest was "
        f"{max(own):.3g} ms."
    )
    if verdict is Verdict.INVALID:
        return f"The measurement ended before it was complete and before a look decided. {spread}"
    if verdict is Verdict.PASS:
        claim = f"at most {high:.4g} ms"
    elif verdict is Verdict.REGRESSED:
        claim = f"at least {low:.4g} ms"
    else:
        claim = f"between {low:.4g} and {high:.4g} ms, which decides nothing about the limit"
    return (
        f"The {name} of a typical launch (the median over launches) is {claim}, with {100 * confidence:g} % "
        f"confidence. {spread}"
    )
