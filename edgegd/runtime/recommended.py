"""The score threshold that an exported file recommends for itself: a text in its metadata, under edgegd.conf.

    {"schema": 1, "keeping": "recall", "conf": 0.27, "classes": {"pedestrian": 0.29, ...}}

`edgegd operating-point RUN_DIR --embed FILE` writes it. `conf` is for all classes together; those of single classes,
null where none keeps what was to be kept, are for programs that filter by class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from onnxruntime import InferenceSession

from edgegd.errors import MetadataError
from edgegd.json_files import load_json

METADATA_KEY = "edgegd.conf"
RECOMMENDED = "recommended"
_SCHEMA = 1


def metadata_text(keeping: str, conf: float, classes: Mapping[str, float | None]) -> str:
    """The value of the metadata key; `keeping` is what of the float model the thresholds keep."""
    return json.dumps({"schema": _SCHEMA, "keeping": keeping, "conf": conf, "classes": dict(classes)})


def conf_of(conf: float | str, session: InferenceSession, path: str | Path) -> float:
    """What Detector's argument `conf` means: a number is itself, "recommended" is the file's own threshold.

    Raises MetadataError where the file recommends none, or what it says is damaged; ValueError for any other text.
    """
    if not isinstance(conf, str):
        return conf
    if conf != RECOMMENDED:
        raise ValueError(f'expected a score threshold or "{RECOMMENDED}", found {conf!r}')
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    mend = "write one by `edgegd operating-point RUN_DIR --embed FILE`, or give conf as a number"
    if text is None:
        raise MetadataError(
            f"{path} recommends no score threshold.",
            expected=f"{METADATA_KEY} in its metadata",
            found="no such key",
            mend=mend,
        )
    try:
        found = load_json(text)
        value = found["conf"]
        if found["schema"] != _SCHEMA or isinstance(value, bool) or not 0 <= float(value) <= 1:
            raise ValueError("no threshold from 0 to 1 of this schema")
        return float(value)
    except (ValueError, KeyError, TypeError) as error:
        raise MetadataError(
            f"{path} has a damaged {METADATA_KEY} in its metadata.",
            expected='{"schema": 1, "conf": NUMBER, ...}',
            found=str(error),
            mend=mend,
        ) from error
