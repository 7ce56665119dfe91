"""`edgegd gate`: is this model slower, on that device, than the one we ship? Is it less accurate?"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.limits import LARGEST_SEED
from edgegd.variants import QUANTIZED

if TYPE_CHECKING:
    from edgegd.pipeline.gate import GateOutcome
    from edgegd.pipeline.gate_request import GateRequest
    from edgegd.recipe.schema import Recipe


def of_option(name: str) -> Any:
    """The click option of a key of the recipe's section `gate`; not given, the recipe's value counts."""
    from dataclasses import fields

    from edgegd.recipe.schema import GateSection

    field = next(field for field in fields(GateSection) if field.name == name)
    limits = FiniteFloat(field.metadata["minimum"], field.metadata["maximum"])
    return click.option(
        "--" + name.replace("_", "-"),
        name,
        type=limits,
        help=f"Override the recipe's gate.{name}: {field.metadata['help']}.",
    )


def recipe_of(path: Path) -> Recipe:
    """The recipe of a run folder; for a model file, the defaults."""
    from edgegd.recipe.load import load_recipe
    from edgegd.recipe.schema import Recipe

    file = path / "recipe.yaml"
    return load_recipe(file) if file.is_file() else Recipe()


def _read_files(candidate: Path, baseline: Path | None, root: Path) -> list[Path]:
    """Every file that a gate of these arguments may read."""
    folders = [candidate, *([baseline, root / baseline] if baseline else [root])]
    return [*folders, *(path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file())]


_OF_LATENCY = ("baseline", "targets", "margin", "detectable", "limit_ms", "limit_quantile", "no_timing", "no_static")
_OF_ACCURACY = ("against", "variant", "accuracy_margin")


def _require_one_question(context: click.Context, accuracy: bool) -> None:
    """click's usage error for options of the question that is not asked: a gate is of latency or of accuracy."""
    for name in _OF_LATENCY if accuracy else _OF_ACCURACY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(one.opts[0] for one in context.command.params if one.name == name)
            raise click.UsageError(f"{option} is {'not an option of' if accuracy else 'an option of'} --accuracy.")


def _timed(request: GateRequest, folder: Path) -> GateOutcome:
    """The latency gate, with its progress on the terminal."""
    from edgegd.pipeline.gate import gate as run_gate

    with TerminalProgress() as terminal:

        def progress(target: str, done: int, total: int) -> None:
            terminal.update(done, total, f"launches on {target}, at most")

        try:
            return run_gate(request, folder, progress)
        except BaseException:
            if folder.exists() and any(folder.iterdir()):
                terminal.note(f"what was measured until then is kept: {folder}")
            raise


@click.command()
@click.argument("candidate", metavar="RUN_DIR_OR_MODEL", type=click.Path(path_type=Path))
@click.option("--baseline", help="A name of `edgegd baseline ls`, or an ONNX file.  [default: the recipe's]")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Where to measure; may be given several times.  [default: the recipe's, else local]",
)
@of_option("margin")
@of_option("detectable")
@of_option("limit_ms")
@of_option("limit_quantile")
@click.option("--accuracy", is_flag=True, help="Gate mAP50-95 of a run folder instead of latency; nothing is measured.")
@click.option(
    "--against",
    metavar="RUN_DIR",
    type=click.Path(path_type=Path),
    help="With --accuracy: another run on the same images.  [default: FP32 of the same run]",
)
@click.option(
    "--variant",
    type=click.Choice(QUANTIZED),
    help="With --accuracy: which model to gate.  [default: the one that the report says to ship]",
)
@of_option("accuracy_margin")
@click.option("--no-timing", is_flag=True, help="Compare only what needs no clock: kernels, nodes, bytes, memory.")
@click.option("--no-static", is_flag=True, help="Compare only latency: the graph was changed on purpose.")
@click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path),
    default=Path("baselines"),
    show_default=True,
    help="The folder of all baselines.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where a folder for this gate is made.  [default: RUN_DIR/gates, or gates]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    help="Of the order in which blocks are run.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Also write the verdicts as JUnit XML.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Also write the tables as Markdown.")
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@click.pass_context
def gate(
    context: click.Context,
    candidate: Path,
    baseline: str | None,
    targets: tuple[str, ...],
    accuracy: bool,
    against: Path | None,
    variant: str | None,
    no_timing: bool,
    no_static: bool,
    root: Path,
    out: Path | None,
    seed: int,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Compare a model with its baseline, measured now, side by side; the exit code is the verdict.

    PASS (0): not slower than the margin allows. REGRESSED (90). INCONCLUSIVE (91): neither can be claimed. INVALID
    (92): what was measured may not be judged. PASS and REGRESSED are each wrong in at most 1 of 100; of accuracy, which
    `edgegd accuracy` measured before, in about 5 of 100, and more often where few detections are lost (docs/gate.md).

    \b
    edgegd baseline set runs/shipped --name shipped
    edgegd gate runs/try1 --baseline shipped --target pi5 --junit gate.xml
    edgegd gate new.onnx --baseline old.onnx --limit-ms 40
    edgegd gate runs/try1 --accuracy
    edgegd gate runs/try1 --accuracy --against runs/shipped
    """
    from dataclasses import replace

    _require_one_question(context, accuracy)
    if no_timing and no_static:
        raise click.UsageError("--no-timing and --no-static together leave nothing to compare.")
    recipe = recipe_of(candidate)
    section = replace(recipe.gate, **{key: value for key, value in overrides.items() if value is not None})
    parent = out or (candidate / "gates" if candidate.is_dir() else Path("gates"))
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.atomic_files import write_atomically
        from edgegd.pipeline.gate import new_folder
        from edgegd.pipeline.gate_request import GateRequest
        from edgegd.report.accuracy_gate import method
        from edgegd.report.junit import write_junit
        from edgegd.report.latency_table import gates_markdown, gates_table
        from edgegd.safe_outputs import check_outputs, is_gate_markdown, is_junit

        compared = against if accuracy else Path(baseline or section.baseline)
        check_outputs(
            {"--junit": (junit, is_junit), "--markdown": (markdown, is_gate_markdown)},
            _read_files(candidate, compared, root),
        )
        folder = new_folder(parent)
        if accuracy:
            from edgegd.pipeline.accuracy_gate import AccuracyRequest, gate_accuracy

            asked = AccuracyRequest(
                run=candidate, margin_points=section.accuracy_margin, against=against, variant=variant or ""
            )
            outcome = gate_accuracy(asked, folder)
        else:
            request = GateRequest(
                candidate=candidate,
                baseline=baseline or section.baseline,
                root=root,
                section=section,
                latency=recipe.latency,
                targets=() if no_timing else targets or (recipe.target.host,),
                static=not no_static,
                seed=seed,
            )
            outcome = _timed(request, folder)
        if junit is not None:
            write_junit(junit, outcome.gates)
        if markdown is not None:
            markdown.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(markdown, gates_markdown(outcome.gates).encode())
    if as_json:
        click.echo(json_text(outcome.to_json() | {"folder": str(folder)}))
        context.exit(outcome.exit_code)
    click.echo(f"{gates_table(outcome.gates)}\n")
    if outcome.accuracy:
        click.echo(f"{method(outcome.accuracy)}\n")
    for name, error in (outcome.run.errors if outcome.run else {}).items():
        click.echo(f"- INVALID: {name}: {error.message()}")
    click.echo(f"{outcome.verdict.value}  ({folder})")
    context.exit(outcome.exit_code)
