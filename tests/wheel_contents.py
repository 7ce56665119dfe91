"""Looks at an installed wheel, from an environment that holds it and the device side alone (`make build`).

Prints what it found; ends with an AssertionError where something is missing.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Files, metadata and imports."""
    import edgegd
    from edgegd.errors import MissingExtraError

    folder = Path(edgegd.__file__).parent
    assert folder.parent.name == "site-packages", f"{folder} is not an installed wheel"
    assert (folder / "py.typed").is_file() and list((folder / "recipes").rglob("*.yaml"))
    assert list((folder / "models").glob("*.pt"))
    page = {file.name for file in (folder / "report/page").iterdir()}
    assert page >= {"report.html.jinja", "report.css", "report.js"}
    metadata = importlib.metadata.metadata("edgegd")
    assert metadata["Version"] == edgegd.__version__ and metadata["License-Expression"] == "AGPL-3.0-or-later"
    assert {line.split(",")[0] for line in metadata.get_all("Project-URL")} >= {"Homepage", "Changelog", "Issues"}
    relative = re.findall(r"\]\((?!https://|#)([^)]*)\)", metadata.get_payload())
    assert not relative, f"links that PyPI cannot follow: {relative}"
    for heavy in ("torch", "ultralytics", "onnx"):
        assert find_spec(heavy) is None, f"{heavy} is installed: this environment is no device"
    import edgegd.runtime

    try:
        edgegd.run_recipe("streets/yolo26n", "run-that-is-never-made")
    except MissingExtraError as error:
        assert 'edgegd[train]"' in str(error) and not Path("run-that-is-never-made").exists()
    else:
        raise AssertionError("a recipe ran without torch")
    print(
        f"edgegd {edgegd.__version__} in {folder}: whole, with {len(edgegd.runtime.__all__)} names of the runtime; "
        f"Python {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
