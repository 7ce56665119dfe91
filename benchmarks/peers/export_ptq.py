"""Writes ptq.onnx of a run folder whose stage `ptq` is done, without its QAT.

    python benchmarks/peers/export_ptq.py RUN_DIR

The stage `export` does the same with the fine-tuned model beside it; benchmarks/accuracy_vs_peers.py needs PTQ alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgegd.pipeline.models import quantized_model, stored_plan
from edgegd.pipeline.run_folder import RunFolder
from edgegd.pipeline.stages.export import finished_graph


def main() -> None:
    """Exports what the command line names."""
    folder = RunFolder.open_existing(Path(sys.argv[1]))
    model = quantized_model(folder, "ptq")
    graph = finished_graph(folder, model, model.model, stored_plan(folder), "ptq")
    folder.write("ptq.onnx", graph.SerializeToString())


if __name__ == "__main__":
    main()
