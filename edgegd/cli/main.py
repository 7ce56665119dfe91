"""The `edgegd` command: the group, and how errors leave it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from edgegd import __version__
from edgegd.cli.data import data
from edgegd.cli.doctor import doctor
from edgegd.cli.explain import explain
from edgegd.cli.predict import predict
from edgegd.cli.recipe import recipe
from edgegd.cli.run import run
from edgegd.cli.stages import stage_commands
from edgegd.errors import EdgegdError, InterruptedRunError, MissingExtraError


class _Commands(click.Group):
    """Lists commands in the order in which a user meets them, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgegd")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def edgegd(ctx: click.Context, debug: bool) -> None:
    """Turn a float Ultralytics detector into an INT8 ONNX model that runs fast in onnxruntime, and prove it.

    \b
    edgegd run streets/yolo26n          the demo: every stage, then a table of FP32, PTQ and QAT
    edgegd recipe cp bccd/yolo26n my.yaml    a recipe of your own to edit
    """
    ctx.obj = {"debug": debug}


for command in (run, *stage_commands(), explain, predict, recipe, data, doctor):
    edgegd.add_command(command)


def main() -> None:
    """Runs the command; a user's error is one message on stderr and its own exit code, without a traceback."""
    # Ultralytics must neither install packages behind the user's back nor log into the middle of our output.
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    arguments = sys.argv[1:]
    try:
        code = edgegd.main(args=arguments, prog_name="edgegd", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(InterruptedRunError("Interrupted."), arguments)
    except EdgegdError as error:
        if "--debug" in arguments:
            raise
        _fail(error, arguments)
    except ModuleNotFoundError as error:
        if "--debug" in arguments or (error.name or "").startswith("edgegd"):
            raise
        _fail(MissingExtraError(
            f"This command needs the package {error.name}, which is not installed.",
            mend='pip install "edgegd[train]"',
        ), arguments)  # fmt: skip


def _fail(error: EdgegdError, arguments: list[str]) -> None:
    if "--json" in arguments:
        fields: dict[str, Any] = {name: getattr(error, name) for name in ("what", "expected", "found", "mend")}
        click.echo(json.dumps({"error": type(error).__name__, "exit_code": error.exit_code, **fields}))
    click.echo(f"edgegd: {error.message()}", err=True)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
