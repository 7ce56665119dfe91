"""What `edgegd descent compare` says of SGD, SGD with momentum and AdamW, on streets and on BCCD, at an equal budget.

    python benchmarks/compare_optimizers.py --bccd-weights MY.pt --bccd-data MY/bccd [--streets-data DIR] [--imgsz 128]

One entry a set in benchmarks/results/compare_optimizers.json; a set that is there is not measured again.
"""

from __future__ import annotations

import lr_range
from result_file import ResultFile

from edgegd.cli.progress import TerminalProgress
from edgegd.pipeline.comparison import ComparisonSettings, compare

OPTIMIZERS = ("SGD", "SGD+momentum", "AdamW")
EPOCHS, SEEDS = 1, 2


def main() -> None:
    """Measures what is missing."""
    parser = lr_range.options(__doc__ or "", imgsz=128)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    results = ResultFile("compare_optimizers", arguments.result)
    settings = ComparisonSettings(tuple((name, None) for name in OPTIMIZERS), None, arguments.epochs, arguments.seeds)
    for name in arguments.sets:
        key = {"set": name, "imgsz": arguments.imgsz, "epochs": arguments.epochs}
        if not lr_range.found_in(results, key):
            folder = lr_range.folder_of(name, arguments)
            with TerminalProgress() as progress:
                results.add(key | compare(folder, settings, progress))
        print(lr_range.found_in(results, key)[0]["sentence"])


if __name__ == "__main__":
    main()
