"""The sections of report.md and report.html after their opening, in order; one a module.

Each module has a TITLE, the keys of the report that it READS, and `blocks(report)` (edgegd.report.blocks). No blocks
leave the section out; so does a report that lacks a key, as in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from edgegd.report.blocks import Block
from edgegd.report.sections import (
    activation_swap,
    beside,
    calibration_set,
    census,
    classes,
    descent,
    devices,
    images,
    latency,
    machine,
    operating_point,
    parity,
    passes,
    proof,
    ranges,
    refinement,
    ship,
    threads,
    training_images,
)

SECTIONS = (
    ship,
    classes,
    operating_point,
    images,
    training_images,
    latency,
    devices,
    beside,
    threads,
    activation_swap,
    descent,
    calibration_set,
    refinement,
    ranges,
    census,
    parity,
    proof,
    passes,
    machine,
)


def sections_of(report: dict[str, Any]) -> Iterator[tuple[ModuleType, list[Block]]]:
    """Each section that has something to say of a report, with its blocks."""
    for section in SECTIONS:
        if not _lacks(section, report) and (blocks := section.blocks(report)):
            yield section, blocks


def missing_titles(report: dict[str, Any]) -> list[str]:
    """The titles of the sections that read what the report does not have."""
    return [section.TITLE for section in SECTIONS if _lacks(section, report)]


def _lacks(section: ModuleType, report: dict[str, Any]) -> bool:
    return any(key not in report for key in section.READS)
