"""What a check of the data doctor finds, and how much it weighs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgegd.foreign_text import one_line

Severity = Literal["error", "warning", "note"]
"""error: a run refuses the set, or what it measures is wrong. warning: training or measuring is probably worse for it.
note: worth knowing, and nothing that has to change."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
SHOWN = 5
"""Examples of a finding."""
_CHARACTERS = 300


@dataclass(frozen=True)
class Finding:
    """What one check found: `count` things (images, rows, boxes, classes: the sentence says which), some by name.

    `evidence` are the numbers behind the sentence, `mend` says what to do about it.
    """

    severity: Severity
    sentence: str
    count: int
    examples: tuple[str, ...]
    mend: str
    evidence: dict[str, Any] | None = None

    def to_json(self, check: str) -> dict[str, Any]:
        """A JSON-able dict; `check` is the name of the check."""
        rest = {} if self.evidence is None else {"evidence": self.evidence}
        return {
            "check": check,
            "severity": self.severity,
            "sentence": self.sentence,
            "count": self.count,
            "examples": list(self.examples),
            "mend": self.mend,
            **rest,
        }


def shown(texts: Iterable[object]) -> tuple[str, ...]:
    """The first SHOWN of some texts, each as one line: names in them come from others."""
    first = []
    for text in texts:
        first.append(one_line(text, _CHARACTERS))
        if len(first) == SHOWN:
            break
    return tuple(first)


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`; `plural` where it is not made by an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def among(names: Sequence[str]) -> str:
    """Names of splits in a sentence: `train`, `train and val`, `train, val and test`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def brief(path: Path, root: Path) -> str:
    """A file by its path below the data set's folder, or its whole path where it is elsewhere."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
