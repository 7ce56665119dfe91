"""Tuned threads for people: the candidates as a table, and the two recommendations as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegd.device.threads import ThreadSetting
from edgegd.foreign_text import one_line
from edgegd.latency.measuring.result import AS_GOOD
from edgegd.report.blocks import Block, Bullets, Paragraph, Table

TITLES = {"latency": "for one image as soon as possible", "throughput": "for images per second"}
_HEADERS = {
    "latency": [
        "",
        "file",
        "threads",
        "ms",
        "of one thread",
        "CPU ms per image",
        "busy cores in a pause",
        "ms after it",
    ],
    "throughput": ["", "file", "callers and threads", "images/s", "of one thread", "CPU ms per image"],
}


def threads_blocks(tuning: Mapping[str, Any]) -> list[Block]:
    """A tuning (tune-TARGET.json): a table per question, what is recommended, and whether FP32 is as good.

    Raises KeyError, TypeError or ValueError for what is no tuning.
    """
    tables = [block for question in TITLES for block in (Paragraph(f"{TITLES[question]}:"), _table(tuning, question))]
    return [*tables, Bullets(recommendations(tuning))]


def recommendations(tuning: Mapping[str, Any]) -> list[str]:
    """The recommendations, a sentence each, and what weakens them."""
    lines = [_recommendation(tuning, question) for question in TITLES]
    for question, one in ((question, tuning[question].get("fp32")) for question in TITLES):
        if one and one["as_good"]:
            lines.append(
                f"{AS_GOOD} {TITLES[question]}: {one_line(tuning['file'])} is {_interval(one, 'speedup')} "
                "as fast, each at its best."
            )
    if not tuning["stable"]:
        lines.append("Not every warm-up became stable: tune again on an idle device.")
    if tuning["faults"]:
        lines.append(f"Disturbed: {one_line('; '.join(map(str, tuning['faults'])))}.")
    return lines


def _recommendation(tuning: Mapping[str, Any], question: str) -> str:
    one = tuning[question]
    setting = ThreadSetting.from_json(one["setting"])
    figure = f"{one['ms']:.2f} ms" if question == "latency" else f"{1000 / one['ms']:.1f} images/s"
    against = f", {_interval(one['fp32'], 'speedup')} FP32 at its best" if "fp32" in one else ""
    return f"{TITLES[question].capitalize()}: {setting} ({figure}, {_interval(one, '')} one thread{against})."


def _interval(one: Mapping[str, Any], key: str) -> str:
    names = (f"{key}", f"{key}_low", f"{key}_high") if key else ("ratio", "low", "high")
    ratio, low, high = (float(one[name]) for name in names)
    return f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"


def _table(tuning: Mapping[str, Any], question: str) -> Table:
    chosen = (tuning["file"], tuning[question]["setting"])
    rows = []
    for one in tuning["candidates"][question]:
        ms, is_latency = float(one["ms"]), question == "latency"
        paused = [f"{one['idle_load']:.3f}", f"{one['paced_ms']:.2f}"] if is_latency else []
        rows.append(
            [
                "best" if (one["file"], one["setting"]) == chosen else "",
                one["file"],
                str(ThreadSetting.from_json(one["setting"])),
                f"{ms:.2f}" if is_latency else f"{1000 / ms:.1f}",
                _interval(one, ""),
                f"{one['cpu_ms']:.2f}",
                *paused,
            ]
        )
    return Table(_HEADERS[question], rows)
