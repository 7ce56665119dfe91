"""A search of played runs in a process of its own.

    python played_sweep.py RECIPE FOLDER TRIALS ENGINE ADDRESS COMMAND...

It shares no stages, which a played run (tests/played_run.py) does not have.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgegd.pipeline.sweep import shared
from edgegd.pipeline.sweep.engines import engine_maker
from edgegd.pipeline.sweep.search import SearchRequest, search
from edgegd.progress import Silent

if __name__ == "__main__":
    shared.shared_stages = lambda recipe, varied, until: []
    recipe, folder, trials, engine, address, *command = sys.argv[1:]
    request = SearchRequest(
        recipe,
        ["train.lr0=log:1e-6..1e-1"],
        ["descent.best_map50_95"],
        int(trials),
        prunes=False,
        command=tuple(command),
    )
    search(request, Path(folder), engine_maker(engine, address, None, 1, request.objectives, Silent()), Silent())
