"""`edgegd target`: the devices that latency is measured on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import click

from edgegd.cli.json_output import json_text
from edgegd.errors import DeviceSoftwareError
from edgegd.foreign_text import one_line
from edgegd.home import expanded

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_MARKS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


@click.group()
def target() -> None:
    """Name the devices that latency is measured on, and look at what they have.

    A target is `local` (this machine), ssh://user@host[:port] (by OpenSSH, with your configuration, keys, agent and
    jump hosts), or command:PREFIX ... PYTHON (a container, an emulator). Names are kept in
    ~/.config/edgegd/targets.yaml.

    \b
    edgegd target ls
    """


@target.command()
@click.argument("name")
@click.argument("url")
@click.option("--python", default="python3", show_default=True, help="Python there, for example ~/venv/bin/python.")
@click.option("--emulated", is_flag=True, help="Its CPU is emulated: for correctness only, latency is refused.")
@click.option("--ssh-config", default="", metavar="FILE", help="A file for ssh -F instead of ~/.ssh/config.")
@click.option("--folder", default="", help="Where files are copied to there.  [default: ~/.cache/edgegd]")
@_JSON
def add(name: str, url: str, python: str, emulated: bool, ssh_config: str, folder: str, as_json: bool) -> None:
    """Store the target URL as NAME, in place of one of that name. Nothing is connected yet.

    \b
    edgegd target add pi5 ssh://pi@192.168.1.20 --python ~/venv/bin/python
    edgegd target add box "command:docker run -i --rm -v $HOME/.cache:$HOME/.cache IMAGE python3"
    """
    from edgegd.targets.registry import TargetEntry, add_target, targets_file

    config = str(expanded(ssh_config).absolute()) if ssh_config else ""
    entry = TargetEntry(name, url, python, emulated, config, folder)
    add_target(entry)
    click.echo(
        json_text(asdict(entry))
        if as_json
        else f"{name} is stored in {targets_file()}; see what it has: edgegd target check {name}"
    )


@target.command("ls")
@_JSON
def list_(as_json: bool) -> None:
    """List the stored targets; `local` always exists.

    \b
    edgegd target ls
    """
    from edgegd.targets.registry import LOCAL, TargetEntry, load_targets

    entries = [TargetEntry(LOCAL, LOCAL), *load_targets().values()]
    if as_json:
        click.echo(json_text([asdict(entry) for entry in entries]))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.name:{width}}  {one_line(entry.url)}{'  (emulated)' if entry.emulated else ''}")


@target.command()
@click.argument("name", metavar="NAME|URL")
@_JSON
def check(name: str, as_json: bool) -> None:
    """Show what a target has, what it lacks and how to install that. Ends with code 82 where something is missing.

    \b
    edgegd target check pi5
    """
    from edgegd.targets.registry import find_target

    with closing(find_target(name)) as found:
        items = found.check()
        emulated = found.emulated
    ready = all(item.level != "missing" for item in items)
    if as_json:
        click.echo(
            json_text({"target": name, "ready": ready, "emulated": emulated, "items": [asdict(item) for item in items]})
        )
    else:
        width = max(len(item.subject) for item in items)
        for item in items:
            click.echo(f"{_MARKS[item.level]} {item.subject:{width}}  {one_line(item.found)}")
            if item.mend:
                click.echo(f"        {'':{width}}  to mend it: {one_line(item.mend)}")
        if emulated:
            click.echo("It is emulated: for correctness only, latency is refused.")
    if not ready:
        click.get_current_context().exit(DeviceSoftwareError.exit_code)


@target.command()
@click.argument("name")
@_JSON
def rm(name: str, as_json: bool) -> None:
    """Forget the target NAME; nothing on the device changes.

    \b
    edgegd target rm pi5
    """
    from edgegd.targets.registry import remove_target

    remove_target(name)
    click.echo(json_text({"removed": name}) if as_json else f"{name} is forgotten")
