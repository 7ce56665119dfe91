"""`edgegd float|ptq|qat|...`: one stage of an existing run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.progress import TerminalProgress
from edgegd.cli.run import show

_HELP = {
    "float": "Take the recipe's float checkpoint, or train one with Ultralytics.",
    "ptq": "Trace the float model, plan its quantization and calibrate the ranges.",
    "qat": "Fine-tune the calibrated model by gradient descent under fake quantization.",
    "export": "Write fp32.onnx, ptq.onnx and qat.onnx.",
    "verify": "Count integer convolutions in onnxruntime, compare it with torch on real images, catch a silent model.",
    "accuracy": "Measure mAP of all three ONNX files in onnxruntime.",
    "latency": "Measure latency of all three ONNX files, paired, in fresh processes.",
    "report": "Write report.json and report.md and print the table.",
}


def stage_commands() -> list[click.Command]:
    """One command a stage."""
    return [_command(name, text) for name, text in _HELP.items()]


def _command(name: str, text: str) -> click.Command:
    @click.command(name, help=f"{text}\n\nRUN_DIR is a folder that `edgegd run` made.\n\n\b\nedgegd {name} runs/try1")
    @click.argument("run_dir", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True, help="Run the stage even if nothing changed.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def command(run_dir: Path, force: bool, as_json: bool) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            from edgegd.pipeline.run import run_stages
            from edgegd.pipeline.run_folder import RunFolder

            folder = RunFolder.open_existing(run_dir)
            with TerminalProgress() as progress:
                outcome = run_stages(folder, [name], progress, force=force)
        show(folder, outcome, as_json)

    return command
