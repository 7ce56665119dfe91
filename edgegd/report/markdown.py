"""The report for people: one table for the terminal, and report.md. Tables are tabulate's."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell, one_line
from edgegd.network_size import size_in_words
from edgegd.report.blocks import Block, Paragraph, Strong, Table, as_text
from edgegd.report.build import FILES
from edgegd.report.sections import sections_of
from edgegd.report.words import percent


def summary_table(report: dict[str, Any], style: str = "simple") -> str:
    """`summary` as text; `style` is one of tabulate's formats."""
    return as_text([summary(report)], style)


def summary(report: dict[str, Any]) -> Table:
    """FP32, PTQ and QAT side by side, all run in onnxruntime.

    Edge files compute the bits of the portable ones (stage verify): their mAP is the same measurement.
    """
    rows = []
    for name, title in FILES.items():
        variant = name.removesuffix(".edge")
        accuracy, latency = report["accuracy"][variant], report["latency"][name]
        census = report["census"].get(variant)
        rows.append(
            [
                title,
                percent(accuracy["map50_95"]),
                percent(accuracy["map50"]),
                f"{latency['median_ms']:.2f}",
                f"{latency['p90_ms']:.2f}",
                f"{latency['speedup']:.2f}x [{latency['speedup_low']:.2f}, {latency['speedup_high']:.2f}]",
                f"{census['int8_convs']} of {census['int8_convs'] + census['float_convs']}" if census else "0",
            ]
        )
    headers = ["onnxruntime", "mAP50-95", "mAP50", "median ms", "p90 ms", "speed vs FP32", "int8 convolutions"]
    return Table(headers, rows, ("left",) + ("right",) * 6)


def to_markdown(report: dict[str, Any]) -> str:
    """report.md: the opening, then every section that has something to say."""
    lines = [f"# {cell(report['recipe'], 'github')}", "", as_text(opening(report), "github"), ""]
    for section, blocks in sections_of(report):
        if text := as_text(blocks, "github"):
            lines += [f"## {section.TITLE}", "", text, ""]
    return "\n".join(lines)


def opening(report: dict[str, Any]) -> list[Block]:
    """What a report begins with: what was run, the verdict, the summary, and the conditions of the latencies."""
    settings, conditions = report["settings"], report["latency_conditions"]
    machine, latency = conditions["fingerprint"], conditions["settings"]
    faults = [Strong(f"Faults: {fault}.") for fault in conditions["faults"]]
    if not conditions["stable"]:
        faults.insert(0, Strong("Not every warm-up became stable: measure again on an idle machine."))
    return [
        Paragraph(
            f"{settings['model']['weights']} at {size_in_words(settings['model']['imgsz'])} px on "
            f"{report['accuracy']['fp32']['images']} "
            f"{'test' if report['selection'] == 'test' else 'validation'} images; "
            f"{_chosen(report['target'])}."
        ),
        Paragraph(Strong(report["ship"]["why"])),
        summary(report),
        *(Paragraph(caveat) for caveat in caveats(report)),
        Paragraph(
            f"Latency on {machine['cpu']}, onnxruntime {machine['onnxruntime']}, "
            f"{latency['threads']} thread(s), spinning {'on' if latency['spinning'] else 'off'}, "
            f"{latency['launches']} launches of {2 * latency['quads']} alternating blocks; the interval is a 95 % "
            "bootstrap.",
            *(span for fault in faults for span in (" ", fault)),
        ),
    ]


def _chosen(target: dict[str, Any]) -> str:
    why = "as the recipe says" if target["explicit"] else f"chosen for {target['cpu']} ({target['host']})"
    return f"profile {target['profile']}, {why}"


def caveats(report: dict[str, Any]) -> list[str]:
    """Whose the figures are, a sentence each where they are not those of the target's own kind of CPU."""
    profile, conditions, proof = report["target"]["profile"], report["latency_conditions"], report["proof"]["accuracy"]
    found = []
    if proof["not_proved"]:
        found.append(f"The files are for {profile}. Their mAP was measured on {proof['cpu']} by {proof['arithmetic']}.")
    if conditions["machine_profile"] != profile:
        found.append(
            f"The latency is that of {conditions['fingerprint']['cpu']}, which needs the profile "
            f"{conditions['machine_profile'] or 'of an unknown CPU'}; it is not the target's."
        )
    return [one_line(caveat) for caveat in found]


def parity_line(report: dict[str, Any]) -> str:
    """One line for the terminal: how far torch and onnxruntime compute the same codes, in the QAT file."""
    codes = report["ladder"]["qat"]["one_operation"]["onnxruntime optimized"]
    line = (
        f"torch and onnxruntime, one operation at a time: {codes['differing']} of {codes['codes']} integer codes "
        f"differ in {codes['tensors']} tensors"
    )
    if codes["first_differing"]:
        line += f", none by more than {codes['largest_distance']}, first in {one_line(codes['first_differing'])}"
    return line
