"""The `edgegd` command: the group, and how errors leave it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from typing import Any

import click

from edgegd import __version__
from edgegd.cli.baseline import baseline
from edgegd.cli.calibration import calibration
from edgegd.cli.data import data
from edgegd.cli.descent import descent
from edgegd.cli.doctor import doctor
from edgegd.cli.emulate import emulate
from edgegd.cli.explain import explain
from edgegd.cli.explore import explore
from edgegd.cli.gate import gate
from edgegd.cli.images import images
from edgegd.cli.json_output import json_text
from edgegd.cli.labels import labels
from edgegd.cli.latency import latency
from edgegd.cli.operating_point import operating_point
from edgegd.cli.output_stream import OutputStream
from edgegd.cli.predict import predict
from edgegd.cli.prove import prove
from edgegd.cli.recipe import recipe
from edgegd.cli.run import run
from edgegd.cli.search import search
from edgegd.cli.stages import stage_commands
from edgegd.cli.stop import sigterm_interrupts
from edgegd.cli.sweep import sweep
from edgegd.cli.target import target
from edgegd.cli.torchrun import taking_part
from edgegd.cli.unforeseen import documented
from edgegd.errors import EdgegdError, InterruptedRunError


class _Commands(click.Group):
    """Lists commands in the order in which a user meets them, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgegd")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; goes before the command.")
def edgegd(debug: bool) -> None:
    """Turn a float Ultralytics detector into an INT8 ONNX model that runs fast in onnxruntime, and prove it.

    \b
    edgegd run streets/yolo26n          the demo: every stage, then a table of FP32, PTQ and QAT
    edgegd recipe cp bccd/yolo26n my.yaml    a recipe of your own to edit

    The exit code says what went wrong: see docs/errors.md.
    """


for command in (
    run,
    sweep,
    *stage_commands(),
    latency,
    prove,
    gate,
    operating_point,
    calibration,
    images,
    explore,
    labels,
    baseline,
    descent,
    search,
    explain,
    emulate,
    predict,
    recipe,
    data,
    target,
    doctor,
):
    edgegd.add_command(command)


def main() -> None:
    """Runs the command; any error is one message on stderr and its own exit code, without a traceback.

    With --json it is a JSON object on stdout as well. `edgegd --debug` shows the traceback instead.
    """
    os.environ.setdefault("YOLO_VERBOSE", "false")  # Ultralytics must not log into the middle of our output
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    _open_closed_streams()
    with contextlib.redirect_stdout(OutputStream(sys.stdout)):
        _run(sys.argv[1:])


def _open_closed_streams() -> None:
    """Whoever closes a stream (`>&-`) wants nothing of it; the first file that is opened would take its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 -- until the end


def _run(arguments: list[str]) -> None:
    try:
        code = None
        with sigterm_interrupts(), taking_part(arguments) as works:
            if works:
                code = edgegd.main(args=arguments, prog_name="edgegd", standalone_mode=False)
        sys.stdout.flush()  # a full disk, or a reader that has ended, is told now and not after the end
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if "--json" in arguments:
            _print_json(type(error).__name__, error.exit_code, error.format_message())
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(InterruptedRunError("Interrupted.", mend="run the same command again"), arguments)
    except Exception as error:
        # Only before the command's name: after it, --debug would be refused as an unknown option of the command.
        if "--debug" in arguments[:1]:
            raise
        _fail(error if isinstance(error, EdgegdError) else documented(error), arguments)


_show_other_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    """edgegd's own warnings are a sentence for the user; all others stay as Python shows them."""
    if category.__module__.startswith("edgegd."):
        click.echo(f"edgegd: warning: {message}", err=True)
    else:
        _show_other_warning(message, category, *rest)


def _fail(error: EdgegdError, arguments: list[str]) -> None:
    if "--json" in arguments and not getattr(sys.stdout, "is_broken", False):
        _print_json(type(error).__name__, error.exit_code, error.what, error.expected, error.found, error.mend)
    click.echo(f"edgegd: {error.message()}", err=True)
    # Interrupted in exec() of a string (a dataclass during an import, say), CPython started with `-m` remembers that
    # and dies by the signal at its end, whatever exit code it is given; the next such exec() makes it forget.
    exec("")
    sys.exit(error.exit_code)


def _print_json(kind: str, exit_code: int, what: str, expected: str = "", found: str = "", mend: str = "") -> None:
    fields = {"what": what, "expected": expected, "found": found, "mend": mend}
    click.echo(json_text({"error": kind, "exit_code": exit_code, **fields}))


if __name__ == "__main__":
    main()
