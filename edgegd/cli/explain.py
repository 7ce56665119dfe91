"""`edgegd explain`: the quantization plan of a run."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the plan and the ranges as JSON.")
def explain(run_dir: Path, as_json: bool) -> None:
    """Show which tensors are quantized, how and why, and which are not and why.

    \b
    edgegd explain runs/try1
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.pipeline.stage import require_current
        from edgegd.quant.plan import QuantPlan
        from edgegd.report.plan import explain_plan

        folder = RunFolder.open_existing(run_dir)
        for name in ("plan.json", "calibration.json"):
            require_current(folder, name, "ptq")
        plan = QuantPlan.from_json(folder.artifact("plan.json").read_text())
        ranges = folder.read_json("calibration.json")["ranges"]
    if as_json:
        click.echo(json.dumps({"plan": json.loads(plan.to_json()), "sha256": plan.sha256, "ranges": ranges}))
    elif sys.stdout.isatty():
        click.echo_via_pager(explain_plan(plan, ranges))
    else:
        click.echo(explain_plan(plan, ranges))
