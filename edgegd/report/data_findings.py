"""What the data doctor found, as text: one table, and below it where to look and what to do."""

from __future__ import annotations

import textwrap

from edgegd.data.doctor import Examination
from edgegd.foreign_text import one_line
from edgegd.network_size import size_in_words
from edgegd.report.table import table

_WIDTH, _SENTENCE = 100, 60


def examination_text(examination: Examination) -> str:
    """The findings of an examined data set; of a set without any, one sentence."""
    survey = examination.survey
    head = f"{one_line(survey.described.yaml_path)} at imgsz {size_in_words(survey.size)}: {examination.sentence}"
    if not examination.findings:
        return head
    rows, details = [], []
    for name, finding in examination.findings.items():
        first, *others = textwrap.wrap(finding.sentence, _SENTENCE)
        rows += [[finding.severity, name, f"{finding.count:,}", first], *(["", "", "", line] for line in others)]
        more = f"  ... {finding.count:,} in all" if finding.count > len(finding.examples) else ""
        details += [f"{name}", *(f"  {example}" for example in finding.examples), *([more] if more else [])]
        details += textwrap.wrap(f"to mend it: {finding.mend}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([head, "", table(rows, ["severity", "check", "count", "finding"]), "", *details])
