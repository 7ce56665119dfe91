"""How often the latency gate is wrong: real launches of real models, verdicts drawn from them, other rules beside it.

    python benchmarks/gate_error_rates.py make --work FOLDER            the models; says how much slower they should be
    python benchmarks/gate_error_rates.py collect --work FOLDER --condition aa --launches 60
    python benchmarks/gate_error_rates.py table

`collect` runs launches under one condition and stores every sample in benchmarks/results/gate/CONDITION.jsonl.gz; a
condition that is there is not measured again. Conditions: `aa` (two copies of one INT8 YOLO26n, 320 px), `plus5` and
`plus10` (the candidate has real extra convolutions), each also as `-loaded` (a busy process beside it) and `-ssh` (by a
real sshd on the loopback address), and `fp32` (the candidate is the model's own FP32 file). `-longer` was
measured with blocks of 0.05 s, the default before. A -5 % is +5 % with
baseline and candidate exchanged. The true size of a regression is the Hodges-Lehmann estimate of all launches of its
condition.

`table` draws decisions: launches are drawn with replacement from a condition, and the gate's own rule looks at them;
for load that is switched on half-way, the second half comes from the loaded condition. The rules of asv and
pytest-benchmark judge the same samples, one launch of each side as two separate runs.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from detectors import made
from numpy.typing import NDArray
from result_file import ROOT, ResultFile
from scipy import stats
from slower import add_work
from tabulate import tabulate

from edgegd.latency.gate.sampling import sample
from edgegd.latency.measuring.record import Design, Measurement
from edgegd.latency.measuring.recording import load_measurement
from edgegd.latency.statistics.sequential_test import GateRule, outcomes
from edgegd.latency.statistics.signed_rank import hodges_lehmann
from edgegd.recipe.schema import GateSection
from edgegd.targets.base import Target
from edgegd.targets.local import LocalTarget

CHECKPOINT = ROOT / "models/streets-yolo26n-320.pt"
RAW = ROOT / "benchmarks/results/gate"
SLOWER = {"aa": 0.0, "plus5": 0.05, "plus10": 0.10}
DECISIONS = 20_000
VERDICTS = ("PASS", "REGRESSED", "INCONCLUSIVE")
OTHER_RULES = ("asv, factor 1.1", "asv, factor 1.03", "pytest-benchmark, median:5%")
LOAD = "import numpy as np; a = np.random.rand(700, 700).astype('f')\nwhile True: a @ a"


def make(work: Path) -> None:
    """The edge file of the shipped checkpoint, and copies of it with extra work."""
    base = made(str(CHECKPOINT), 320, work / "yolo26n-320", only="silu") / "silu.edge.onnx"
    for name, share in SLOWER.items():
        model = onnx.load(base)
        added = add_work(model, base, share) if share else 0.0
        onnx.save(model, work / f"{name}.onnx")
        print(f"{name}: {100 * added:.2f} % of its kernels' time is added")
    shutil.copy(base, work / "base.onnx")
    shutil.copy(base.with_name("fp32.onnx"), work / "fp32.onnx")


def design(launches: int, seed: int) -> Design:
    """The gate's own design, with as many launches as asked for."""
    gate = GateSection()
    return Design(
        launches=launches,
        quads=gate.quads,
        block_s=gate.block_s,
        warmup_s=gate.warmup_s,
        threads=1,
        spinning=False,
        seed=seed,
    )


@contextmanager
def load(on: bool) -> Iterator[None]:
    """A process that multiplies matrices on one core all the time."""
    process = subprocess.Popen([sys.executable, "-c", LOAD], env={"OMP_NUM_THREADS": "1"}) if on else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


@contextmanager
def target(over_ssh: bool) -> Iterator[Target]:
    """This machine, directly or through a real sshd on the loopback address."""
    if not over_ssh:
        yield LocalTarget()
        return
    sys.path.insert(0, str(ROOT / "tests"))  # the tests' own sshd
    from loopback_sshd import running_device

    with (
        tempfile.TemporaryDirectory() as folder,
        running_device(Path(folder)) as device,
        closing(device.target("loopback")) as ssh,
    ):
        yield ssh


def collect(work: Path, condition: str, launches: int) -> None:
    """Measures one condition and stores it compressed."""
    stored = RAW / f"{condition}.jsonl.gz"
    if stored.exists():
        print(f"{condition} is measured already: {stored}")
        return
    models = {"baseline": work / "base.onnx", "candidate": work / f"{condition.split('-')[0]}.onnx"}
    with tempfile.TemporaryDirectory() as folder, load("loaded" in condition), target("ssh" in condition) as where:
        raw = Path(folder) / "raw.jsonl"
        sample(
            models,
            design(launches, seed=sum(condition.encode())),
            where,
            raw,
            progress=lambda done, total: print(f"{condition}: {done}/{total}", file=sys.stderr, flush=True),
        )
        RAW.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial")
        with gzip.open(partial, "wb", compresslevel=9) as file:
            file.write(raw.read_bytes())
        partial.rename(stored)


def measurements() -> dict[str, Measurement]:
    """Every condition that is stored."""
    found = {}
    for stored in sorted(RAW.glob("*.jsonl.gz"), key=lambda path: path.name.split(".")[0]):
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw.jsonl"
            raw.write_bytes(gzip.decompress(stored.read_bytes()))
            found[stored.name.removesuffix(".jsonl.gz")] = load_measurement(raw)
    return found


