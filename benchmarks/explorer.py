"""How large explorer.html is, how long it takes to make, and how long a browser takes to sort and filter it.

    python benchmarks/explorer.py RUN_DIR [RUN_DIR ...]

Each folder is a finished run (stage `accuracy` at least). Seconds are of one process on this machine, first with
nothing made yet, then with images.json and the map as they are. The browser is Chromium without a screen, if there is
one: the seconds until the page is loaded, and the milliseconds of one change of the sorting and of one filter.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_file import ROOT, ResultFile
from tabulate import tabulate

from edgegd.pipeline.artifacts import EXPLORER, IMAGE_MAP, IMAGES
from edgegd.pipeline.run_folder import RunFolder

sys.path.insert(0, str(ROOT))
from tests.report.browser import NEEDS_BROWSER, answer

BROWSER = {"loaded_s": ".1f", "sort_ms": ".0f", "filter_ms": ".0f"}
ASK = """
const found = { loaded_s: performance.now() / 1000 };
const changed = (name, value) => {
  const before = performance.now(), element = choices.elements[name];
  element.value = value;
  element.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.getBoundingClientRect();  // with the layout
  return performance.now() - before;
};
found.sort_ms = changed("sort", "name");
found.filter_ms = changed("errors", choices.elements.errors.options[1].value);
"""


def explore(folder: Path) -> tuple[dict[str, Any], float]:
    """What `edgegd explore --json` says, and its seconds."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "edgegd.cli.main", "explore", str(folder), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), time.perf_counter() - begin


def measure(run: Path) -> dict[str, Any]:
    """A row."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(run, Path(place) / run.name, symlinks=True))
        for artifact in (EXPLORER, IMAGE_MAP, IMAGES):
            (folder / artifact).unlink(missing_ok=True)
        _, first_s = explore(folder)
        made, again_s = explore(folder)
        found = {} if NEEDS_BROWSER.args[0] else answer((folder / EXPLORER).read_text(), ASK, Path(place))
        recipe = RunFolder.open_existing(folder)
        sides = list(recipe.recipe.model.size)
        return {
            "recipe": recipe.owner(),
            "imgsz": sides,
            **{key: made[key] for key in ("images", "known", "bytes")},
            "first_s": first_s,
            "again_s": again_s,
            "browser": found,
        }


def table(entries: Sequence[dict[str, Any]], style: str = "simple") -> str:
    """A row a run."""
    rows = []
    for one in entries:
        browser = one["browser"]
        cells = [f"{browser[key]:{form}}" if browser else "-" for key, form in BROWSER.items()]
        made = [f"{one['bytes'] / 1e6:.1f}", f"{one['first_s']:.0f}", f"{one['again_s']:.1f}"]
        rows.append([one["recipe"], f"{one['images']} of {one['known']}", *made, *cells])
    headers = ["run", "images", "MB", "first, s", "again, s", "loaded, s", "sorted, ms", "filtered, ms"]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    results = ResultFile("explorer")
    for run in parser.parse_args().runs:
        results.add(measure(run.resolve()))
    print(table(results.entries))


if __name__ == "__main__":
    main()
