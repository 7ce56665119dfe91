"""`edgegd latency`: times on devices, and what is known about the devices themselves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click_default_group import DefaultGroup

from edgegd.cli.gate import recipe_of
from edgegd.cli.json_output import json_text
from edgegd.cli.numbers import FiniteFloat
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.cli.tune import tune
from edgegd.limits import THREADS
from edgegd.pipeline.beside import BESIDE

if TYPE_CHECKING:
    from edgegd.errors import EdgegdError
    from edgegd.targets.base import Target

_TARGET = click.option("--target", default="local", show_default=True, help="A name of `edgegd target ls`, or a URL.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_THREADS = click.option(
    "--threads", type=click.IntRange(1, THREADS), default=1, show_default=True, help="Of onnxruntime."
)
_MODEL = click.argument("model", type=click.Path(path_type=Path))


@click.group(cls=DefaultGroup, default="run", default_if_no_args=False)
def latency() -> None:
    """Time models on a device; calibrate a device; replay what was measured.

    \b
    edgegd latency runs/try1                            the stage of a run (as `edgegd latency run`)
    edgegd latency runs/try1 --target pi4 --target pi5  the same on several devices at once
    edgegd latency calibrate runs/try1 --target pi5
    """


latency.add_command(tune)


@latency.command("run")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Measure there instead of where the recipe says; may be given several times.",
)
@click.option(
    "--beside",
    "names",
    multiple=True,
    type=click.Choice(list(BESIDE)),
    help="Another runtime to measure beside the edge file and FP32, on one thread and on all; may be given several "
    "times.",
)
@click.option("--force", is_flag=True, help="Run the stage even if nothing changed.")
@TRUST
@_JSON
def run_stage(run_dir: Path, targets: tuple[str, ...], names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Measure latency of a run's ONNX files, paired, in fresh processes.

    With --beside, Ultralytics exports the run's float checkpoint for another runtime, whose mAP is measured on the same
    images, and which runs on the target if its Python package is there.

    \b
    edgegd latency run runs/try1
    edgegd latency runs/try1 --target pi5
    edgegd latency runs/try1 --target pi5 --beside ncnn --beside openvino-int8
    """
    if names:
        _beside(run_dir, names, targets, force, as_json)
        return
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.run_folder import RunFolder

        folder = RunFolder.open_existing(run_dir)
        if not targets:
            from edgegd.cli.run import show
            from edgegd.pipeline.run import run_stages

            with TerminalProgress() as progress:
                outcome = run_stages(folder, ["latency"], progress, force=force)
        else:
            from edgegd.pipeline.device_latency import latency_on, other_profiles
            from edgegd.pipeline.stages.latency import latency_json
            from edgegd.report.latency_table import latency_table

            profile = folder.recipe.target.profile

            with TerminalProgress() as progress:
                results, errors = latency_on(folder, targets, progress)
    if not targets:
        show(folder, outcome, as_json)
    elif as_json:
        click.echo(
            json_text(
                {
                    "results": {name: latency_json(result, profile) for name, result in results.items()},
                    "errors": _failed(errors),
                }
            )
        )
    elif results:
        click.echo("\n".join([latency_table(results), *other_profiles(results, run_dir, profile)]))
    if targets and errors:
        raise next(iter(errors.values()))


def _beside(run_dir: Path, names: tuple[str, ...], targets: tuple[str, ...], force: bool, as_json: bool) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        from edgegd.pipeline.beside_latency import beside_on
        from edgegd.pipeline.run_folder import RunFolder
        from edgegd.report.beside import beside_sentences, beside_table
        from edgegd.report.blocks import as_text

        with TerminalProgress() as progress:
            results, errors = beside_on(RunFolder.open_existing(run_dir), names, targets, progress, force=force)
    if as_json:
        click.echo(json_text({"results": results, "errors": _failed(errors)}))
    elif results:
        click.echo("\n\n".join([as_text([beside_table(results)]), *beside_sentences(results)]))
    if errors:
        raise next(iter(errors.values()))


