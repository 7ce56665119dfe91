"""`edgegd float|ptq|qat|...`: one stage of an existing run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edgegd.cli.progress import TerminalProgress
from edgegd.cli.run import show
from edgegd.cli.trust import TRUST
from edgegd.pipeline.registry import STAGES
from edgegd.recipe.schema import PROFILES

_PROFILE_HELP = {
    "export": "Write ptq-PROFILE.onnx and qat-PROFILE.onnx from the same weights and ranges instead.",
    "verify": "Verify those files, or, where there are none, whether the run's own suit the profile.",
}
_PASSES_HELP = "List what every pass of qat.edge.onnx rewrote, what it refused and why, and its measured gain."


def stage_commands() -> list[click.Command]:
    """One command a stage."""
    return [_command(name, entry.help) for name, entry in STAGES.items() if entry.help]


def _command(name: str, text: str) -> click.Command:
    @click.command(name, help=f"{text}\n\nRUN_DIR is a folder that `edgegd run` made.\n\n\b\nedgegd {name} runs/try1")
    @click.argument("run_dir", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True, help="Run the stage even if nothing changed.")
    @TRUST
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def command(
        run_dir: Path, force: bool, as_json: bool, profile: str | None = None, explain_passes: bool = False
    ) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            from edgegd.pipeline.pass_gains import pass_gains
            from edgegd.pipeline.run import run_stages
            from edgegd.pipeline.run_folder import RunFolder
            from edgegd.pipeline.stages.profiles import profile_stage

            folder = RunFolder.open_existing(run_dir)
            own = profile in (None, folder.recipe.target.profile)
            stage = name if own else profile_stage(name, str(profile))
            with TerminalProgress() as progress:
                outcome = run_stages(folder, [stage], progress, force=force)
                gains = pass_gains(folder, progress) if explain_passes else None
        show(folder, outcome, as_json, passes=gains)

    if name == "export":
        command = click.option("--explain-passes", is_flag=True, help=_PASSES_HELP)(command)
    if name in _PROFILE_HELP:
        command = click.option("--profile", type=click.Choice(PROFILES), help=_PROFILE_HELP[name])(command)
    return command
