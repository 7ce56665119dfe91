"""The passes of an edge file as a table."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import one_line
from edgegd.report.table import table


def passes_table(passes: list[dict[str, Any]]) -> str:
    """One line a pass: how many places it rewrote, how many it refused, and its gain; below, every refusal's reason."""
    rows = [[one["name"], len(one["applied"]), len(one["refused"]), _gain(one), one["text"]] for one in passes]
    shown = table(rows, ["pass", "applied", "refused", "gain [95 %]", "what it does"])
    refused = [(one["name"], address, reason) for one in passes for address, reason in one["refused"]]
    reasons = [one_line(f"{name} left {address}: {reason}") for name, address, reason in refused]
    return "\n".join([shown, *([""] if reasons else []), *reasons])


def _gain(one: dict[str, Any]) -> str:
    if one["gain"] is None:
        return "-"
    return f"{one['gain']:.3f}x [{one['gain_low']:.3f}, {one['gain_high']:.3f}]"
