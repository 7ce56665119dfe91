"""The relative gate: is a candidate slower than its reference on one target, or on several at once?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgegd.device.state import other_cpu
from edgegd.latency.gate.calibration import Calibration, detectable, pass_probability
from edgegd.latency.measuring.record import Measurement
from edgegd.latency.measuring.validity import unsound
from edgegd.latency.statistics.sequential_test import Decision, GateRule, decide, slowdown
from edgegd.latency.statistics.verdict import RelativeGate
from edgegd.verdict import Verdict

OTHER_CPU = 0.1  # cores that others take: worth a word to who asks why nothing could be decided


def relative_gate(
    measurement: Measurement, model: str, rule: GateRule, calibration: Calibration | None = None
) -> RelativeGate:
    """`model` against the measurement's first model: the looks are replayed in their order from the raw data.

    INVALID beside what `decide` calls so: a device that changed between launches, samples that are no durations, a
    partial measurement that no look decided, and a device that shows only regressions beyond the rule's budget. The
    launch ratios of the answer are candidate / reference, in the order measured; one that is not finite is left out.
    Raises ValueError where `model` was not measured or is the reference.
    """
    reference = next(iter(measurement.models))
    if model == reference or model not in measurement.models:
        raise ValueError(f"{model} cannot be gated against {reference}: measured were {', '.join(measurement.models)}")
    discarded, quads = len(measurement.discarded()), measurement.planned_quads()
    reason = unsound(measurement)
    observed = np.array([]) if reason else measurement.launch_ratios(model)
    decision = (
        Decision(Verdict.INVALID, reason)
        if reason
        else decide(observed, rule, discarded_quads=discarded, quads=quads, complete=measurement.complete)
    )
    if decision.verdict is None:
        decision = _invalid(
            decision,
            f"The measurement ended before it was complete and before a look decided: {decision.reason} Measure again.",
        )
    unlike = calibration.unlike(measurement) if calibration is not None else ()
    least = equal_passes = None
    if calibration is None or unlike:
        note = (
            "The calibration of the device does not count for this measurement: " + "; ".join(unlike) + "."
            if unlike
            else "The device is not calibrated."
        )
        note += " Which regression this gate would find is not known (`edgegd latency calibrate`)."
    else:
        least, equal_passes = detectable(calibration, rule), pass_probability(calibration, rule)
        note = f"A candidate {slowdown(least)} or more is found with 95 % probability on this device."
        refused = refusal(calibration, rule)
        if refused and decision.verdict is not Verdict.INVALID:
            decision, note = _invalid(decision, refused), ""
    if decision.verdict is Verdict.INCONCLUSIVE:
        busy = other_cpu((block.before, block.after) for block in measurement.blocks)
        if busy is not None and busy >= OTHER_CPU:
            note = f"Other processes, or the hypervisor, took {busy:.1f} cores. {note}"
    return RelativeGate(
        verdict=decision.verdict or Verdict.INVALID,
        reason=f"{decision.reason} {note}".strip(),
        target=measurement.target,
        model=model,
        reference=reference,
        margin=rule.margin,
        alpha=rule.alpha,
        ratio=decision.ratio,
        low=decision.low,
        high=decision.high,
        looks=decision.looks,
        launch_ratios=tuple(np.exp(observed[np.isfinite(observed)]).tolist()),
        discarded_quads=discarded,
        quads=quads,
        detectable=least,
        pass_probability=equal_passes,
    )


def refusal(calibration: Calibration, rule: GateRule) -> str:
    """Why a gate refuses to answer on the calibrated device, known before anything is measured; empty if it answers."""
    least = detectable(calibration, rule)
    if least <= 1 + rule.budget:
        return ""
    return (
        f"Launches differ so much on this device that only a candidate {slowdown(least)} or more would be found "
        f"with 95 % probability, but the budget is {slowdown(1 + rule.budget)}: no answer. Quieten the device, "
        "measure longer blocks or more quads, or raise the budget."
    )


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected so that any true one is with probability at most alpha, however they depend.

    Step-down: the k-th smallest of m p-values is held against alpha / (m - k + 1), until one fails (Holm 1979,
    Scandinavian Journal of Statistics 6(2)).
    """
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


def adjust(gates: Sequence[RelativeGate]) -> tuple[RelativeGate, ...]:
    """The gates of several devices, judged together: a PASS or REGRESSED that Holm's step-down does not keep at the
    gates' alpha becomes INCONCLUSIVE, so that any of all PASSes, or of all REGRESSEDs, is wrong with probability alpha.

    A gate's p-value is that of the look it ended with, divided by the look's share of alpha (a weighted Bonferroni over
    looks: at most u with probability at most u). INVALID gates claim nothing and are not counted. Let the rule's
    `devices` be their number: otherwise a gate may end at a look whose smallest p-value does not survive. Raises
    ValueError where the gates' alphas differ.
    """
    judged = [index for index, gate in enumerate(gates) if gate.verdict is not Verdict.INVALID]
    if len({gates[index].alpha for index in judged}) > 1:
        raise ValueError("gates that are judged together need one alpha")
    adjusted = list(gates)
    if len(judged) < 2:
        return tuple(adjusted)
    for verdict in (Verdict.REGRESSED, Verdict.PASS):
        last = [gates[index].looks[-1] for index in judged]
        p_values = [
            (look.p_regressed if verdict is Verdict.REGRESSED else look.p_pass) * gates[index].alpha / look.alpha
            for index, look in zip(judged, last, strict=True)
        ]
        rejected = holm(p_values, gates[judged[0]].alpha)
        for index, p_value, kept in zip(judged, p_values, rejected, strict=True):
            if gates[index].verdict is verdict and not kept:
                adjusted[index] = replace(
                    gates[index],
                    verdict=Verdict.INCONCLUSIVE,
                    reason=f"{verdict.value} alone (p = {p_value:.4f} over its looks), but with {len(judged)} devices "
                    f"judged together it does not hold. {gates[index].reason}",
                )
    return tuple(adjusted)


def _invalid(decision: Decision, reason: str) -> Decision:
    return replace(decision, verdict=Verdict.INVALID, reason=reason, ratio=None, low=None, high=None)
