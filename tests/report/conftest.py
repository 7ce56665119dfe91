"""Gates of every verdict, and a measurement whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.latency.measuring.record import Block, Design, Measurement, ModelFile
from edgegd.latency.statistics.verdict import AbsoluteGate, Look, RelativeGate, StaticFinding, StaticGate
from edgegd.report.latency_table import Gate
from edgegd.verdict import Verdict

LOOKS = (Look(8, 0.004, 0.2, 0.03), Look(15, 0.006, 0.00012, 0.93))


@pytest.fixture
def gates() -> dict[str, Gate]:
    """One gate a name: regressed, passed, refused, inconclusive (absolute), static, static_passed."""
    findings = (
        StaticFinding("convolutions", "99 integer, 3 float", "98 integer, 4 float", False, "in float now: a|b"),
        StaticFinding("nodes: Add", "2", "2", True, ""),
        StaticFinding("model bytes", "1", "1", True, ""),
    )
    return {
        "regressed": RelativeGate(
            Verdict.REGRESSED,
            "More than 3 % slower.",
            "pi5",
            "candidate",
            "shipped",
            0.03,
            0.01,
            1.0481,
            1.0392,
            1.0561,
            LOOKS,
            (1.04,) * 15,
            2,
            60,
            1.0452,
            0.99,
        ),
        "passed": RelativeGate(
            Verdict.PASS,
            "Less than 3 % slower.",
            "server",
            "candidate",
            "shipped",
            0.03,
            0.01,
            0.9801,
            0.9712,
            1.0051,
            LOOKS[:1],
            (0.98,) * 8,
            0,
            32,
            1.0452,
            0.99,
        ),
        "refused": RelativeGate(
            Verdict.INVALID,
            "21 of 60 quads\nhad to be discarded: \x1b[31m<throttled>",
            "ssh://a|b",
            "candidate",
            "shipped",
            0.03,
            0.01,
            None,
            None,
            None,
            (),
            (),
            21,
            60,
        ),
        "inconclusive": AbsoluteGate(
            Verdict.INCONCLUSIVE, "Too few samples.", "pi5", "candidate", 0.99, 30.0, 0.99, 28.1, 27.5, 31.2, 1200
        ),
        "static": StaticGate(Verdict.REGRESSED, "candidate", "shipped", findings),
        "static_passed": StaticGate(Verdict.PASS, "candidate", "shipped", findings[1:]),
    }


DESIGN = Design(launches=12, quads=4, block_s=0.1, warmup_s=1.0, threads=1, spinning=False)
MODELS = {name: ModelFile(f"{name}.onnx", name[0] * 64, 1000) for name in ("shipped", "candidate")}


@pytest.fixture
def measurement() -> Measurement:
    """Twelve launches of four quads on `pi5`: a candidate 5 % slower; block 20 was throttled, two zones warm up."""
    random, blocks = np.random.default_rng(0), []
    base = {"shipped": 10e6, "candidate": 10.5e6}
    for launch in range(DESIGN.launches):
        drift = {name: random.normal(1, 0.006) for name in MODELS}
        for quad in range(DESIGN.quads):
            for place, model in enumerate(DESIGN.order(list(MODELS), launch, quad)):
                durations = base[model] * drift[model] * (1 + random.gamma(1.5, 0.01, 40))
                durations[random.random(40) < 0.02] *= 1.8
                begin_ns = len(blocks) * 120_000_000
                states = [
                    {
                        "clocks_ns": {"monotonic": 5 * 10**12 + begin_ns + later},
                        "temperature_c": {
                            "cpu-thermal": 45 + 20 * (1 - np.exp(-len(blocks) / 60)),
                            "soc": 43 + 12 * (1 - np.exp(-len(blocks) / 90)),
                        },
                        "frequency_khz": [2_400_000 if len(blocks) != 20 else 1_500_000] * 4,
                    }
                    for later in (0, 100_000_000)
                ]
                faults = ("throttled: CPU",) if len(blocks) == 20 else ()
                blocks.append(
                    Block(launch, quad, place, model, 20_000_000, tuple(int(d) for d in durations), *states, faults)
                )
    return Measurement("pi5", DESIGN, MODELS, (), tuple(blocks), True, "2026-01-02T03:04:05+00:00")
