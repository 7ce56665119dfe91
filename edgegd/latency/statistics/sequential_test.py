"""The rule of a relative gate: pre-planned looks at the launches measured so far, alpha split over them.

At a look after n launches both one-sided tests are made on the first n; the first look that decides stands. The looks'
alphas add up to at most alpha, so either claim is wrong with probability at most alpha in all, however the tests of
different looks depend on each other (Bonferroni). The smallest p-value of n launches is 2^-n: the first look is at 8,
the least number whose clearest case (p = .0039) is decided by 0.4 of an alpha of .01.

Operating characteristics of the defaults: percentage of gates that say REGRESSED / PASS, and the mean number of
launches, by the candidate's true slowdown. Log ratios of launches are normal, or Student's t with 3 degrees of freedom
scaled to the same standard deviation (SD). 20,000 gates a cell; tests/latency/test_gate_rates.py draws the table anew.

                         -5 %          0 %          +2 %          +3 %          +4 %          +5 %         +10 %
    normal SD 0.5 %  0/100   8.0   0/100   8.0   0/100   9.1   0.9/0.8 19.9   100/0   9.2   100/0   8.0   100/0   8.0
           SD 1.0 %  0/100   8.0   0/100   8.1   0/89.5 15.6   0.9/0.8 19.9  89.0/0  15.6   100/0   9.2   100/0   8.0
           SD 1.5 %  0/100   8.0   0/100   9.1   0/50.4 18.4   0.9/0.8 19.9  49.7/0  18.3  99.2/0  12.6   100/0   8.0
           SD 2.0 %  0/100   8.0   0/100  11.2   0/26.6 19.2   0.9/0.8 19.9  26.5/0  19.2  88.6/0  15.7   100/0   8.0
    t      SD 0.5 %  0/100   8.0   0/100   8.0   0/100   9.2   0.8/0.8 19.9   100/0   9.1   100/0   8.2   100/0   8.0
           SD 1.0 %  0/100   8.0   0/100   8.4   0/96.1 12.9   0.8/0.8 19.9  96.1/0  13.0  99.9/0   9.2   100/0   8.0
           SD 1.5 %  0/100   8.1   0/100   9.1   0/76.1 16.2   0.8/0.8 19.9  76.2/0  16.3  99.2/0  10.9   100/0   8.1
           SD 2.0 %  0/100   8.2   0/99.7 10.2   0/51.9 17.9   0.8/0.8 19.9  51.6/0  18.0  96.0/0  13.0   100/0   8.3
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite, log1p

import numpy as np
from numpy.typing import NDArray

from edgegd.latency.statistics.signed_rank import hodges_lehmann, lower_bound, p_faster, p_slower, upper_bound
from edgegd.latency.statistics.verdict import Look
from edgegd.verdict import Verdict

LARGEST_MARGIN = 100  # a hundred times slower, as in a recipe


@dataclass(frozen=True)
class GateRule:
    """When a candidate passes, and when it counts as regressed.

    `margin` is how much slower it may be (0.03: 3 %), `alpha` the error rate of either claim over all looks, `looks`
    the numbers of launches to look at and `split` each look's share of alpha. More than `max_discarded` of the quads
    discarded is INVALID, and so is a device on which only regressions beyond `budget` (0.10: 10 %) would be found.
    `devices` is how many gates are judged together (`edgegd.latency.gate.relative.adjust`): a look before the last
    then decides only what Holm's strictest step would keep. Raises ValueError for a rule that cannot be followed.
    """

    margin: float = 0.03
    alpha: float = 0.01
    looks: tuple[int, ...] = (8, 14, 20)
    split: tuple[float, ...] = (0.40, 0.15, 0.45)
    max_discarded: float = 0.20
    budget: float = 0.10
    devices: int = 1

    def __post_init__(self) -> None:
        # Written so that NaN is refused, which every comparison denies.
        if not (
            0 <= self.margin <= LARGEST_MARGIN
            and 0 < self.alpha < 0.5
            and 0 <= self.max_discarded < 1
            and 0 < self.budget <= LARGEST_MARGIN
            and self.devices >= 1
        ):
            raise ValueError(
                f"a gate needs margin and budget within 0 and {LARGEST_MARGIN}, 0 < alpha < 0.5, "
                "0 <= max_discarded < 1 and devices >= 1"
            )
        if not self.looks or list(self.looks) != sorted(set(self.looks)) or self.looks[0] < 1:
            raise ValueError(f"looks are numbers of launches, each greater than the one before, not {self.looks}")
        if len(self.split) != len(self.looks) or not (min(self.split) > 0 and sum(self.split) <= 1 + 1e-9):
            raise ValueError(f"split is a positive share of alpha for each look, at most 1 in all, not {self.split}")
        if 2.0 ** -self.looks[-1] > self.alpha * self.split[-1] / self.devices:
            raise ValueError(f"{self.looks[-1]} launches can never decide at alpha {self.alpha}: plan more of them")

    @property
    def log_margin(self) -> float:
        """The margin as a log ratio."""
        return log1p(self.margin)

    def planned(self, launches: int, complete: bool) -> list[tuple[int, float, float]]:
        """(launches, alpha, largest p-value that decides) of each look that can be made at `launches` launches.

        Of a complete measurement the last look is made at what there is, if that is less than planned.
        """
        alphas = [self.alpha * share for share in self.split]
        made = [
            (count, alpha, alpha / self.devices)
            for count, alpha in zip(self.looks[:-1], alphas, strict=False)
            if count <= launches
        ]
        if launches >= self.looks[-1] or complete:
            made.append((min(launches, self.looks[-1]), alphas[-1], alphas[-1]))
        return made


@dataclass(frozen=True)
class Decision:
    """What the looks made so far say; `verdict` is None where the next look has to be waited for.

    `ratio` is the Hodges-Lehmann estimate at the last look made, `low` and `high` its bounds at that look's alpha, all
    as candidate / reference; None where no look was made, bounds also where so few launches cannot bound anything.
    """

    verdict: Verdict | None
    reason: str
    looks: tuple[Look, ...] = ()
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def decide(
    log_ratios: NDArray[np.float64], rule: GateRule, *, discarded_quads: int, quads: int, complete: bool = False
) -> Decision:
    """The looks at (launches,) log ratios in the order they were measured; `complete` where no more will come.

    INVALID: a ratio that is not finite; from the first look on, more discarded quads than the rule allows; a complete
    measurement with fewer launches than the first look. INCONCLUSIVE: the last look did not decide.
    """
    launches = len(log_ratios)
    if not np.isfinite(log_ratios).all():
        return Decision(Verdict.INVALID, "A launch's ratio is not a finite number: the samples are damaged.")
    if launches < rule.looks[0] and not complete:
        return Decision(None, f"{launches} of the {rule.looks[0]} launches of the first look have been measured.")
    if discarded_quads > rule.max_discarded * quads:
        return Decision(
            Verdict.INVALID,
            f"{discarded_quads} of {quads} quads had to be discarded; with more than "
            f"{_percent(rule.max_discarded, 0)} a gate does not answer.",
        )
    if launches < rule.looks[0]:
        return Decision(
            Verdict.INVALID,
            f"Only {launches} launches can be used; the first look needs "
            f"{rule.looks[0]}. Measure again with more launches.",
        )
    looks: list[Look] = []
    verdict = None
    for count, alpha, decisive in rule.planned(launches, complete):
        seen = log_ratios[:count]
        looks.append(Look(count, alpha, float(p_slower(seen, rule.log_margin)), float(p_faster(seen, rule.log_margin))))
        if looks[-1].p_regressed <= decisive:
            verdict = Verdict.REGRESSED
        elif looks[-1].p_pass <= decisive:
            verdict = Verdict.PASS
        if verdict is not None:
            break
    else:
        verdict = Verdict.INCONCLUSIVE if complete or launches >= rule.looks[-1] else None
    seen, alpha = log_ratios[: looks[-1].launches], looks[-1].alpha
    low, high = exp(lower_bound(seen, alpha)), exp(upper_bound(seen, alpha))
    reason = _reason(verdict, rule, looks[-1], low, high)
    bounds = (low, high) if isfinite(high) else (None, None)
    return Decision(verdict, reason, tuple(looks), exp(hodges_lehmann(seen)), *bounds)


def outcomes(log_ratios: NDArray[np.float64], rule: GateRule) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """What `decide` says of many complete measurements at once, (draws, launches) log ratios.

    (draws,) 1 for REGRESSED, -1 for PASS, 0 for INCONCLUSIVE; and (draws,) the launches used.
    """
    draws, launches = log_ratios.shape
    verdicts, used = np.zeros(draws, np.int8), np.full(draws, launches)
    for count, _, decisive in rule.planned(launches, complete=True):
        seen = log_ratios[:, :count]
        found = (p_slower(seen, rule.log_margin) <= decisive).astype(np.int8)
        found -= p_faster(seen, rule.log_margin) <= decisive
        used = np.where((verdicts == 0), count, used)
        verdicts = np.where(verdicts == 0, found, verdicts)
    return verdicts, used


def slowdown(ratio: float) -> str:
    """A ratio in words: `2.1 % slower`, `0.4 % faster`."""
    return f"{_percent(abs(ratio - 1))} {'slower' if ratio >= 1 else 'faster'}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _reason(verdict: Verdict | None, rule: GateRule, look: Look, low: float, high: float) -> str:
    sure = f"with {_percent(1 - look.alpha, 2)} confidence after {look.launches} launches"
    margin = f"the margin is {_percent(rule.margin)}"
    if verdict is Verdict.PASS:
        most = f"at most {slowdown(high)}" if high >= 1 else f"at least {slowdown(high)}"
        return f"The candidate is {most} than the reference, {sure}; {margin}."
    if verdict is Verdict.REGRESSED:
        return f"The candidate is at least {slowdown(low)} than the reference, {sure}; {margin}."
    if not isfinite(high):
        return f"{look.launches} launches are too few for any claim at alpha {look.alpha:.2g}."
    state = "no look is left" if verdict is Verdict.INCONCLUSIVE else "the next look has to be waited for"
    return (
        f"The candidate is between {slowdown(low)} and {slowdown(high)} than the reference, each bound {sure}; "
        f"{margin}, so that neither claim can be made, and {state}."
    )
