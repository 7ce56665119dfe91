"""The sections of report.md after its summary, in order; one a module.

Each module has a TITLE and `text(report)`, the section as Markdown; an empty text leaves the section out.
"""

from edgegd.report.sections import (
    activation_swap,
    beside,
    classes,
    descent,
    devices,
    diagnosis,
    parity,
    proof,
    ranges,
    refinement,
    ship,
    threads,
)

SECTIONS = (
    ship,
    devices,
    beside,
    classes,
    activation_swap,
    descent,
    diagnosis,
    parity,
    proof,
    threads,
    refinement,
    ranges,
)