def verdicts(ratios: NDArray[np.float64], rule: GateRule, then: NDArray[np.float64] | None = None) -> dict[str, float]:
    """The share of each verdict of DECISIONS gates whose launches are drawn with replacement from (launches,) `ratios`.

    With `then`, the second half of what would be the longest gate comes from those.
    """
    generator, launches = np.random.default_rng(0), rule.looks[-1]
    draws = generator.choice(ratios, (DECISIONS, launches))
    if then is not None:
        draws[:, launches // 2 :] = generator.choice(then, (DECISIONS, launches - launches // 2))
    found, used = outcomes(draws, rule)
    return {
        "PASS": float(np.mean(found == -1)),
        "REGRESSED": float(np.mean(found == 1)),
        "INCONCLUSIVE": float(np.mean(found == 0)),
        "mean_launches": float(np.mean(used)),
    }


def other_rules(measurement: Measurement, exchanged: bool) -> dict[str, float]:
    """Share of pairs of processes, one of each model and of unlike launches, that other tools' rules flag as slower.

    asv: Mann-Whitney p < .002 and medians apart by more than its factor (asv compare: 1.1 unless told otherwise).
    pytest-benchmark: --benchmark-compare-fail=median:5%.
    """
    names = list(measurement.models)[::-1] if exchanged else list(measurement.models)
    launches = sorted({block.launch for block in measurement.blocks})
    samples = {
        (name, launch): np.concatenate(
            [b.durations_ns for b in measurement.blocks if (b.model, b.launch) == (name, launch)]
        )
        for name in names
        for launch in launches
    }
    flagged: Counter[str] = Counter()
    pairs = [(one, other) for one in launches for other in launches if one != other]
    for one, other in pairs:
        old, new = samples[names[0], one], samples[names[1], other]
        median = np.median(new) / np.median(old)
        different = stats.mannwhitneyu(old, new).pvalue < 0.002
        flagged["asv, factor 1.1"] += bool(different and median > 1.1)
        flagged["asv, factor 1.03"] += bool(different and median > 1.03)
        flagged["pytest-benchmark, median:5%"] += bool(median > 1.05)
    return {rule: count / len(pairs) for rule, count in flagged.items()}


def rows() -> list[dict[str, Any]]:
    """A line a condition, of all that are stored."""
    found, rule, lines = measurements(), GateRule(), []

    def add(name: str, sign: int, condition: str, then: str = "") -> None:
        ratios = sign * found[condition].launch_ratios("candidate")
        loaded = sign * found[then].launch_ratios("candidate") if then else None
        lines.append(
            {
                "condition": name,
                "launches": len(ratios),
                "true_ratio": float(np.exp(hodges_lehmann(ratios))),
                "sd_percent": float(100 * np.std(ratios, ddof=1)),
                "decisions": DECISIONS,
                "quads_a_launch": found[condition].design.quads,
                "block_s": found[condition].design.block_s,
                "medians_ms": found[condition].medians_ms(),
                "discarded_quads": len(found[condition].discarded()),
                "quads": found[condition].planned_quads(),
                **verdicts(ratios, rule, loaded),
                "other_rules": {} if then else other_rules(found[condition], sign < 0),
            }
        )

    for condition in found:
        for sign in (1, -1) if condition.startswith("plus5") else (1,):
            name = condition if sign > 0 else condition.replace("plus", "minus")
            add(name, sign, condition)
            if f"{condition}-loaded" in found:
                add(f"{name}, load half-way", sign, condition, f"{condition}-loaded")
    return lines


def table(lines: list[dict[str, Any]], style: str = "simple") -> str:
    """A line a condition: the gate's verdicts in percent of its decisions, and how often other rules flag a pair."""
    body = []
    for line in lines:
        others = [f"{100 * line['other_rules'][rule]:.1f}" if line["other_rules"] else "" for rule in OTHER_RULES]
        body.append(
            [
                line["condition"],
                f"{100 * (line['true_ratio'] - 1):+.1f} %",
                line["launches"],
                f"{line['quads_a_launch']} x 4 x {line['block_s']:g} s",
                f"{line['medians_ms']['baseline']:.2f}",
                f"{line['sd_percent']:.1f} %",
                *(f"{100 * line[verdict]:.2f}" for verdict in VERDICTS),
                f"{line['mean_launches']:.1f}",
                *others,
            ]
        )
    headers = [
        "condition",
        "true change",
        "launches",
        "blocks a launch",
        "baseline ms",
        "SD",
        *VERDICTS,
        "launches a gate",
        *OTHER_RULES,
    ]
    return tabulate(body, headers, tablefmt=style, disable_numparse=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "collect", "table"))
    parser.add_argument("--work", type=Path, help="where the models are made")
    parser.add_argument("--condition", default="aa")
    parser.add_argument("--launches", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.what == "table":
        lines, results, rule = rows(), ResultFile("gate_error_rates"), GateRule()
        results.drop(lambda entry: True)
        results.add({"rows": lines, "margin": rule.margin, "alpha": rule.alpha, "looks": rule.looks})
        print(table(lines))
    elif arguments.work is None:
        parser.error("--work is needed")
    elif arguments.what == "make":
        make(arguments.work)
    else:
        collect(arguments.work, arguments.condition, arguments.launches)


if __name__ == "__main__":
    main()
