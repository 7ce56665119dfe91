"""Do the rules of the diagnosis (docs/diagnosis.md) find what was done to a descent, and nothing in healthy ones?

    OMP_NUM_THREADS=1 python benchmarks/diagnosis.py --bccd MY/bccd --weights MY-bccd-yolo26n.pt
    python benchmarks/diagnosis.py --again --finished runs/demo runs/bccd-yolo26n

Real short runs (benchmarks/diagnosis_runs.py), each condition with several seeds. Thresholds were chosen on the runs of
some, mostly seed 0; the table counts the others. A run that is there is not made again; --again makes none and applies
the rules anew to what the runs have recorded. --finished adds run folders of whole recipes, which count as healthy.
Writes benchmarks/results/diagnosis.json, and prints the table that docs/diagnosis.md shows.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from diagnosis_runs import CONDITIONS, folder_of, run
from diagnosis_table import table
from result_file import ResultFile

from edgegd.pipeline.diagnosis import DESCENTS, facts_of
from edgegd.pipeline.run_folder import RunFolder
from edgegd.report.diagnosis import diagnose
from edgegd.report.diagnosis.facts import Facts, layer_shares
from edgegd.report.diagnosis.live import Watch

JUDGES = 3
"""Runs per condition that judge, beside those that thresholds were chosen on."""


def main() -> None:
    """Makes the runs that are missing, applies the rules, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/diagnosis"))
    parser.add_argument("--bccd", default="datasets/bccd", help="the folder of BCCD's images")
    parser.add_argument("--weights", default="", help="a checkpoint with BCCD's classes")
    parser.add_argument("--only", default="", help="conditions whose name contains this")
    parser.add_argument("--again", action="store_true", help="make no run")
    parser.add_argument("--finished", type=Path, nargs="*", default=(), help="run folders of whole recipes")
    arguments = parser.parse_args()
    results = ResultFile("diagnosis")
    for condition in (one for one in CONDITIONS if arguments.only in one.name):
        for seed in range(len(condition.chosen_on) + JUDGES):
            if not arguments.again:
                run(condition, seed, arguments.work, (arguments.weights, arguments.bccd))
            folder = folder_of(condition, seed, arguments.work)
            if (folder / "stderr").exists():
                key = {"condition": condition.name, "seed": seed}
                record(
                    results,
                    key,
                    condition.rule,
                    RunFolder.open_existing(folder),
                    judged=seed not in condition.chosen_on,
                )
    for folder in map(RunFolder.open_existing, arguments.finished):
        name = f"healthy, {folder.owner()} as it ships" + (
            "" if folder.recipe.quant.refine == "auto" else ", unrefined"
        )
        record(results, {"condition": name, "seed": folder.recipe.train.seed}, "converged", folder, judged=True)
    print(table(results.entries, "simple"))


def record(results: ResultFile, key: dict[str, Any], rule: str, folder: RunFolder, *, judged: bool) -> None:
    """Stores what the rules find in a run, in the place of what they found before."""
    facts = facts_of(folder, DESCENTS[-1])
    values = {"rule": rule, "judged": judged, "digest": digest(facts), "findings": diagnose(facts)}
    values["live"] = said_live(facts)
    if results.find(**key):
        results.amend(key, values)
    else:
        results.add(key | values)


def said_live(facts: Facts) -> list[str]:
    """What is said while steps are taken."""
    said: list[str] = []
    watch = Watch(replace(facts, rows=[], epochs=[], start_map50_95=None, ended=False), said.append)
    for row in facts.rows:
        watch.see(row)
    return said


def digest(facts: Facts) -> dict[str, Any]:
    """What thresholds are compared with: enough to see how far a run is from each."""
    eighth = max(len(facts.losses) // 8, 1)
    ranges = [row for _, detail in facts.details[-1:] for row in detail["ranges"].values()]
    return {
        "steps": len(facts.losses),
        "broken_at": facts.broken["step"] if facts.broken else None,
        "losses": [rounded(fmean(facts.losses[i : i + eighth])) for i in range(0, len(facts.losses), eighth)],
        "maps": list(map(rounded, facts.maps)),
        "alphas": list(map(rounded, facts.alphas())),
        "codes_changed": list(map(rounded, facts.codes_changed())),
        "clipped": rounded(fmean(bool(row.get("clipped")) for row in facts.steps)) if facts.steps else None,
        "median_norm": rounded(median(row["gradient"]["all"] for row in facts.steps)) if facts.steps else None,
        "largest_layer": [rounded(max(layer_shares(detail))[0]) for _, detail in facts.details],
        "outside": rounded(max((row["below"] + row["above"] for row in ranges), default=0)),
        "least_used": rounded(min((row["used"] for row in ranges), default=0)),
        "dead": rounded(max((row.get("dead", 0.0) for row in ranges), default=0)),
        "saturated": rounded(max((row.get("saturated", 0.0) for row in ranges), default=0)),
    }


def rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