def _failed(errors: Mapping[str, EdgegdError]) -> dict[str, dict[str, str]]:
    return {name: {"error": type(error).__name__, "message": error.message()} for name, error in errors.items()}


@latency.command()
@click.argument("model", metavar="RUN_DIR_OR_MODEL", type=click.Path(path_type=Path))
@_TARGET
@click.option("--threads", type=click.IntRange(1, THREADS), help="Of onnxruntime.  [default: the recipe's, else 1]")
@click.option(
    "--launches", type=click.IntRange(10, 10_000), default=20, show_default=True, help="Pairs of fresh processes."
)
@TRUST
@_JSON
def calibrate(model: Path, target: str, threads: int | None, launches: int, as_json: bool) -> None:
    """Measure a model against itself on a device: which regressions will its gates see?

    Measured as the recipe of RUN_DIR says, a model file by the defaults. Stored for this device and thread count; gates
    then tell the least regression that they find, and refuse to answer where that exceeds the recipe's gate.detectable.

    \b
    edgegd latency calibrate runs/try1 --target pi5
    """
    from dataclasses import replace

    recipe = recipe_of(model)
    with contextlib.redirect_stdout(sys.stderr), _found(target) as device:
        from edgegd.latency.gate.calibration import detectable, pass_probability
        from edgegd.latency.statistics.sequential_test import GateRule
        from edgegd.pipeline.device_latency import calibrate_device
        from edgegd.pipeline.gate_request import calibration_folder, candidate_file

        with TerminalProgress() as progress:
            made, file = calibrate_device(
                candidate_file(model),
                device,
                recipe.gate,
                replace(recipe.latency, threads=threads or recipe.latency.threads),
                launches,
                calibration_folder(),
                progress,
            )
    rule = GateRule(margin=recipe.gate.margin, budget=recipe.gate.detectable)
    least, equal = detectable(made, rule), pass_probability(made, rule)
    if as_json:
        click.echo(
            json_text(
                {
                    "target": made.target,
                    "file": str(file),
                    "launches": len(made.launch_ratios),
                    "launch_ratios": made.launch_ratios,
                    "detectable": least,
                    "pass_probability": equal,
                }
            )
        )
        return
    click.echo(
        f"{made.target}: a candidate {100 * (least - 1):.1f} % slower is found with 95 % probability; an equal "
        f"one passes with {100 * equal:.1f} % ({len(made.launch_ratios)} launches, margin "
        f"{100 * rule.margin:.0f} %)\n{file}"
    )


