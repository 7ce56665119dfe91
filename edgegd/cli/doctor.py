"""`edgegd doctor`: what this machine has, and what would be slow or wrong on it."""

from __future__ import annotations

import click

from edgegd.cli.json_output import json_text

_MARKS = {"ok": "ok   ", "note": "note ", "slow": "SLOW ", "wrong": "WRONG"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Look at this machine: CPU instruction sets, versions, memory; what would be slow or wrong here, and its cure.

    \b
    edgegd doctor
    """
    from edgegd.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        click.echo(json_text(diagnosis.to_json()))
        return
    click.echo(f"target profile of this machine: {diagnosis.profile or 'none of those known'}")
    for finding in diagnosis.findings:
        click.echo(f"{_MARKS[finding.level]} {finding.title}: {finding.detail}")
        if finding.mend:
            click.echo(f"      to mend it: {finding.mend}")
