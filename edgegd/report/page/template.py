"""What every page of a run folder is made with: its template's environment, and the style and script within it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from edgegd import __version__
from edgegd.foreign_text import one_line

_COMMON = Path(__file__).parent / "common.js"


def template(path: Path) -> Template:
    """A page's template; every text that it shows is one line, and escaped."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, _COMMON.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template(path.name)


def frame(styles: Sequence[Path], scripts: Sequence[Path]) -> dict[str, Any]:
    """What frame.html.jinja shows beside the page's own: style, script and its hash, and the version.

    The script begins with what all pages share (common.js).
    """
    script = "\n".join(path.read_text(encoding="utf-8") for path in (_COMMON, *scripts))
    return {
        "style": Markup("\n".join(path.read_text(encoding="utf-8") for path in styles)),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "version": __version__,
    }