@latency.command()
@_MODEL
@_TARGET
@_THREADS
@click.option("--launches", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Fresh processes.")
@click.option("--inferences", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="Of each process.")
@_JSON
def burst(model: Path, target: str, threads: int, launches: int, inferences: int, as_json: bool) -> None:
    """Time the first inferences of fresh processes: what a program pays that looks at one picture and ends.

    \b
    edgegd latency burst runs/try1/qat.edge.onnx --target pi5
    """
    with contextlib.redirect_stdout(sys.stderr), _found(target) as device:
        from edgegd.latency.measuring.endurance import measure_burst
        from edgegd.latency.measuring.record import Design

        design = Design(launches=launches, quads=1, block_s=0, warmup_s=0, threads=threads, spinning=False)
        result = measure_burst(model, design, device, inferences).to_json()
    if as_json:
        click.echo(json_text(result))
        return
    click.echo(
        f"load {result['median_load_ms']:.1f} ms, then "
        + " ".join(f"{ms:.2f}" for ms in result["median_ms"])
        + f" ms (medians of {launches} fresh processes on {result['target']})"
    )


@latency.command()
@_MODEL
@_TARGET
@_THREADS
@click.option(
    "--limit",
    "limit_s",
    type=FiniteFloat(1, 1_000_000),
    default=900.0,
    show_default=True,
    help="Longest run in seconds; it ends earlier once the temperature is steady.",
)
@_JSON
def sustained(model: Path, target: str, threads: int, limit_s: float, as_json: bool) -> None:
    """Time a model without a pause until the device is as hot as it gets.

    \b
    edgegd latency sustained runs/try1/qat.edge.onnx --target pi5 --limit 1800
    """
    with contextlib.redirect_stdout(sys.stderr), _found(target) as device, TerminalProgress() as progress:
        from edgegd.latency.measuring.endurance import measure_sustained
        from edgegd.latency.measuring.record import Design

        design = Design(launches=1, quads=1, block_s=1.0, warmup_s=0, threads=threads, spinning=False)
        result = measure_sustained(
            model,
            design,
            device,
            limit_s,
            lambda block: progress.update(round(block.at_s), round(limit_s), f"{block.median_ms:.2f} ms"),
        )
    if as_json:
        click.echo(json_text(result.to_json()))
        return
    last = result.blocks[-1]
    heat = (
        "no thermal zone is readable"
        if last.temperature_c is None
        else (f"{result.blocks[0].temperature_c} to {last.temperature_c} C, {'' if result.steady else 'not '}steady")
    )
    throttled = sum(bool(block.faults) for block in result.blocks)
    click.echo(
        f"{result.first_ms:.2f} ms at first, {result.last_ms:.2f} ms after {last.at_s:.0f} s; {heat}; "
        f"{throttled} of {len(result.blocks)} blocks throttled"
    )


@latency.command()
@click.argument("path", metavar="GATE_FOLDER_OR_FILE", type=click.Path(path_type=Path))
@_JSON
@click.pass_context
def replay(context: click.Context, path: Path, as_json: bool) -> None:
    """Judge again what a gate measured, from its raw data: the same verdict, and the same exit code.

    A single file of raw data (of a measurement that was cut off, too) is judged by the default margin.

    \b
    edgegd latency replay runs/try1/gates/20261123T101500.123456Z
    """
    from edgegd.pipeline.gate import replay as replay_gate
    from edgegd.pipeline.gate import replay_file
    from edgegd.report.latency_table import gates_table

    outcome = replay_gate(path) if path.is_dir() else replay_file(path)
    click.echo(json_text(outcome.to_json()) if as_json else f"{gates_table(outcome.gates)}\n\n{outcome.verdict.value}")
    context.exit(outcome.exit_code)


@latency.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The PNG.  [default: FILE with .png]")
@_JSON
def plot(file: Path, output: Path | None, as_json: bool) -> None:
    """Draw a file of raw data: ratios by launch, latencies, temperature and frequency over time.

    \b
    edgegd latency plot runs/try1/gates/20261123T101500.123456Z/local.jsonl
    """
    from edgegd.errors import MeasurementFileError
    from edgegd.pipeline.gate import replay_file
    from edgegd.report.latency_pictures import draw
    from edgegd.safe_outputs import check_outputs, is_png

    picture = output or file.with_suffix(".png")
    check_outputs({"--output": (picture, is_png)}, [file])
    outcome = replay_file(file)
    assert outcome.run is not None
    measurement = next(iter(outcome.run.measurements.values()))
    if not measurement.blocks:
        raise MeasurementFileError(
            f"{file} has no block to draw.",
            expected="a measurement that ran a block",
            found=f"{len(measurement.launches)} launches",
            mend="name another file",
        )
    draw(measurement, outcome.run.relative, picture)
    click.echo(json_text({"picture": str(picture)}) if as_json else str(picture))


@contextlib.contextmanager
def _found(name: str) -> Any:
    """A target that may be measured, whose connection is closed at the end."""
    from edgegd.targets.base import require_real
    from edgegd.targets.registry import find_target

    target: Target = find_target(name)
    with contextlib.closing(target):
        require_real(target)
        yield target
