"""`edgegd baseline`: the models that candidates are gated against."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegd.cli.json_output import json_text

if TYPE_CHECKING:
    from edgegd.latency.baseline.baseline import Baseline

_DIR = click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("baselines"),
    show_default=True,
    help="The folder of all baselines.",
)


@click.group()
def baseline() -> None:
    """Keep the models that candidates are gated against: files for version control, run again at every gate.

    \b
    edgegd baseline set runs/try1 --name shipped
    """


@baseline.command("set")
@click.argument("model", metavar="MODEL_OR_RUN_DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The baseline's name: letters, digits, `.`, `_` and `-`.")
@click.option("--file", "file", help="Which file of the run folder.  [default: the one that is gated]")
@_DIR
@click.option("--note", default="", help="Why this model, for those who come after.")
@click.option("--force", is_flag=True, help="Replace a baseline of this name; its history is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the baseline as JSON.")
def set_baseline(model: Path, name: str, file: str | None, root: Path, note: str, force: bool, as_json: bool) -> None:
    """Store a copy of a model as the baseline NAME.

    \b
    edgegd baseline set runs/try1 --name shipped --note "release 1.4"
    edgegd baseline set model.onnx --name peer
    """
    from edgegd.errors import MissingArtifactError
    from edgegd.latency.baseline.baseline import Baseline
    from edgegd.pipeline.gate_request import GATED
    from edgegd.verify.static_gate import static_facts

    if model.is_dir():
        folder, model = model, model / (file or GATED)
        if not model.is_file():
            raise MissingArtifactError(
                f"{model} does not exist.",
                expected="a file that `edgegd export` wrote",
                mend=f"run `edgegd export {folder}`, or name another with --file",
            )
    elif file:
        raise click.UsageError("--file names a file of a run folder, but MODEL_OR_RUN_DIR is no folder.")
    made = Baseline.set(model, name, static=static_facts(model), root=root, note=note, force=force)
    if as_json:
        click.echo(json_text(_as_json(made)))
        return
    click.echo(f"baseline {name}: {model} ({made.signature.size_bytes:,} bytes) is now {made.model}")


@baseline.command("ls")
@_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the baselines as JSON.")
def list_baselines(root: Path, as_json: bool) -> None:
    """List the baselines.

    \b
    edgegd baseline ls
    """
    from edgegd.errors import BaselineDamagedError
    from edgegd.latency.baseline.baseline import Baseline, baseline_names
    from edgegd.report.baseline_table import baselines_table

    sound, damaged = [], {}
    for name in baseline_names(root):
        try:
            sound.append(Baseline.load(name, root))
        except BaselineDamagedError as error:
            damaged[name] = error.what
    if as_json:
        click.echo(json_text({"baselines": [_as_json(one) for one in sound], "damaged": damaged}))
    elif sound or damaged:
        click.echo(baselines_table(sound, damaged))
    else:
        click.echo(f"no baselines in {root}")


@baseline.command("diff")
@click.argument("name")
@click.argument("model", type=click.Path(path_type=Path))
@_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def diff(name: str, model: Path, root: Path, as_json: bool) -> None:
    """Show how MODEL differs from the baseline NAME: hash, shapes, integer convolutions, node counts, size.

    \b
    edgegd baseline diff shipped runs/try2/qat.edge.onnx
    """
    from edgegd.latency.baseline.baseline import Baseline
    from edgegd.latency.measuring.model_signature import read_signature
    from edgegd.report.baseline_table import differences_table, file_differences
    from edgegd.verify.static_gate import facts_of, static_gate

    stored = Baseline.load(name, root)
    signature = read_signature(model)
    gate = static_gate(model, facts_of(stored), model=str(model), reference=name)
    found = file_differences(stored.signature, signature, gate)
    if as_json:
        click.echo(json_text({"baseline": name, "candidate": str(model), "differences": found}))
    else:
        click.echo(differences_table(found) if found else f"{model} is the baseline {name}")


@baseline.command("trend")
@click.argument("name")
@_DIR
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Draw the trend into this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def trend(name: str, root: Path, output: Path | None, as_json: bool) -> None:
    """Show the gates against the baseline NAME, oldest first. Stored numbers are a trend; no gate uses them.

    \b
    edgegd baseline trend shipped --output trend.png
    """
    from edgegd.latency.baseline.baseline import Baseline
    from edgegd.latency.baseline.history import read_history
    from edgegd.report.baseline_table import trend_table
    from edgegd.safe_outputs import check_outputs, is_png

    check_outputs({"--output": (output, is_png)}, [])
    entries = read_history(Baseline.load(name, root))
    if output and entries:
        from edgegd.report.trend_picture import draw_trend

        draw_trend(name, entries, output)
    if as_json:
        click.echo(json_text({"baseline": name, "history": [dataclasses.asdict(entry) for entry in entries]}))
    elif entries:
        click.echo(trend_table(entries))
    else:
        click.echo(f"no gate against {name} yet")


def _as_json(one: Baseline) -> dict[str, Any]:
    return {
        "name": one.name,
        "model": str(one.model),
        "signature": one.signature.to_json(),
        "source": one.source,
        "note": one.note,
        "created": one.created,
        "accepted_on": one.accepted_on,
        "static": one.static,
    }
