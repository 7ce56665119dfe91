"""The demo from nothing: runs streets/yolo26n in an empty run folder, prints its table and how long each stage took.

    python benchmarks/demo.py

Writes benchmarks/results/demo.json: the run's report.json with the seconds of each stage. docs/results.md shows it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from edgegd.cli.progress import TerminalProgress
from edgegd.pipeline.registry import stages_of
from edgegd.pipeline.run import run_stages
from edgegd.pipeline.run_folder import RunFolder
from edgegd.recipe.load import load_recipe
from edgegd.report.markdown import summary_table

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "streets/yolo26n"


def main() -> None:
    """Runs every stage, prints the table and writes the JSON."""
    seconds = {}
    with tempfile.TemporaryDirectory() as empty:
        overrides = [f"data.path={empty}/set"]  # drawn anew: a user's first run draws it too
        recipe = load_recipe(RECIPE, overrides)
        folder = RunFolder.create(Path(empty) / "run", recipe, RECIPE)
        for name in stages_of(recipe, "report"):
            start = time.monotonic()
            run_stages(folder, [name], TerminalProgress())
            seconds[name] = round(time.monotonic() - start, 1)
        report = folder.read_json("report.json")
    report["settings"]["data"]["path"] = load_recipe(RECIPE).data.path
    print(summary_table(report))
    print(f"{sum(seconds.values()):.0f} s in all: {', '.join(f'{name} {s:.0f}' for name, s in seconds.items())}")
    out = ROOT / "benchmarks/results/demo.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report | {"stage_seconds": seconds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
