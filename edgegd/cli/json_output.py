"""What `--json` prints: JSON that every reader takes, whatever the values are."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """The value as JSON; NaN and infinities, for which JSON has no word, become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
