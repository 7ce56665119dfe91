"""`edgegd explain`: the quantization plan of a run, and an ONNX file against it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.trust import TRUST
from edgegd.foreign_text import printable


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--onnx",
    "onnx_path",
    type=click.Path(path_type=Path),
    help="Compare this ONNX file of the run's model with the plan, whatever tool has quantized it.",
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the plan, the ranges and the comparison as JSON.")
def explain(run_dir: Path, onnx_path: Path | None, as_json: bool) -> None:
    """Show which tensors are quantized, how and why, and which are not and why; which SiLUs became ReLU.

    With --onnx: which planned convolutions of the file onnxruntime runs in integers, and which tensors have the planned
    format and one range a scale group.

    \b
    edgegd explain runs/try1
    edgegd explain runs/try1 --onnx model.onnx
    """
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.artifacts import CALIBRATION, PLAN, PTQ_STATE, as_made
        from edgegd.pipeline.models import stored_swap
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.pipeline.stage import require_current
        from edgegd.pipeline.stored import adapted_reads
        from edgegd.plan.quant_plan import QuantPlan
        from edgegd.report.activation_swap import swap_blocks
        from edgegd.report.blocks import as_text
        from edgegd.report.plan import explain_file, explain_plan
        from edgegd.verify.against_plan import compare_with_plan, stored_weight_shapes

        folder = RunFolder.open_existing(run_dir)
        for artifact in (PLAN, CALIBRATION, PTQ_STATE):
            require_current(folder, artifact)
        plan = QuantPlan.from_json(folder.artifact(PLAN).read_text(encoding="utf-8"))
        with as_made(folder, CALIBRATION):
            ranges = dict(folder.read_json(CALIBRATION)["ranges"])
        swap = stored_swap(folder) if adapted_reads(folder) else None
        shapes = stored_weight_shapes(folder.artifact(PTQ_STATE))
        found = compare_with_plan(onnx_path, plan, shapes) if onnx_path else None
    if as_json:
        comparison = {"onnx": {"file": str(onnx_path)} | dataclasses.asdict(found)} if found else {}
        choice = {"activation": dataclasses.asdict(swap)} if swap else {}
        click.echo(
            json_text(
                {"plan": json.loads(plan.to_json()), "sha256": plan.sha256, "ranges": ranges} | choice | comparison
            )
        )
        return
    if found:
        text = explain_file(str(onnx_path), plan, found)
    else:
        with as_made(folder, CALIBRATION):
            text = explain_plan(plan, ranges)
    if swap and not found:
        text = f"{as_text(swap_blocks(swap))}\n\n{text}"
    if sys.stdout.isatty():
        click.echo_via_pager(printable(text))
    else:
        click.echo(text)
