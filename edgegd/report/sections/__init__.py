"""The sections of report.md and report.html after their opening, in order; one a module.

Each module has a TITLE, the keys of the report that it READS, and `blocks(report)` (edgegd.report.blocks). No blocks
leave the section out; so does a report that lacks a key, as in the middle of a run.
"""

from edgegd.report.sections import (
    activation_swap,
    beside,
    census,
    classes,
    descent,
    devices,
    latency,
    machine,
    parity,
    passes,
    proof,
    ranges,
    refinement,
    ship,
    threads,
)

SECTIONS = (
    ship,
    classes,
    latency,
    devices,
    beside,
    threads,
    activation_swap,
    descent,
    refinement,
    ranges,
    census,
    parity,
    proof,
    passes,
    machine,
)
