"""`edgegd sweep`: ranges of recipe keys searched, or several recipes over seeds."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from edgegd.cli.json_output import json_text
from edgegd.cli.progress import TerminalProgress
from edgegd.cli.trust import TRUST
from edgegd.limits import LARGEST_SEED

OBJECTIVE = "accuracy.qat.map50_95"


class _Seeds(click.ParamType):
    """Whole numbers between commas, each once."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and int(part) <= LARGEST_SEED for part in parts):
            self.fail(f"{value!r}: expected whole numbers between commas, such as 0,1,2", param, ctx)
        seeds = tuple(int(part) for part in parts)
        if len(set(seeds)) < len(seeds):
            self.fail(f"{value!r}: a seed is there twice", param, ctx)
        return seeds


@click.command()
@click.argument("recipe", nargs=-1, required=True)
@click.option(
    "--set",
    "settings",
    metavar="KEY=RANGE",
    multiple=True,
    help="a,b,c: one of these; lo..hi: a number; log:lo..hi: on a logarithmic scale; int:lo..hi: a whole number; "
    "a single value: the same for all.",
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    help="What is to become better: latency, size, or a number of a run such as accuracy.ptq.map50_95, "
    f"descent.best_map50_95 or latency.qat.edge.  [default: {OBJECTIVE}]",
)
@click.option("--trials", type=click.IntRange(1, 100_000), default=40, show_default=True, help="Trials of the search.")
@click.option("--recipes", is_flag=True, help="Run every RECIPE with every seed of --seeds, instead of a search.")
@click.option("--seeds", type=_Seeds(), help="With --recipes: the values of train.seed.  [default: 0]")
@click.option("--sweep-dir", type=click.Path(path_type=Path), help="Where all files go.  [default: sweeps/RECIPE]")
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="Seed of the search.")
@click.option(
    "--prune/--no-prune",
    default=None,
    help="End trials early whose mAP after an epoch is below the median of the earlier ones.  [default: with one "
    "objective that is the QAT model's mAP]",
)
@click.option("--jobs", type=click.IntRange(1, 10_000), help="Runs at once.  [default: 1; on Ray what the nodes hold]")
@click.option(
    "--engine", type=click.Choice(("local", "ray")), default="local", show_default=True, help="Where runs run."
)
@click.option("--address", default="auto", show_default=True, help="With Ray: HOST:PORT; auto: of this machine; local.")
@click.option(
    "--cpus", type=click.IntRange(1, 10_000), default=1, show_default=True, help="With Ray: CPU cores of a run."
)
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print sweep.json.")
def sweep(
    recipe: tuple[str, ...],
    settings: tuple[str, ...],
    objectives: tuple[str, ...],
    trials: int,
    recipes: bool,
    seeds: tuple[int, ...] | None,
    sweep_dir: Path | None,
    seed: int,
    prune: bool | None,
    jobs: int | None,
    engine: str,
    address: str,
    cpus: int,
    as_json: bool,
) -> None:
    """Search ranges of RECIPE's keys for the best model, or run several recipes over seeds.

    Every trial is an ordinary run folder; stages that nothing varied touches are run once. A sweep that was killed goes
    on with the same command, and so do the runs that were under way. With several objectives the result is the front of
    trials that no other one beats in all of them. docs/scale.md has more, also on clusters.

    \b
    edgegd sweep my.yaml --set train.lr0=log:1e-5..1e-3 --set quant.observer=mse,percentile --trials 40
    edgegd sweep my.yaml --set model.imgsz=256,320,416 --objective accuracy.ptq.map50_95 --objective latency
    edgegd sweep my.yaml --set train.epochs=int:3..10 --engine ray --address 10.0.0.1:6379
    edgegd sweep --recipes a.yaml b.yaml --seeds 0,1,2 --objective accuracy.qat.map50_95 --objective size
    """
    if not recipes and (len(recipe) > 1 or seeds):
        raise click.UsageError("Several recipes, or --seeds, need --recipes; a search takes one recipe.")
    with contextlib.redirect_stdout(sys.stderr), TerminalProgress() as progress:
        from edgegd.pipeline.sweep.engines import engine_maker
        from edgegd.pipeline.sweep.grid import GridRequest, grid
        from edgegd.report.blocks import as_text
        from edgegd.report.sweep import grid_blocks, search_blocks

        names = objectives or (OBJECTIVE,)
        make = engine_maker(engine, address, jobs, cpus, names, progress)
        if recipes:
            folder, result = grid(GridRequest(recipe, seeds or (0,), settings, names), sweep_dir, make, progress)
        else:
            from edgegd.pipeline.sweep.search import SearchRequest, search

            asked = SearchRequest(recipe[0], settings, names, trials, seed, prune)
            folder, result = search(asked, sweep_dir, make, progress)
    blocks = grid_blocks(result) if recipes else search_blocks(result)
    click.echo(json_text(result) if as_json else f"{as_text(blocks)}\n\n{folder}")
