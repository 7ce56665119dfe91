"""The lines of a descent's log, without what differs from one run to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def untimed_rows(path: Path) -> list[dict[str, Any]]:
    """Each line as data, without seconds and memory."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "memory_mb")} for row in rows]
