"""`edgegd search`: precision by measurement, and the front as a table."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Measure anew, even if nothing changed.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def search(run_dir: Path, force: bool, as_json: bool) -> None:
    """Choose by measurement which operations run in integers, and show the front of time against noise.

    Times every operation in integers and in float on this device, measures what quantizing it alone does to the head,
    and solves for the plans between. `edgegd run` does so by itself where the recipe has a budget (section precision);
    ptq then takes the budget's plan. Ends with exit code 67 where no plan meets the budget.

    \b
    edgegd search runs/try1
    edgegd run my.yaml --set precision.latency_ratio=0.5
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.errors import PrecisionBudgetError
        from edgegd.pipeline.artifacts import PRECISION, as_made
        from edgegd.pipeline.run import run_stages
        from edgegd.pipeline.run_folder import RunFolder

        folder = RunFolder.open_existing(run_dir)
        if force:
            with folder.locked():
                folder.artifact(PRECISION).unlink(missing_ok=True)
        with TerminalProgress() as progress:
            try:
                run_stages(folder, ["search"], progress, force=force)
            except PrecisionBudgetError:
                if not as_json:
                    click.echo(front_table(folder.read_json(PRECISION)), err=True)
                raise
        with as_made(folder, PRECISION):
            result = folder.read_json(PRECISION)
            text = json_text(result) if as_json else front_table(result)
    click.echo(text)


def front_table(result: dict[str, Any]) -> str:
    """precision.json's front as text; the budget's plan, or the nearest to it, is marked."""
    from edgegd.foreign_text import one_line
    from edgegd.report.table import table

    rows = [["fp32", 0, "", f"{result['fp32_ms']:.2f}", "1.000", "", "", ""]]
    for point in result["points"]:
        mark = {result["chosen"]: "chosen", result["nearest"]: "nearest"}.get(point["name"], "")
        rows.append(
            [
                point["name"],
                point["integer_operations"],
                f"{point['predicted_ms']:.2f}",
                f"{point['measured_ms']:.2f}",
                f"{point['ratio']:.3f}",
                f"{point['predicted_db']:.1f}",
                f"{point['head_db']:.1f}",
                mark,
            ]
        )
    headers = [
        "plan",
        "integer operations",
        "predicted ms",
        "measured ms",
        "of FP32",
        "predicted dB",
        "dB at the head",
        "",
    ]
    cpu = one_line(result["fingerprint"]["cpu"])
    return f"{table(rows, headers)}\n\n{cpu}, {result['threads']} threads; {len(result['images'])} images"
